"""What PagerDuty remembers: the account with its incidents and webhook subscriptions, and who is on call when."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sandbox.company import Company, EscalationPolicy, PagerDutyService

API = "https://api.pagerduty.com"

# The account.

API_TOKEN = "sandbox-pagerduty-api-token"
USER_TOKEN = "sandbox-pagerduty-user-token"

EVENTS = (
    "incident.acknowledged",
    "incident.annotated",
    "incident.escalated",
    "incident.priority_updated",
    "incident.reassigned",
    "incident.reopened",
    "incident.resolved",
    "incident.triggered",
)
Status = Literal["triggered", "acknowledged", "resolved"]
Urgency = Literal["high", "low"]


class Problem(Exception):
    """An error response.

    `code` and `message` are PagerDuty's: https://developer.pagerduty.com/docs/errors
    Without a code the response is the message alone, as in a few old endpoints.
    """

    def __init__(self, status: int, code: int | None, message: str, *errors: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors


@dataclass(frozen=True)
class Reference:
    """A reference to an entity inside another; `path` is its path in the API and on the web."""

    type: str
    id: str
    summary: str
    path: str
    web: str

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.type,
            "summary": self.summary,
            "self": f"{API}{self.path}",
            "html_url": f"{self.web}{self.path}",
        }


@dataclass(frozen=True)
class User:
    id: str
    name: str
    email: str
    title: str
    phone: str


BOT = User("PTAMVBT", "Incident bot", "tamv-bot@tamv.world", "Service account", "2025550199")


@dataclass(frozen=True)
class Priority:
    id: str
    name: str
    description: str


PRIORITIES = tuple(Priority(f"PPRIO0{n}", f"P{n}", f"Priority {n}") for n in range(1, 5))


@dataclass(frozen=True)
class LogEntry:
    id: str
    type: str
    at: datetime
    agent: Reference
    channel: dict[str, Any]


@dataclass(frozen=True)
class Note:
    id: str
    at: datetime
    author: Reference
    content: str


@dataclass
class Incident:
    """One incident; `level` is the escalation level being notified, the first is 1."""

    id: str
    number: int
    key: str
    title: str
    service: str
    escalation_policy: str
    created_at: datetime
    changed_at: datetime
    changed_by: Reference
    status: Status = "triggered"
    urgency: Urgency = "high"
    level: int = 1
    priority: str | None = None
    details: str | None = None
    client: dict[str, str] | None = None
    assignees: tuple[str, ...] = ()
    acknowledgements: list[tuple[datetime, Reference]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    resolved_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status != "resolved"


@dataclass
class Subscription:
    """A V3 webhook subscription. It has several `secrets` while one is being rotated."""

    id: str
    url: str
    events: tuple[str, ...]
    secrets: tuple[str, ...]
    description: str = ""
    service: str | None = None
    active: bool = True
    custom_headers: tuple[tuple[str, str], ...] = ()
    dropped_in_a_row: int = 0
    disabled_until: datetime | None = None
    queue: deque[Delivery] = field(default_factory=deque)


@dataclass
class Delivery:
    """One webhook; `attempts` holds the HTTP status of each, or the name of its error."""

    webhook_id: str
    subscription: str
    event: dict[str, Any]
    attempts: list[int | str] = field(default_factory=list)
    state: Literal["waiting", "delivered", "dropped"] = "waiting"


@dataclass(frozen=True)
class Request:
    """A request that came in, for tests; `body` is the decoded JSON, None if empty."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class Account:
    """What a PagerDuty account holds: the company's users, services and policies, incidents, webhook subscriptions.

    API_TOKEN is an account's token, so that writes need a From header; USER_TOKEN is the bot user's own.
    `requests` are all that came in, for tests. `opened` is when the account was made: half of each first shift is
    over by then, so that nobody is relieved soon after, on whatever day of the week the world begins.
    """

    def __init__(self, company: Company, opened: datetime) -> None:
        self.company = company
        self.opened = opened
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

    def routing_key(self, service: str) -> str:
        """Return the routing key (32 characters) of the Events API integration of a service, given by id or name."""
        service_id = self.company.pagerduty.service(service).id
        return hashlib.sha256(f"routing key of {service_id}".encode()).hexdigest()[:32]

    def service_of(self, routing_key: str) -> PagerDutyService | None:
        """Return the service of a routing key, if any."""
        for service in self.services.values():
            if self.routing_key(service.id) == routing_key:
                return service
        return None

    def incident(self, id_or_key: str) -> Incident:
        """Return the incident by id, or the newest by dedup key. Raises KeyError."""
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

    def policy_of(self, incident: Incident) -> EscalationPolicy:
        return self.policies[incident.escalation_policy]


# On-call rotations.


@dataclass(frozen=True)
class Shift:
    """`handle` is on call for `level` of the policy; without start and end it is not a rotation but always."""

    policy: EscalationPolicy
    level: int
    handle: str
    start: datetime | None
    end: datetime | None


def shifts(account: Account, policy: EscalationPolicy, since: datetime, until: datetime) -> Iterator[Shift]:
    """Yield every shift that overlaps [since, until], by level, then by time. People of one level take turns."""
    length = timedelta(hours=policy.rotation_hours)
    first = (account.opened - length / 2).replace(minute=0, second=0, microsecond=0)
    for level, handles in enumerate(policy.levels, start=1):
        if len(handles) == 1:
            yield Shift(policy, level, handles[0], None, None)
            continue
        turn = (since - first) // length
        while True:
            start = first + turn * length
            yield Shift(policy, level, handles[turn % len(handles)], start, start + length)
            turn += 1
            if start + length > until:
                break


def on_call(account: Account, policy: EscalationPolicy, level: int, at: datetime) -> str:
    """Return the handle of who is on call for the level (the first is 1). Raises KeyError for an unknown level."""
    for shift in shifts(account, policy, at, at):
        if shift.level == level:
            return shift.handle
    raise KeyError(level)
