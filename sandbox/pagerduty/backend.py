"""PagerDuty: what may happen to incidents, and the V3 webhooks that tell of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import aiohttp

from sandbox.clock import Clock
from sandbox.company import Company, PagerDutyService
from sandbox.pagerduty import shapes
from sandbox.pagerduty.state import (
    EVENTS,
    Account,
    Delivery,
    Incident,
    LogEntry,
    Note,
    Problem,
    Reference,
    Status,
    Subscription,
    User,
    on_call,
)

WEBHOOK_SECRET = "sandbox-pagerduty-webhook-secret"
TIMEOUT = 5.0  # real seconds
RETRY_DELAYS = (15.0, 60.0, 240.0, 900.0)  # world seconds; five attempts over about twenty minutes
DROPS_TO_DISABLE = 3
DISABLED_FOR = timedelta(hours=24)


class PagerDuty(Account):
    """An account that acts. Call it inside the running event loop: changes send webhooks in the background."""

    def __init__(self, company: Company, clock: Clock, deliverer: Deliverer | None = None) -> None:
        super().__init__(company, clock.now())
        self.clock = clock
        self.deliverer = deliverer or Deliverer(clock)
        self._numbers = itertools.count(1)
        self._ids = itertools.count(1)

    def person(self, key: str) -> PersonAtPagerDuty:
        """Return a person at PagerDuty's web page or app, by handle, e-mail or id. Raises KeyError."""
        return PersonAtPagerDuty(self, self.users[self.company.person(key).pagerduty])

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
        assignees: Sequence[str] = (),
    ) -> Incident:
        """Open an incident, notify its `assignees` or else who is on call, and send incident.triggered."""
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
        if assignees:
            self._assign_to_users(incident, assignees, agent)
        else:
            self._assign_to_level(incident, 1, agent)
        self._send_webhooks("incident.triggered", incident, agent)
        return incident

    def add_alert(self, incident: Incident, alert: dict[str, Any], agent: Reference) -> None:
        """Add an alert to an open incident. Nobody is notified."""
        incident.alerts.append(alert)
        self._log(incident, "trigger_log_entry", agent)

    def acknowledge(self, incident: Incident, agent: Reference) -> None:
        """Acknowledge; no effect if the agent has done so already. Raises Problem if it is resolved."""
        self._raise_if_resolved(incident)
        if any(who == agent for _, who in incident.acknowledgements):
            return
        incident.acknowledgements.append((self.clock.now(), agent))
        self._set_status(incident, "acknowledged", agent)
        self._log(incident, "acknowledge_log_entry", agent)
        self._send_webhooks("incident.acknowledged", incident, agent)

    def resolve(self, incident: Incident, agent: Reference) -> None:
        """Resolve. Raises Problem if it is resolved already."""
        self._raise_if_resolved(incident)
        self._set_status(incident, "resolved", agent)
        incident.resolved_at = incident.changed_at
        incident.assignees = ()
        incident.acknowledgements.clear()
        self._log(incident, "resolve_log_entry", agent)
        self._send_webhooks("incident.resolved", incident, agent)

    def reopen(self, incident: Incident, agent: Reference) -> None:
        """Reopen. Raises Problem if it is open."""
        if incident.is_open:
            raise Problem(400, 1003, "Invalid Status Provided", "Incident is not resolved")
        self._set_status(incident, "triggered", agent)
        incident.resolved_at = None
        self._assign_to_level(incident, 1, agent)
        self._send_webhooks("incident.reopened", incident, agent)

    def note(self, incident: Incident, content: str, author: Reference) -> Note:
        note = Note(self.new_id("P"), self.clock.now(), author, content)
        incident.notes.append(note)
        self._log(incident, "annotate_log_entry", author, {"type": "note", "summary": content})
        self._send_webhooks("incident.annotated", incident, author, shapes.webhook_note(self, incident, note))
        return note

    def escalate(self, incident: Incident, level: int, agent: Reference) -> None:
        """Notify another level, the first is 1. The incident is triggered again."""
        self._raise_if_resolved(incident)
        if not 1 <= level <= len(self.policy_of(incident).levels):
            raise Problem(400, 1006, "Cannot Escalate", f"There is no escalation level {level}")
        incident.acknowledgements.clear()
        self._set_status(incident, "triggered", agent)
        self._log(incident, "escalate_log_entry", agent)
        self._assign_to_level(incident, level, agent)
        self._send_webhooks("incident.escalated", incident, agent)

    def reassign(self, incident: Incident, users: Sequence[str], agent: Reference) -> None:
        self._raise_if_resolved(incident)
        if not users or any(user not in self.users for user in users):
            raise Problem(400, 1007, "Assigned To User Not Found")
        incident.acknowledgements.clear()
        self._set_status(incident, "triggered", agent)
        incident.assignees = tuple(users)
        self._log(incident, "assign_log_entry", agent)
        self._send_webhooks("incident.reassigned", incident, agent)

    def set_priority(self, incident: Incident, priority: str | None, agent: Reference) -> None:
        if priority is not None and priority not in self.priorities:
            raise Problem(400, 1020, "Invalid Priority")
        if priority == incident.priority:
            return
        incident.priority = priority
        self._log(incident, "priority_change_log_entry", agent)
        self._send_webhooks("incident.priority_updated", incident, agent)

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

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids):06}" if prefix == "P" else f"{prefix}{next(self._ids):013}"

    async def aclose(self) -> None:
        """Stop sending webhooks."""
        await self.deliverer.aclose()

    def _raise_if_resolved(self, incident: Incident) -> None:
        if not incident.is_open:
            raise Problem(400, 1001, "Incident Already Resolved", "Incident Already Resolved")

    def _set_status(self, incident: Incident, status: Status, agent: Reference) -> None:
        incident.status = status
        incident.changed_at = self.clock.now()
        incident.changed_by = agent

    def _assign_to_level(self, incident: Incident, level: int, agent: Reference) -> None:
        handle = on_call(self, self.policy_of(incident), level, self.clock.now())
        user = self.users[self.company.person(handle).pagerduty]
        incident.level = level
        incident.assignees = (user.id,)
        self._log(incident, "assign_log_entry", agent)
        self._log(incident, "notify_log_entry", shapes.user_reference(self, user), {"type": "auto"})

    def _assign_to_users(self, incident: Incident, users: Sequence[str], agent: Reference) -> None:
        incident.assignees = tuple(users)
        self._log(incident, "assign_log_entry", agent)
        for user in users:
            self._log(incident, "notify_log_entry", shapes.user_reference(self, self.users[user]), {"type": "auto"})

    def _log(self, incident: Incident, kind: str, agent: Reference, channel: dict[str, Any] | None = None) -> None:
        entry = LogEntry(self.new_id("R"), kind, self.clock.now(), agent, channel or {"type": "api"})
        incident.log.append(entry)

    def _send_webhooks(
        self, event_type: str, incident: Incident, agent: Reference, data: dict[str, Any] | None = None
    ) -> None:
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
            in_scope = subscription.service in (None, incident.service)
            if subscription.active and in_scope and event_type in subscription.events:
                self.deliverer.send(subscription, Delivery(str(uuid.uuid4()), subscription.id, event))


