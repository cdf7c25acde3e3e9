"""The JSON of PagerDuty's responses and webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sandbox.company import EscalationPolicy, PagerDutyService
from sandbox.pagerduty.state import (
    API,
    Account,
    Incident,
    LogEntry,
    Note,
    Priority,
    Reference,
    Shift,
    Subscription,
    User,
)


def timestamp(at: datetime, precision: str = "seconds") -> str:
    """Format as ISO 8601 in UTC with a Z; the precision is `seconds` or `milliseconds`."""
    return at.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def user_reference(account: Account, user: User) -> Reference:
    return Reference("user_reference", user.id, user.name, f"/users/{user.id}", account.web)


def service_reference(account: Account, service: PagerDutyService) -> Reference:
    return Reference("service_reference", service.id, service.name, f"/services/{service.id}", account.web)


def policy_reference(account: Account, policy: EscalationPolicy) -> Reference:
    path = f"/escalation_policies/{policy.id}"
    return Reference("escalation_policy_reference", policy.id, policy.name, path, account.web)


def integration_reference(account: Account, service: PagerDutyService) -> Reference:
    """Return the Events API v2 integration of a service: the agent of its events."""
    integration = f"PI{service.id[1:]}"
    path = f"/services/{service.id}/integrations/{integration}"
    return Reference("inbound_integration_reference", integration, "Events API V2", path, account.web)


def incident_reference(account: Account, incident: Incident) -> Reference:
    path = f"/incidents/{incident.id}"
    return Reference("incident_reference", incident.id, incident.title, path, account.web)


def priority_json(account: Account, priority: Priority, kind: str = "priority") -> dict[str, Any]:
    reference = Reference(kind, priority.id, priority.name, f"/priorities/{priority.id}", account.web).json()
    return reference | {"name": priority.name, "description": priority.description}


def user_json(account: Account, user: User, *, with_contacts: bool = False) -> dict[str, Any]:
    methods = contact_methods(user)
    references = [
        {"id": m["id"], "type": f"{m['type']}_reference", "summary": m["summary"], "self": m["self"]} for m in methods
    ]
    return user_reference(account, user).json() | {
        "type": "user",
        "name": user.name,
        "email": user.email,
        "job_title": user.title,
        "time_zone": "Etc/UTC",
        "role": "user",
        "contact_methods": methods if with_contacts else references,
        "notification_rules": [],
        "teams": [],
    }


def contact_methods(user: User) -> list[dict[str, Any]]:
    def method(number: int, kind: str, label: str, address: str, **more: Any) -> dict[str, Any]:
        method_id = f"{user.id}{number}"
        path = f"/users/{user.id}/contact_methods/{method_id}"
        base = {"id": method_id, "type": kind, "summary": label, "label": label, "address": address}
        return base | {"self": f"{API}{path}", "html_url": None} | more

    return [
        method(1, "email_contact_method", "Work", user.email, send_short_email=False),
        method(2, "phone_contact_method", "Mobile", user.phone, country_code=1),
        method(3, "sms_contact_method", "Mobile", user.phone, country_code=1, enabled=True),
    ]


def integration_json(account: Account, service: PagerDutyService) -> dict[str, Any]:
    """Return the integration with its routing key, as for `include[]=integrations` and its own path."""
    return integration_reference(account, service).json() | {
        "type": "events_api_v2_inbound_integration",
        "name": "Events API V2",
        "service": service_reference(account, service).json(),
        "integration_key": account.routing_key(service.id),
    }


def service_json(account: Account, service: PagerDutyService, *, with_integrations: bool = False) -> dict[str, Any]:
    incidents = [i for i in account.incidents.values() if i.service == service.id and i.is_open]
    critical = any(i.status == "triggered" for i in incidents)
    policy = account.policies[service.escalation_policy]
    return service_reference(account, service).json() | {
        "type": "service",
        "name": service.name,
        "status": "critical" if critical else "warning" if incidents else "active",
        "escalation_policy": policy_reference(account, policy).json(),
        "integrations": [
            integration_json(account, service) if with_integrations else integration_reference(account, service).json()
        ],
        "alert_creation": "create_alerts_and_incidents",
        "teams": [],
    }


def policy_json(account: Account, policy: EscalationPolicy) -> dict[str, Any]:
    rules = []
    for level, handles in enumerate(policy.levels, start=1):
        if len(handles) > 1:
            targets = [schedule_reference(account, policy, level).json()]
        else:
            user = account.users[account.company.person(handles[0]).pagerduty]
            targets = [user_reference(account, user).json()]
        rules.append({"id": f"{policy.id}{level}", "escalation_delay_in_minutes": 30, "targets": targets})
    services = [s for s in account.services.values() if s.escalation_policy == policy.id]
    return policy_reference(account, policy).json() | {
        "type": "escalation_policy",
        "name": policy.name,
        "escalation_rules": rules,
        "services": [service_reference(account, service).json() for service in services],
        "num_loops": 0,
        "teams": [],
    }


def schedule_reference(account: Account, policy: EscalationPolicy, level: int) -> Reference:
    schedule = f"{policy.id}S{level}"
    name = f"{policy.name} {level}"
    return Reference("schedule_reference", schedule, name, f"/schedules/{schedule}", account.web)


def oncall_json(account: Account, shift: Shift, *, with_user: bool) -> dict[str, Any]:
    user = account.users[account.company.person(shift.handle).pagerduty]
    rotates = len(shift.policy.levels[shift.level - 1]) > 1
    return {
        "escalation_policy": policy_reference(account, shift.policy).json(),
        "escalation_level": shift.level,
        "schedule": schedule_reference(account, shift.policy, shift.level).json() if rotates else None,
        "user": user_json(account, user) if with_user else user_reference(account, user).json(),
        "start": timestamp(shift.start) if shift.start else None,
        "end": timestamp(shift.end) if shift.end else None,
    }


def incident_json(account: Account, incident: Incident) -> dict[str, Any]:
    priority = account.priorities.get(incident.priority or "")
    open_alerts = len(incident.alerts) if incident.is_open else 0
    return incident_reference(account, incident).json() | {
        "type": "incident",
        "summary": f"[#{incident.number}] {incident.title}",
        "incident_number": incident.number,
        "title": incident.title,
        "created_at": timestamp(incident.created_at),
        "updated_at": timestamp(incident.log[-1].at),
        "status": incident.status,
        "incident_key": incident.key,
        "service": service_reference(account, account.services[incident.service]).json(),
        "assignments": [
            {"at": timestamp(incident.changed_at), "assignee": assignee} for assignee in _assignees(account, incident)
        ],
        "assigned_via": "escalation_policy",
        "acknowledgements": [
            {"at": timestamp(at), "acknowledger": who.json()} for at, who in incident.acknowledgements
        ],
        "last_status_change_at": timestamp(incident.changed_at),
        "last_status_change_by": incident.changed_by.json(),
        "resolved_at": timestamp(incident.resolved_at) if incident.resolved_at else None,
        "escalation_policy": policy_reference(account, account.policy_of(incident)).json(),
        "teams": [],
        "pending_actions": [],
        "priority": priority_json(account, priority) if priority else None,
        "urgency": incident.urgency,
        "body": {"type": "incident_body", "details": incident.details},
        "alert_counts": {
            "all": len(incident.alerts),
            "triggered": open_alerts,
            "resolved": len(incident.alerts) - open_alerts,
        },
    }


def note_json(note: Note) -> dict[str, Any]:
    return {
        "id": note.id,
        "user": note.author.json(),
        "content": note.content,
        "created_at": timestamp(note.at),
        "channel": {"summary": "The PagerDuty website or APIs", "type": "web"},
    }


def log_entry_json(account: Account, incident: Incident, entry: LogEntry) -> dict[str, Any]:
    title = entry.type.removesuffix("_log_entry").replace("_", " ").capitalize()
    service = account.services[incident.service]
    path = f"/log_entries/{entry.id}"
    return Reference(entry.type, entry.id, f"{title} by {entry.agent.summary}", path, account.web).json() | {
        "created_at": timestamp(entry.at),
        "agent": entry.agent.json(),
        "channel": entry.channel,
        "incident": incident_reference(account, incident).json(),
        "service": service_reference(account, service).json(),
        "teams": [],
        "contexts": [],
    }


def subscription_json(subscription: Subscription, *, with_secret: bool = False) -> dict[str, Any]:
    """Return a subscription; the secret is shown only in the response to its creation."""
    if subscription.service:
        scope = {"type": "service_reference", "id": subscription.service}
    else:
        scope = {"type": "account_reference"}
    return {
        "id": subscription.id,
        "type": "webhook_subscription",
        "active": subscription.active,
        "delivery_method": {
            "id": f"{subscription.id}D",
            "type": "http_delivery_method",
            "url": subscription.url,
            "secret": subscription.secrets[-1] if with_secret else None,
            "custom_headers": [
                {"name": name, "value": value if with_secret else "<redacted>"}
                for name, value in subscription.custom_headers
            ],
            "temporarily_disabled": subscription.disabled_until is not None,
        },
        "description": subscription.description,
        "events": list(subscription.events),
        "filter": scope,
    }


def webhook_incident(account: Account, incident: Incident) -> dict[str, Any]:
    """Return `event.data` of an incident's event."""
    priority = account.priorities.get(incident.priority or "")
    return incident_reference(account, incident).json() | {
        "type": "incident",
        "number": incident.number,
        "status": incident.status,
        "incident_key": incident.key,
        "created_at": timestamp(incident.created_at),
        "title": incident.title,
        "service": service_reference(account, account.services[incident.service]).json(),
        "assignees": _assignees(account, incident),
        "escalation_policy": policy_reference(account, account.policy_of(incident)).json(),
        "teams": [],
        "priority": priority_json(account, priority, "priority_reference") if priority else None,
        "urgency": incident.urgency,
        "conference_bridge": None,
        "resolve_reason": None,
        "reopened_at": None,
        "incident_type": {"name": "incident_default"},
    }


def webhook_note(account: Account, incident: Incident, note: Note) -> dict[str, Any]:
    """Return `event.data` of incident.annotated."""
    return {
        "incident": incident_reference(account, incident).json(),
        "id": note.id,
        "content": note.content,
        "trimmed": False,
        "type": "incident_note",
    }


def _assignees(account: Account, incident: Incident) -> list[dict[str, Any]]:
    return [user_reference(account, account.users[user]).json() for user in incident.assignees]
