"""What PagerDuty keeps: users, incidents with their log, webhook subscriptions and their deliveries."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

API = "https://api.pagerduty.com"
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
    """An answer that is an error.

    `code` and `message` are PagerDuty's own: https://developer.pagerduty.com/docs/errors
    Without a code the answer is the message alone, as a few old endpoints do.
    """

    def __init__(self, status: int, code: int | None, message: str, *errors: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors


@dataclass(frozen=True)
class Reference:
    """How PagerDuty names one thing inside another; `path` is its place in the API and on the web."""

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


@dataclass(frozen=True)
class Priority:
    id: str
    name: str
    description: str


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
    """One incident; `level` is the escalation level that is being notified, the first being 1."""

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
    """A V3 webhook subscription. `secrets` are several while one is being replaced."""

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
    """One webhook on its way; `attempts` holds the HTTP status of each try, or the name of what went wrong."""

    webhook_id: str
    subscription: str
    event: dict[str, Any]
    attempts: list[int | str] = field(default_factory=list)
    state: Literal["waiting", "delivered", "dropped"] = "waiting"


@dataclass(frozen=True)
class Request:
    """A request that came in, for tests to look at; `body` is the decoded JSON, None when there was none."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any