class PersonAtPagerDuty:
    """A person at the web page or app. An incident is given as itself, by id, or by dedup key."""

    def __init__(self, pagerduty: PagerDuty, user: User) -> None:
        self.user = user
        self._pagerduty = pagerduty
        self._me = shapes.user_reference(pagerduty, user)

    async def acknowledge(self, incident: Incident | str) -> None:
        self._pagerduty.acknowledge(self._find(incident), self._me)

    async def resolve(self, incident: Incident | str) -> None:
        self._pagerduty.resolve(self._find(incident), self._me)

    async def reopen(self, incident: Incident | str) -> None:
        self._pagerduty.reopen(self._find(incident), self._me)

    async def note(self, incident: Incident | str, text: str) -> None:
        self._pagerduty.note(self._find(incident), text, self._me)

    async def escalate(self, incident: Incident | str, level: int) -> None:
        self._pagerduty.escalate(self._find(incident), level, self._me)

    async def reassign(self, incident: Incident | str, *handles: str) -> None:
        users = [self._pagerduty.company.person(handle).pagerduty for handle in handles]
        self._pagerduty.reassign(self._find(incident), users, self._me)

    async def set_priority(self, incident: Incident | str, name: str) -> None:
        priority = next(p.id for p in self._pagerduty.priorities.values() if p.name == name)
        self._pagerduty.set_priority(self._find(incident), priority, self._me)

    def _find(self, incident: Incident | str) -> Incident:
        return incident if isinstance(incident, Incident) else self._pagerduty.incident(incident)


