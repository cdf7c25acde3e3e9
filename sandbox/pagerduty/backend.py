"""PagerDuty's state and what may happen to it: incidents are triggered, acknowledged, escalated, resolved."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Sequence
from typing import Any

from sandbox.clock import Clock
from sandbox.company import Company, EscalationPolicy, PagerDutyService
from sandbox.pagerduty import shapes
from sandbox.pagerduty.oncall import on_call
from sandbox.pagerduty.person import PersonAtPagerDuty
from sandbox.pagerduty.records import (
    EVENTS,
    Delivery,
    Incident,
    LogEntry,
    Note,
    Priority,
    Problem,
    Reference,
    Request,
    Status,
    Subscription,
    User,
)
from sandbox.pagerduty.webhooks import Deliverer

API_TOKEN = "sandbox-pagerduty-api-token"
USER_TOKEN = "sandbox-pagerduty-user-token"
WEBHOOK_SECRET = "sandbox-pagerduty-webhook-secret"
BOT = User("PTAMVBT", "TAMV Bot", "tamv-bot@tamv.world", "Service account", "2025550199")
PRIORITIES = tuple(Priority(f"PPRIO0{n}", f"P{n}", f"Priority {n}") for n in range(1, 5))


class PagerDuty:
    """One PagerDuty account with the company's users, services and escalation policies.

    API_TOKEN is an account's token, so that writes need a From header; USER_TOKEN is the bot user's own.
    Everything must be called inside the running event loop: changes send webhooks in the background.
    """

    def __init__(self, company: Company, clock: Clock, deliverer: Deliverer | None = None) -> None:
        self.company = company
        self.clock = clock
        self.deliverer = deliverer or Deliverer(clock)
        self.web = f"https://{company.workspace.domain}.pagerduty.com"
        self.tokens: dict[str, User | None] = {API_TOKEN: None, USER_TOKEN: BOT}
        self.users = {
            person.pagerduty: User(person.pagerduty, person.name, person.email, person.title, f"20255501{number:02}")
            for number, person in enumerate(company.people, start=1)
        } | {BOT.id: BOT}
        self.services = {service.id: service for service in company.pagerduty.services}
        self.policies = {policy.id: policy for policy in company.pagerduty.escalation_policies}
        self.priorities = {priority.id: priority for priority in PRIORITIES}
        self.incidents: dict[str, Incident] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.requests: list[Request] = []
        self._numbers = itertools.count(1)
        self._ids = itertools.count(1)

    def routing_key(self, service: str) -> str:
        """The 32 characters of the Events API integration of a service, which is given by id or name."""
        service_id = self.company.pagerduty.service(service).id
        return hashlib.sha256(f"routing key of {service_id}".encode()).hexdigest()[:32]

    def service_of(self, routing_key: str) -> PagerDutyService | None:
        """The service that a routing key belongs to, if any."""
        for service in self.services.values():
            if self.routing_key(service.id) == routing_key:
                return service
        return None

    def person(self, key: str) -> PersonAtPagerDuty:
        """Somebody at PagerDuty's web page or phone app, by handle, e-mail or id. KeyError if there is none."""
        return PersonAtPagerDuty(self, self.users[self.company.person(key).pagerduty])

    def incident(self, id_or_key: str) -> Incident:
        """The incident by id, or the newest by dedup key. KeyError if there is none."""
        if id_or_key in self.incidents:
            return self.incidents[id_or_key]
        for incident in reversed(self.incidents.values()):
            if incident.key == id_or_key:
                return incident
        raise KeyError(id_or_key)

    def open_incident(self, key: str, service: str) -> Incident | None:
        for incident in self.incidents.values():
            if incident.is_open and incident.key == key and incident.service == service:
                return incident
        return None

    def open(
        self,
        service: PagerDutyService,
        key: str,
        title: str,
        agent: Reference,
        *,
        policy: str | None = None,
        urgency: str = "high",
        priority: str | None = None,
        details: str | None = None,
        client: dict[str, str] | None = None,
        alert: dict[str, Any] | None = None,
    ) -> Incident:
        """Make an incident, notify who is on call, and send incident.triggered."""
        now = self.clock.now()
        incident = Incident(
            id=self.new_id("Q"),
            number=next(self._numbers),
            key=key,
            title=title,
            service=service.id,
            escalation_policy=policy or service.escalation_policy,
            created_at=now,
            changed_at=now,
            changed_by=agent,
            urgency="low" if urgency == "low" else "high",
            priority=priority,
            details=details,
            client=client,
            alerts=[alert] if alert else [],
        )
        self.incidents[incident.id] = incident
        self._log(incident, "trigger_log_entry", agent)
        self._assign_to_level(incident, 1, agent)
        self._tell("incident.triggered", incident, agent)
        return incident

    def add_alert(self, incident: Incident, alert: dict[str, Any], agent: Reference) -> None:
        """The same problem again: it is noted, and nobody is notified."""
        incident.alerts.append(alert)
        self._log(incident, "trigger_log_entry", agent)

    def acknowledge(self, incident: Incident, agent: Reference) -> None:
        """Problem if it is resolved; nothing happens when the same agent has acknowledged it already."""
        self._must_be_open(incident)
        if any(who == agent for _, who in incident.acknowledgements):
            return
        incident.acknowledgements.append((self.clock.now(), agent))
        self._set_status(incident, "acknowledged", agent)
        self._log(incident, "acknowledge_log_entry", agent)
        self._tell("incident.acknowledged", incident, agent)

    def resolve(self, incident: Incident, agent: Reference) -> None:
        """Problem if it is resolved already."""
        self._must_be_open(incident)
        self._set_status(incident, "resolved", agent)
        incident.resolved_at = incident.changed_at
        incident.assignees = ()
        incident.acknowledgements.clear()
        self._log(incident, "resolve_log_entry", agent)
        self._tell("incident.resolved", incident, agent)

    def reopen(self, incident: Incident, agent: Reference) -> None:
        """Problem if it is open."""
        if incident.is_open:
            raise Problem(400, 1003, "Invalid Status Provided", "Incident is not resolved")
        self._set_status(incident, "triggered", agent)
        incident.resolved_at = None
        self._assign_to_level(incident, 1, agent)
        self._tell("incident.reopened", incident, agent)

    def note(self, incident: Incident, content: str, author: Reference) -> Note:
        note = Note(self.new_id("P"), self.clock.now(), author, content)
        incident.notes.append(note)
        self._log(incident, "annotate_log_entry", author, {"type": "note", "summary": content})
        self._tell("incident.annotated", incident, author, shapes.webhook_note(self, incident, note))
        return note

    def escalate(self, incident: Incident, level: int, agent: Reference) -> None:
        """Notify another level, the first being 1. It is triggered again, as nobody there has seen it yet."""
        self._must_be_open(incident)
        if not 1 <= level <= len(self.policy_of(incident).levels):
            raise Problem(400, 1006, "Cannot Escalate", f"There is no escalation level {level}")
        incident.acknowledgements.clear()
        self._set_status(incident, "triggered", agent)
        self._log(incident, "escalate_log_entry", agent)
        self._assign_to_level(incident, level, agent)
        self._tell("incident.escalated", incident, agent)

    def reassign(self, incident: Incident, users: Sequence[str], agent: Reference) -> None:
        self._must_be_open(incident)
        if not users or any(user not in self.users for user in users):
            raise Problem(400, 1007, "Assigned To User Not Found")
        incident.acknowledgements.clear()
        self._set_status(incident, "triggered", agent)
        incident.assignees = tuple(users)
        self._log(incident, "assign_log_entry", agent)
        self._tell("incident.reassigned", incident, agent)

    def set_priority(self, incident: Incident, priority: str | None, agent: Reference) -> None:
        if priority is not None and priority not in self.priorities:
            raise Problem(400, 1020, "Invalid Priority")
        if priority == incident.priority:
            return
        incident.priority = priority
        self._log(incident, "priority_change_log_entry", agent)
        self._tell("incident.priority_updated", incident, agent)

    def subscribe(
        self,
        url: str,
        secret: str,
        events: Sequence[str] = EVENTS,
        *,
        service: str | None = None,
        description: str = "",
    ) -> Subscription:
        """Send these event types to `url`, for one service (its id) or for the whole account."""
        subscription = Subscription(
            self.new_id("P"), url, tuple(events), (secret,), service=service, description=description
        )
        self.subscriptions[subscription.id] = subscription
        return subscription

    def policy_of(self, incident: Incident) -> EscalationPolicy:
        return self.policies[incident.escalation_policy]

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids):06}" if prefix == "P" else f"{prefix}{next(self._ids):013}"

    async def aclose(self) -> None:
        """Stop sending webhooks."""
        await self.deliverer.aclose()

    def _must_be_open(self, incident: Incident) -> None:
        if not incident.is_open:
            raise Problem(400, 1001, "Incident Already Resolved", "Incident Already Resolved")

    def _set_status(self, incident: Incident, status: Status, agent: Reference) -> None:
        incident.status = status
        incident.changed_at = self.clock.now()
        incident.changed_by = agent

    def _assign_to_level(self, incident: Incident, level: int, agent: Reference) -> None:
        handle = on_call(self.policy_of(incident), level, self.clock.now())
        user = self.users[self.company.person(handle).pagerduty]
        incident.level = level
        incident.assignees = (user.id,)
        self._log(incident, "assign_log_entry", agent)
        self._log(incident, "notify_log_entry", shapes.user_reference(self, user), {"type": "auto"})

    def _log(self, incident: Incident, kind: str, agent: Reference, channel: dict[str, Any] | None = None) -> None:
        entry = LogEntry(self.new_id("R"), kind, self.clock.now(), agent, channel or {"type": "api"})
        incident.log.append(entry)

    def _tell(self, event_type: str, incident: Incident, agent: Reference, data: dict[str, Any] | None = None) -> None:
        event = {
            "id": f"01SBX{next(self._ids):021}",
            "event_type": event_type,
            "resource_type": "incident",
            "occurred_at": shapes.timestamp(self.clock.now(), "milliseconds"),
            "agent": agent.json(),
            "client": incident.client,
            "data": data or shapes.webhook_incident(self, incident),
        }
        for subscription in self.subscriptions.values():
            concerned = subscription.service in (None, incident.service)
            if subscription.active and concerned and event_type in subscription.events:
                self.deliverer.send(subscription, Delivery(str(uuid.uuid4()), subscription.id, event))
