"""REST API v2, who and what there is: abilities, users, services, escalation policies, on-calls, priorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.routing import BaseRoute

from sandbox.company import PagerDutyService
from sandbox.pagerduty import shapes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.endpoint import Call, found, paged, rest
from sandbox.pagerduty.oncall import Shift, shifts
from sandbox.pagerduty.records import Problem

ABILITIES = ["sso", "teams", "urgencies", "manage_schedules", "preview_incident_alert_split", "event_rules"]
LONGEST_RANGE = timedelta(days=90)


def routes(pagerduty: PagerDuty) -> list[BaseRoute]:
    return [
        rest(pagerduty, "GET", "/abilities", lambda call: {"abilities": ABILITIES}),
        rest(pagerduty, "GET", "/users", users),
        rest(pagerduty, "GET", "/users/me", me),
        rest(pagerduty, "GET", "/users/{id}", user),
        rest(pagerduty, "GET", "/users/{id}/contact_methods", contact_methods),
        rest(pagerduty, "GET", "/services", services),
        rest(pagerduty, "GET", "/services/{id}", service),
        rest(pagerduty, "GET", "/services/{id}/integrations/{integration}", integration),
        rest(pagerduty, "GET", "/escalation_policies", policies),
        rest(pagerduty, "GET", "/escalation_policies/{id}", policy),
        rest(pagerduty, "GET", "/oncalls", oncalls),
        rest(pagerduty, "GET", "/priorities", priorities),
    ]


def users(call: Call) -> dict[str, Any]:
    query = call.query.get("query", "").lower()
    fitting = [u for u in call.pagerduty.users.values() if query in u.name.lower() or query in u.email.lower()]
    with_contacts = call.includes("contact_methods")
    return paged(call, "users", fitting, lambda u: shapes.user_json(call.pagerduty, u, with_contacts=with_contacts))


def me(call: Call) -> dict[str, Any]:
    if call.user is None:
        raise Problem(400, None, "Cannot be used with an account-level access token")
    return {"user": shapes.user_json(call.pagerduty, call.user, with_contacts=call.includes("contact_methods"))}


def user(call: Call) -> dict[str, Any]:
    one = found(call.pagerduty.users, call.path["id"])
    return {"user": shapes.user_json(call.pagerduty, one, with_contacts=call.includes("contact_methods"))}


def contact_methods(call: Call) -> dict[str, Any]:
    return {"contact_methods": shapes.contact_methods(found(call.pagerduty.users, call.path["id"]))}


def services(call: Call) -> dict[str, Any]:
    query = call.query.get("query", "").lower()
    fitting = [s for s in call.pagerduty.services.values() if query in s.name.lower()]
    return paged(call, "services", fitting, lambda s: _service(call, s))


def service(call: Call) -> dict[str, Any]:
    one = found(call.pagerduty.services, call.path["id"])
    return {"service": _service(call, one)}


def integration(call: Call) -> dict[str, Any]:
    one = found(call.pagerduty.services, call.path["id"])
    drawn = shapes.integration_json(call.pagerduty, one)
    found({drawn["id"]: drawn}, call.path["integration"])
    return {"integration": drawn}


def policies(call: Call) -> dict[str, Any]:
    query = call.query.get("query", "").lower()
    fitting = [p for p in call.pagerduty.policies.values() if query in p.name.lower()]
    return paged(call, "escalation_policies", fitting, lambda p: shapes.policy_json(call.pagerduty, p))


def policy(call: Call) -> dict[str, Any]:
    one = found(call.pagerduty.policies, call.path["id"], 5001)
    return {"escalation_policy": shapes.policy_json(call.pagerduty, one)}


def priorities(call: Call) -> dict[str, Any]:
    everything = call.pagerduty.priorities.values()
    return paged(call, "priorities", everything, lambda p: shapes.priority_json(call.pagerduty, p))


def oncalls(call: Call) -> dict[str, Any]:
    pagerduty = call.pagerduty
    since = _time(call, "since")
    until = max(since, _time(call, "until")) if "until" in call.query else since
    if until - since > LONGEST_RANGE:
        raise Problem(400, 2005, "Invalid Query Date Range")
    wanted_policies = call.query.getlist("escalation_policy_ids[]")
    wanted_users = call.query.getlist("user_ids[]")
    entries = [
        shift
        for policy in pagerduty.policies.values()
        if not wanted_policies or policy.id in wanted_policies
        for shift in shifts(policy, since, until)
        if not wanted_users or pagerduty.company.person(shift.handle).pagerduty in wanted_users
    ]
    if call.query.get("earliest") == "true":
        entries = _earliest(entries)
    with_user = call.includes("users")
    return paged(call, "oncalls", entries, lambda s: shapes.oncall_json(pagerduty, s, with_user=with_user))


def _service(call: Call, service: PagerDutyService) -> dict[str, Any]:
    return shapes.service_json(call.pagerduty, service, with_integrations=call.includes("integrations"))


def _earliest(entries: list[Shift]) -> list[Shift]:
    """The first entry of each policy, level and person."""
    first: dict[tuple[str, int, str], Shift] = {}
    for shift in entries:
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