# Webhooks on their way out. The rules are PagerDuty's: https://developer.pagerduty.com/docs/webhooks-behavior


class Deliverer:
    """Sends each subscription's webhooks in order, with retries; disables a subscription that drops too many."""

    def __init__(self, clock: Clock, *, timeout: float = TIMEOUT, retry_delays: Sequence[float] = RETRY_DELAYS) -> None:
        self.log: list[Delivery] = []
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._retry_delays = tuple(retry_delays)
        self._workers: dict[str, asyncio.Task[None]] = {}

    def send(self, subscription: Subscription, delivery: Delivery) -> None:
        """Queue a webhook, or drop it while the subscription is disabled."""
        self.log.append(delivery)
        if subscription.disabled_until and subscription.disabled_until > self._clock.now():
            delivery.state = "dropped"
            return
        subscription.disabled_until = None
        subscription.queue.append(delivery)
        if subscription.id not in self._workers:
            self._workers[subscription.id] = asyncio.create_task(self._work(subscription))

    async def idle(self) -> None:
        """Wait until every queued webhook was delivered or dropped."""
        while self._workers:
            await asyncio.gather(*self._workers.values(), return_exceptions=True)

    async def aclose(self) -> None:
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers.clear()  # a task cancelled before it started has not removed itself

    async def _work(self, subscription: Subscription) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as http:
            try:
                while subscription.queue:
                    delivery = subscription.queue.popleft()
                    await self._deliver(http, subscription, delivery)
                    self._count_drops(subscription, delivery)
            finally:  # before the session closes: what is queued meanwhile needs a new worker
                del self._workers[subscription.id]

    async def _deliver(self, http: aiohttp.ClientSession, subscription: Subscription, delivery: Delivery) -> None:
        body = json.dumps({"event": delivery.event}, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "PagerDuty-Webhook/V3.0",
            "X-Webhook-Id": delivery.webhook_id,
            "X-Webhook-Subscription": subscription.id,
            "X-PagerDuty-Signature": signature(body, subscription.secrets),
            **dict(subscription.custom_headers),
        }
        for delay in (*self._retry_delays, None):
            try:
                async with http.post(subscription.url, data=body, headers=headers, allow_redirects=False) as answer:
                    delivery.attempts.append(answer.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                delivery.attempts.append(type(error).__name__)
            last = delivery.attempts[-1]
            if isinstance(last, int) and 200 <= last < 300:
                delivery.state = "delivered"
                return
            is_final = isinstance(last, int) and 400 <= last < 500 and last != 429
            if is_final or delay is None:
                break
            await self._clock.sleep(delay)
        delivery.state = "dropped"

    def _count_drops(self, subscription: Subscription, delivery: Delivery) -> None:
        if delivery.state == "delivered":
            subscription.dropped_in_a_row = 0
            return
        subscription.dropped_in_a_row += 1
        if subscription.dropped_in_a_row >= DROPS_TO_DISABLE:
            subscription.disabled_until = self._clock.now() + DISABLED_FOR
            subscription.dropped_in_a_row = 0
            while subscription.queue:
                subscription.queue.popleft().state = "dropped"


def signature(body: bytes, secrets: Sequence[str]) -> str:
    """Return the value of X-PagerDuty-Signature: one HMAC-SHA256 of the raw body for each secret."""
    return ",".join(f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}" for secret in secrets)
