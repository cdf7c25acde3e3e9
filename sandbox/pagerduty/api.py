"""PagerDuty over HTTP: Events API v2, REST API v2, and the sandbox's own `/state`."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.company import PagerDutyService
from sandbox.pagerduty import shapes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.state import Incident, Problem, Reference, Request, Shift, User, shifts

T = TypeVar("T")
ABILITIES = ["sso", "teams", "urgencies", "manage_schedules", "preview_incident_alert_split", "event_rules"]
ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")
MAX_SUMMARY = 1024
MAX_DEDUP_KEY = 255
MAX_EVENT_BYTES = 512 * 1024
MAX_ON_CALL_RANGE = timedelta(days=90)
MAX_INCIDENTS = 250


def routes(pagerduty: PagerDuty) -> list[BaseRoute]:
    """Return the routes, without a prefix: `/events/v2/enqueue`, the REST API under `/api`, and `/state` for tests."""

    def get(path: str, handler: Handler) -> Route:
        return _rest_route(pagerduty, "GET", path, handler)

    def write(method: str, path: str, handler: Handler, status: int = 200) -> Route:
        return _rest_route(pagerduty, method, path, handler, needs_requester=True, status=status)

    def subscriptions(method: str, path: str, handler: Handler, status: int = 200) -> Route:
        return _rest_route(pagerduty, method, f"/webhook_subscriptions{path}", handler, status=status)

    async def enqueue(request: HttpRequest) -> Response:
        return await _enqueue(pagerduty, request)

    async def state(_: HttpRequest) -> Response:
        return JSONResponse(_state_json(pagerduty))

    async def not_found(_: HttpRequest) -> Response:
        return _error_response(Problem(404, 2100, "Not Found"))

    return [
        Route("/events/v2/enqueue", enqueue, methods=["POST"]),
        get("/abilities", lambda call: {"abilities": ABILITIES}),
        get("/users", list_users),
        get("/users/me", get_me),
        get("/users/{id}", get_user),
        get("/users/{id}/contact_methods", list_contact_methods),
        get("/services", list_services),
        get("/services/{id}", get_service),
        get("/services/{id}/integrations/{integration}", get_integration),
        get("/escalation_policies", list_policies),
        get("/escalation_policies/{id}", get_policy),
        get("/oncalls", list_oncalls),
        get("/priorities", list_priorities),
        get("/incidents", list_incidents),
        write("POST", "/incidents", create_incident, 201),
        write("PUT", "/incidents", update_incidents),
        get("/incidents/{id}", get_incident),
        write("PUT", "/incidents/{id}", update_incident),
        get("/incidents/{id}/notes", list_notes),
        write("POST", "/incidents/{id}/notes", create_note),
        get("/incidents/{id}/alerts", list_alerts),
        get("/incidents/{id}/log_entries", list_log_entries),
        subscriptions("GET", "", list_subscriptions),
        subscriptions("POST", "", create_subscription, 201),
        subscriptions("GET", "/{id}", get_subscription),
        subscriptions("DELETE", "/{id}", delete_subscription),
        subscriptions("POST", "/{id}/enable", enable_subscription),
        Route("/state", state),
        Route("/{path:path}", not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


def _state_json(pagerduty: PagerDuty) -> dict[str, Any]:
    return {
        "incidents": [
            shapes.incident_json(pagerduty, incident)
            | {
                "notes": [shapes.note_json(note) for note in incident.notes],
                "alerts": [{**alert, "routing_key": "hidden"} for alert in incident.alerts],
                "escalation_level": incident.level,
            }
            for incident in pagerduty.incidents.values()
        ],
        "webhook_subscriptions": [
            shapes.subscription_json(subscription) for subscription in pagerduty.subscriptions.values()
        ],
        "deliveries": [
            {
                "webhook_id": delivery.webhook_id,
                "subscription": delivery.subscription,
                "event_type": delivery.event["event_type"],
                "attempts": delivery.attempts,
                "state": delivery.state,
            }
            for delivery in pagerduty.deliverer.log
        ],
        "requests": len(pagerduty.requests),
    }


# What the REST endpoints have in common.


@dataclass(frozen=True)
class Call:
    """One authenticated request; `agent` is who makes it, for endpoints that need a requester."""

    pagerduty: PagerDuty
    path: Mapping[str, Any]
    query: QueryParams
    body: dict[str, Any]
    user: User | None
    agent: Reference | None

    @property
    def author(self) -> Reference:
        """The requester. Raises Problem for an endpoint that needs none."""
        if self.agent is None:
            raise Problem(400, 2011, "You must specify a requester_id to perform this action")
        return self.agent

    def entity(self, name: str) -> dict[str, Any]:
        """Return the object under the entity's name in the body. Raises Problem if it is missing."""
        content = self.body.get(name)
        if not isinstance(content, dict):
            raise invalid_input(f"{name.capitalize()} must be an object")
        return content

    def includes(self, name: str) -> bool:
        return name in self.query.getlist("include[]")


