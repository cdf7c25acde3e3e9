"""REST API v2, incidents: list, create, change, notes, alerts, log entries."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.routing import BaseRoute

from sandbox.pagerduty import shapes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.endpoint import Call, found, invalid, paged, rest
from sandbox.pagerduty.records import Incident, Problem

MOST_AT_ONCE = 250


def routes(pagerduty: PagerDuty) -> list[BaseRoute]:
    one = "/incidents/{id}"
    return [
        rest(pagerduty, "GET", "/incidents", listed),
        rest(pagerduty, "POST", "/incidents", create, writes=True, status=201),
        rest(pagerduty, "PUT", "/incidents", update_many, writes=True),
        rest(pagerduty, "GET", one, get),
        rest(pagerduty, "PUT", one, update, writes=True),
        rest(pagerduty, "GET", f"{one}/notes", notes),
        rest(pagerduty, "POST", f"{one}/notes", add_note, writes=True),
        rest(pagerduty, "GET", f"{one}/alerts", alerts),
        rest(pagerduty, "GET", f"{one}/log_entries", log_entries),
        rest(pagerduty, "GET", "/log_entries", all_log_entries),
    ]


def listed(call: Call) -> dict[str, Any]:
    pagerduty = call.pagerduty
    statuses = call.query.getlist("statuses[]")
    services = call.query.getlist("service_ids[]")
    users = call.query.getlist("user_ids[]")
    key = call.query.get("incident_key")
    if any(status not in ("triggered", "acknowledged", "resolved") for status in statuses):
        raise Problem(400, 1003, "Invalid Status Provided")
    fitting = [
        incident
        for incident in pagerduty.incidents.values()
        if (not statuses or incident.status in statuses)
        and (not services or incident.service in services)
        and (not users or set(users) & set(incident.assignees))
        and key in (None, incident.key)
    ]
    if call.query.get("sort_by", "") in ("created_at:desc", "incident_number:desc"):
        fitting.reverse()
    return paged(call, "incidents", fitting, lambda incident: shapes.incident_json(pagerduty, incident))


def get(call: Call) -> dict[str, Any]:
    return {"incident": shapes.incident_json(call.pagerduty, _incident(call))}


def create(call: Call) -> dict[str, Any]:
    pagerduty = call.pagerduty
    wanted = call.wrapped("incident")
    title = wanted.get("title")
    if wanted.get("type") != "incident" or not isinstance(title, str) or not title.strip():
        raise invalid("Type must be incident", "Title can't be blank")
    service = found(pagerduty.services, _id(wanted.get("service")), 5002)
    key = wanted.get("incident_key") or uuid.uuid4().hex
    if pagerduty.open_incident(key, service.id):
        raise invalid("Open incident with matching dedup key already exists on this service")
    policy = _id(wanted["escalation_policy"]) if "escalation_policy" in wanted else None
    if policy is not None:
        found(pagerduty.policies, policy, 1014)
    details = (wanted.get("body") or {}).get("details")
    incident = pagerduty.open(
        service,
        key,
        title,
        call.author,
        policy=policy,
        urgency=wanted.get("urgency", "high"),
        priority=_id(wanted["priority"]) if wanted.get("priority") else None,
        details=details,
    )
    return {"incident": shapes.incident_json(pagerduty, incident)}


def update(call: Call) -> dict[str, Any]:
    incident = _incident(call)
    _change(call, incident, call.wrapped("incident"))
    return {"incident": shapes.incident_json(call.pagerduty, incident)}


def update_many(call: Call) -> dict[str, Any]:
    changes = call.body.get("incidents")
    if not isinstance(changes, list) or not 1 <= len(changes) <= MOST_AT_ONCE:
        raise invalid(f"Incidents must be a list of 1 to {MOST_AT_ONCE}")
    incidents = [found(call.pagerduty.incidents, _id(change), 5001) for change in changes]
    for incident, change in zip(incidents, changes, strict=True):
        _change(call, incident, change)
    return {
        "incidents": [shapes.incident_json(call.pagerduty, incident) for incident in incidents],
        "limit": MOST_AT_ONCE,
        "offset": 0,
        "more": False,
        "total": None,
    }


def notes(call: Call) -> dict[str, Any]:
    return {"notes": [shapes.note_json(note) for note in _incident(call).notes]}


def add_note(call: Call) -> dict[str, Any]:
    content = call.wrapped("note").get("content")
    if not isinstance(content, str) or not content.strip():
        raise invalid("Content can't be blank")
    return {"note": shapes.note_json(call.pagerduty.note(_incident(call), content, call.author))}


def alerts(call: Call) -> dict[str, Any]:
    incident = _incident(call)
    return paged(
        call,
        "alerts",
        incident.alerts,
        lambda event: {
            "type": "alert",
            "alert_key": incident.key,
            "status": "triggered" if incident.is_open else "resolved",
            "severity": event["payload"]["severity"],
            "summary": event["payload"]["summary"],
            "body": {"type": "alert_body", "details": event["payload"].get("custom_details"), "cef_details": event},
            "incident": shapes.incident_reference(call.pagerduty, incident).json(),
        },
    )


def log_entries(call: Call) -> dict[str, Any]:
    incident = _incident(call)
    newest_first = reversed(incident.log)
    return paged(call, "log_entries", newest_first, lambda e: shapes.log_entry_json(call.pagerduty, incident, e))


def all_log_entries(call: Call) -> dict[str, Any]:
    entries = [(i, entry) for i in call.pagerduty.incidents.values() for entry in i.log]
    entries.sort(key=lambda pair: pair[1].at, reverse=True)
    return paged(call, "log_entries", entries, lambda pair: shapes.log_entry_json(call.pagerduty, pair[0], pair[1]))


def _change(call: Call, incident: Incident, change: dict[str, Any]) -> None:
    pagerduty, agent = call.pagerduty, call.author
    status = change.get("status")
    if status not in (None, "acknowledged", "resolved", "triggered"):
        raise Problem(400, 1003, "Invalid Status Provided")
    if "title" in change:
        incident.title = str(change["title"])
    if "priority" in change:
        pagerduty.set_priority(incident, _id(change["priority"]) if change["priority"] else None, agent)
    if "escalation_level" in change:
        level = change["escalation_level"]
        if not isinstance(level, int):
            raise invalid("Escalation level must be an integer")
        pagerduty.escalate(incident, level, agent)
    if "assignments" in change:
        users = [_id(assignment.get("assignee")) for assignment in change["assignments"]]
        pagerduty.reassign(incident, users, agent)
    if status == "acknowledged":
        pagerduty.acknowledge(incident, agent)
    elif status == "resolved":
        pagerduty.resolve(incident, agent)
    elif status == "triggered" and not incident.is_open:
        pagerduty.reopen(incident, agent)


def _incident(call: Call) -> Incident:
    return found(call.pagerduty.incidents, call.path["id"], 5001)


def _id(reference: Any) -> str:
    """The id inside a reference. Problem if there is none."""
    if not isinstance(reference, dict) or not isinstance(reference.get("id"), str):
        raise Problem(400, 1004, "Invalid ID Provided")
    return str(reference["id"])