Handler = Callable[[Call], Any]


def _rest_route(
    pagerduty: PagerDuty, method: str, path: str, handler: Handler, *, needs_requester: bool = False, status: int = 200
) -> Route:
    """Make a route of the REST API. Its handler returns the JSON to answer, None for no content."""

    async def endpoint(request: HttpRequest) -> Response:
        try:
            try:
                body = await _read_body(pagerduty, request)
            except ValueError:
                raise invalid_input("The body is not JSON") from None
            user = _authenticated(pagerduty, request)
            agent = _requester(pagerduty, request, user) if needs_requester else None
            content = body if isinstance(body, dict) else {}
            answer = handler(Call(pagerduty, request.path_params, request.query_params, content, user, agent))
        except Problem as problem:
            return _error_response(problem)
        return Response(status_code=204) if answer is None else JSONResponse(answer, status)

    return Route(f"/api{path}", endpoint, methods=[method])


async def _read_body(pagerduty: PagerDuty, request: HttpRequest) -> Any:
    """Return the decoded JSON body, None if empty, and keep the request. Raises ValueError if it is not JSON."""
    raw = await request.body()
    query = {name: request.query_params.getlist(name) for name in request.query_params}
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    body, error = None, None
    try:
        body = json.loads(raw) if raw else None
    except ValueError as parse_error:
        error = parse_error
    pagerduty.requests.append(Request(request.method, path, query, dict(request.headers), body))
    if error:
        raise error
    return body


def _authenticated(pagerduty: PagerDuty, request: HttpRequest) -> User | None:
    scheme, _, token = request.headers.get("Authorization", "").partition("token=")
    if scheme.strip() != "Token" or token not in pagerduty.tokens:
        raise Problem(401, 2006, "Authentication failed")
    return pagerduty.tokens[token]


def _requester(pagerduty: PagerDuty, request: HttpRequest, user: User | None) -> Reference:
    email = request.headers.get("From")
    if email is None and user is None:
        raise Problem(400, 2011, "You must specify a requester_id to perform this action")
    for candidate in pagerduty.users.values():
        if email == candidate.email or (email is None and candidate == user):
            return shapes.user_reference(pagerduty, candidate)
    raise Problem(400, 1008, "Requester User Not Found")


def _error_response(problem: Problem) -> Response:
    if problem.code is None:
        return JSONResponse({"error": problem.message}, problem.status)
    error: dict[str, Any] = {"message": problem.message, "code": problem.code}
    if problem.errors:
        error["errors"] = list(problem.errors)
    return JSONResponse({"error": error}, problem.status)


def invalid_input(*errors: str) -> Problem:
    return Problem(400, 2001, "Invalid Input Provided", *errors)


def _get_or_404(entities: Mapping[str, T], key: str, code: int = 2100) -> T:
    """Return the entity by its id. Raises Problem 404."""
    if key not in entities:
        raise Problem(404, code, "Not Found")
    return entities[key]


def _paginate(call: Call, entity: str, items: Iterable[T], to_json: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """Return one page of a list, by `limit` (25, at most 100) and `offset`."""
    all_items = list(items)
    try:
        limit, offset = (int(call.query.get(name, default)) for name, default in (("limit", 25), ("offset", 0)))
    except ValueError:
        raise invalid_input("Limit and offset must be integers") from None
    if not (1 <= limit <= 100 and offset >= 0):
        raise invalid_input("Limit must be between 1 and 100, offset zero or more")
    return {
        entity: [to_json(item) for item in all_items[offset : offset + limit]],
        "limit": limit,
        "offset": offset,
        "more": offset + limit < len(all_items),
        "total": len(all_items) if call.query.get("total") in ("true", "1") else None,
    }


# Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview


async def _enqueue(pagerduty: PagerDuty, request: HttpRequest) -> Response:
    try:
        event = await _read_body(pagerduty, request)
    except ValueError:
        return _invalid_event(["Invalid JSON"])
    if len(await request.body()) > MAX_EVENT_BYTES:
        return JSONResponse({"status": "payload too large", "message": "Event is over 512 KB"}, 413)
    errors = _event_errors(event)
    if errors:
        return _invalid_event(errors)
    service = pagerduty.service_of(event["routing_key"])
    if service is None:
        return _invalid_event(["Invalid routing key"])
    key = event.get("dedup_key") or uuid.uuid4().hex
    _process(pagerduty, service, key, event)
    return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": key}, 202)


def _process(pagerduty: PagerDuty, service: PagerDutyService, key: str, event: dict[str, Any]) -> None:
    """Apply an event. To acknowledge or resolve what is not open has no effect."""
    agent = shapes.integration_reference(pagerduty, service)
    incident = pagerduty.open_incident(key, service.id)
    match event["event_action"]:
        case "trigger" if incident:
            pagerduty.add_alert(incident, event, agent)
        case "trigger":
            payload = event["payload"]
            client = {"name": event["client"], "url": event.get("client_url", "")} if "client" in event else None
            pagerduty.open(
                service,
                key,
                payload["summary"],
                agent,
                urgency="high" if payload["severity"] in ("critical", "error") else "low",
                client=client,
                alert=event,
            )
        case "acknowledge" if incident and incident.status == "triggered":
            pagerduty.acknowledge(incident, agent)
        case "resolve" if incident:
            pagerduty.resolve(incident, agent)


def _event_errors(event: Any) -> list[str]:
    if not isinstance(event, dict):
        return ["Event is not a JSON object"]
    errors = []
    routing_key = event.get("routing_key")
    if not isinstance(routing_key, str) or len(routing_key) != 32:
        errors.append("'routing_key' is missing or invalid: it has 32 characters")
    action = event.get("event_action")
    if action not in ACTIONS:
        errors.append(f"'event_action' is invalid (must be one of {', '.join(ACTIONS)})")
    key = event.get("dedup_key")
    if key is not None and not (isinstance(key, str) and len(key) <= MAX_DEDUP_KEY):
        errors.append(f"'dedup_key' is longer than {MAX_DEDUP_KEY} characters or no string")
    if action == "trigger":
        errors += _payload_errors(event.get("payload"))
        links = event.get("links", [])
        if not isinstance(links, list) or any(not isinstance(x, dict) or "href" not in x for x in links):
            errors.append("'links' must be a list of objects with 'href'")
    elif key is None:
        errors.append("'dedup_key' is missing")
    return errors


def _payload_errors(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or not an object"]
    errors = [
        f"'payload.{name}' is missing or blank"
        for name in ("summary", "source")
        if not isinstance(payload.get(name), str) or not payload[name].strip()
    ]
    if len(str(payload.get("summary", ""))) > MAX_SUMMARY:
        errors.append(f"'payload.summary' is longer than {MAX_SUMMARY} characters")
    if payload.get("severity") not in SEVERITIES:
        errors.append(f"'payload.severity' is invalid (must be one of {', '.join(SEVERITIES)})")
    if not isinstance(payload.get("custom_details", {}), dict | str):
        errors.append("'payload.custom_details' is not an object")
    return errors


def _invalid_event(errors: list[str]) -> Response:
    return JSONResponse({"status": "invalid event", "message": "Event object is invalid", "errors": errors}, 400)


# Users, services, escalation policies, on-calls, priorities.


def list_users(call: Call) -> dict[str, Any]:
    query = call.query.get("query", "").lower()
    fitting = [u for u in call.pagerduty.users.values() if query in u.name.lower() or query in u.email.lower()]
    with_contacts = call.includes("contact_methods")
    return _paginate(call, "users", fitting, lambda u: shapes.user_json(call.pagerduty, u, with_contacts=with_contacts))


def get_me(call: Call) -> dict[str, Any]:
    if call.user is None:
        raise Problem(400, None, "Cannot be used with an account-level access token")
    return {"user": shapes.user_json(call.pagerduty, call.user, with_contacts=call.includes("contact_methods"))}


def get_user(call: Call) -> dict[str, Any]:
    user = _get_or_404(call.pagerduty.users, call.path["id"])
    return {"user": shapes.user_json(call.pagerduty, user, with_contacts=call.includes("contact_methods"))}


def list_contact_methods(call: Call) -> dict[str, Any]:
    return {"contact_methods": shapes.contact_methods(_get_or_404(call.pagerduty.users, call.path["id"]))}


def list_services(call: Call) -> dict[str, Any]:
    query = call.query.get("query", "").lower()
    fitting = [s for s in call.pagerduty.services.values() if query in s.name.lower()]
    return _paginate(call, "services", fitting, lambda s: _service_json(call, s))


def get_service(call: Call) -> dict[str, Any]:
    service = _get_or_404(call.pagerduty.services, call.path["id"])
    return {"service": _service_json(call, service)}


def get_integration(call: Call) -> dict[str, Any]:
    service = _get_or_404(call.pagerduty.services, call.path["id"])
    integration = shapes.integration_json(call.pagerduty, service)
    _get_or_404({integration["id"]: integration}, call.path["integration"])
    return {"integration": integration}


def _service_json(call: Call, service: PagerDutyService) -> dict[str, Any]:
    return shapes.service_json(call.pagerduty, service, with_integrations=call.includes("integrations"))


def list_policies(call: Call) -> dict[str, Any]:
    query = call.query.get("query", "").lower()
    fitting = [p for p in call.pagerduty.policies.values() if query in p.name.lower()]
    return _paginate(call, "escalation_policies", fitting, lambda p: shapes.policy_json(call.pagerduty, p))


def get_policy(call: Call) -> dict[str, Any]:
    policy = _get_or_404(call.pagerduty.policies, call.path["id"], 5001)
    return {"escalation_policy": shapes.policy_json(call.pagerduty, policy)}


def list_priorities(call: Call) -> dict[str, Any]:
    priorities = call.pagerduty.priorities.values()
    return _paginate(call, "priorities", priorities, lambda p: shapes.priority_json(call.pagerduty, p))


def list_oncalls(call: Call) -> dict[str, Any]:
    pagerduty = call.pagerduty
    since = _time(call, "since")
    until = max(since, _time(call, "until")) if "until" in call.query else since
    if until - since > MAX_ON_CALL_RANGE:
        raise Problem(400, 2005, "Invalid Query Date Range")
    policy_ids = call.query.getlist("escalation_policy_ids[]")
    user_ids = call.query.getlist("user_ids[]")
    entries = [
        shift
        for policy in pagerduty.policies.values()
        if not policy_ids or policy.id in policy_ids
        for shift in shifts(pagerduty, policy, since, until)
        if not user_ids or pagerduty.company.person(shift.handle).pagerduty in user_ids
    ]
    if call.query.get("earliest") == "true":
        entries = _earliest(entries)
    with_user = call.includes("users")
    return _paginate(call, "oncalls", entries, lambda s: shapes.oncall_json(pagerduty, s, with_user=with_user))


def _earliest(on_call_shifts: list[Shift]) -> list[Shift]:
    """Return the first shift of each policy, level and person."""
    first: dict[tuple[str, int, str], Shift] = {}
    for shift in on_call_shifts:
        first.setdefault((shift.policy.id, shift.level, shift.handle), shift)
    return list(first.values())


def _time(call: Call, name: str) -> datetime:
    if name not in call.query:
        return call.pagerduty.clock.now()
    try:
        at = datetime.fromisoformat(call.query[name])
    except ValueError:
        raise Problem(400, 2004, f"Invalid time values in '{name}' parameter") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# Incidents.


def list_incidents(call: Call) -> dict[str, Any]:
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
    return _paginate(call, "incidents", fitting, lambda incident: shapes.incident_json(pagerduty, incident))


def get_incident(call: Call) -> dict[str, Any]:
    return {"incident": shapes.incident_json(call.pagerduty, _incident_in_path(call))}


def create_incident(call: Call) -> dict[str, Any]:
    pagerduty = call.pagerduty
    attributes = call.entity("incident")
    title = attributes.get("title")
    if attributes.get("type") != "incident" or not isinstance(title, str) or not title.strip():
        raise invalid_input("Type must be incident", "Title can't be blank")
    service = _get_or_404(pagerduty.services, _id_of(attributes.get("service")), 5002)
    key = attributes.get("incident_key") or uuid.uuid4().hex
    if pagerduty.open_incident(key, service.id):
        raise invalid_input("Open incident with matching dedup key already exists on this service")
    policy = _id_of(attributes["escalation_policy"]) if "escalation_policy" in attributes else None
    if policy is not None:
        _get_or_404(pagerduty.policies, policy, 1014)
    assignees = [_id_of(assignment.get("assignee")) for assignment in attributes.get("assignments") or []]
    if assignees and policy is not None:
        raise invalid_input("Assignments cannot be specified with an escalation policy")
    for assignee in assignees:
        _get_or_404(pagerduty.users, assignee, 2001)
    details = (attributes.get("body") or {}).get("details")
    incident = pagerduty.open(
        service,
        key,
        title,
        call.author,
        policy=policy,
        urgency=attributes.get("urgency", "high"),
        priority=_id_of(attributes["priority"]) if attributes.get("priority") else None,
        details=details,
        assignees=assignees,
    )
    return {"incident": shapes.incident_json(pagerduty, incident)}


def update_incident(call: Call) -> dict[str, Any]:
    incident = _incident_in_path(call)
    _change_incident(call, incident, call.entity("incident"))
    return {"incident": shapes.incident_json(call.pagerduty, incident)}


def update_incidents(call: Call) -> dict[str, Any]:
    changes = call.body.get("incidents")
    if not isinstance(changes, list) or not 1 <= len(changes) <= MAX_INCIDENTS:
        raise invalid_input(f"Incidents must be a list of 1 to {MAX_INCIDENTS}")
    incidents = [_get_or_404(call.pagerduty.incidents, _id_of(change), 5001) for change in changes]
    for incident, change in zip(incidents, changes, strict=True):
        _change_incident(call, incident, change)
    return {
        "incidents": [shapes.incident_json(call.pagerduty, incident) for incident in incidents],
        "limit": MAX_INCIDENTS,
        "offset": 0,
        "more": False,
        "total": None,
    }


def _change_incident(call: Call, incident: Incident, change: dict[str, Any]) -> None:
    pagerduty, agent = call.pagerduty, call.author
    status = change.get("status")
    if status not in (None, "acknowledged", "resolved", "triggered"):
        raise Problem(400, 1003, "Invalid Status Provided")
    if "title" in change:
        incident.title = str(change["title"])
    if "priority" in change:
        pagerduty.set_priority(incident, _id_of(change["priority"]) if change["priority"] else None, agent)
    if "escalation_level" in change:
        level = change["escalation_level"]
        if not isinstance(level, int):
            raise invalid_input("Escalation level must be an integer")
        pagerduty.escalate(incident, level, agent)
    if "assignments" in change:
        users = [_id_of(assignment.get("assignee")) for assignment in change["assignments"]]
        pagerduty.reassign(incident, users, agent)
    if status == "acknowledged":
        pagerduty.acknowledge(incident, agent)
    elif status == "resolved":
        pagerduty.resolve(incident, agent)
    elif status == "triggered" and not incident.is_open:
        pagerduty.reopen(incident, agent)


def list_notes(call: Call) -> dict[str, Any]:
    return {"notes": [shapes.note_json(note) for note in _incident_in_path(call).notes]}


def create_note(call: Call) -> dict[str, Any]:
    content = call.entity("note").get("content")
    if not isinstance(content, str) or not content.strip():
        raise invalid_input("Content can't be blank")
    return {"note": shapes.note_json(call.pagerduty.note(_incident_in_path(call), content, call.author))}


def list_alerts(call: Call) -> dict[str, Any]:
    incident = _incident_in_path(call)
    return _paginate(
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


def list_log_entries(call: Call) -> dict[str, Any]:
    incident = _incident_in_path(call)
    newest_first = reversed(incident.log)
    return _paginate(call, "log_entries", newest_first, lambda e: shapes.log_entry_json(call.pagerduty, incident, e))


def _incident_in_path(call: Call) -> Incident:
    return _get_or_404(call.pagerduty.incidents, call.path["id"], 5001)


def _id_of(reference: Any) -> str:
    """Return the id of a reference. Raises Problem if there is none."""
    if not isinstance(reference, dict) or not isinstance(reference.get("id"), str):
        raise Problem(400, 1004, "Invalid ID Provided")
    return str(reference["id"])


# Webhook subscriptions.


def list_subscriptions(call: Call) -> dict[str, Any]:
    return _paginate(call, "webhook_subscriptions", call.pagerduty.subscriptions.values(), shapes.subscription_json)


def get_subscription(call: Call) -> dict[str, Any]:
    subscription = _get_or_404(call.pagerduty.subscriptions, call.path["id"])
    return {"webhook_subscription": shapes.subscription_json(subscription)}


def create_subscription(call: Call) -> dict[str, Any]:
    attributes = call.entity("webhook_subscription")
    method = attributes.get("delivery_method") or {}
    scope = attributes.get("filter") or {}
    events = attributes.get("events")
    if method.get("type") != "http_delivery_method" or not str(method.get("url", "")).startswith("http"):
        raise invalid_input("Delivery method must be an http_delivery_method with a url")
    if not isinstance(events, list) or not events:
        raise invalid_input("Events can't be blank")
    if scope.get("type") not in ("account_reference", "service_reference"):
        raise invalid_input("Filter must be an account_reference or a service_reference")
    service = None
    if scope["type"] == "service_reference":
        service = _get_or_404(call.pagerduty.services, scope.get("id", ""), 5002).id
    subscription = call.pagerduty.subscribe(
        method["url"],
        secrets.token_urlsafe(48),
        events,
        service=service,
        description=attributes.get("description", ""),
    )
    subscription.custom_headers = tuple((h["name"], h["value"]) for h in method.get("custom_headers", []))
    return {"webhook_subscription": shapes.subscription_json(subscription, with_secret=True)}


def delete_subscription(call: Call) -> None:
    _get_or_404(call.pagerduty.subscriptions, call.path["id"])
    del call.pagerduty.subscriptions[call.path["id"]]


def enable_subscription(call: Call) -> dict[str, Any]:
    """Deliver again after three webhooks in a row were dropped."""
    subscription = _get_or_404(call.pagerduty.subscriptions, call.path["id"])
    subscription.disabled_until = None
    subscription.active = True
    return {"webhook_subscription": shapes.subscription_json(subscription)}
