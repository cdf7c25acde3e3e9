"""An incident and every change it can go through. Each change returns the new incident and its timeline event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from bot.domain.errors import BadInput, WrongState
from bot.domain.people import Person
from bot.domain.timeline import Kind, TimelineEvent

TITLE_LIMIT = 200
TEXT_LIMIT = 3000
NOTICE_LIMIT = 1500  # a button's value can carry it


class Severity(StrEnum):
    SEV1 = "SEV1"
    SEV2 = "SEV2"
    SEV3 = "SEV3"
    SEV4 = "SEV4"


class Status(StrEnum):
    DECLARED = "declared"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"
    CLOSED = "closed"
    DISMISSED = "dismissed"  # a false alarm: no statistics count it

    @property
    def is_open(self) -> bool:
        """True while the outage itself is not resolved."""
        return self not in (Status.RESOLVED, Status.CLOSED, Status.DISMISSED)


class Role(StrEnum):
    COMMANDER = "commander"
    COMMS = "comms"
    OPS = "ops"
    SCRIBE = "scribe"


class Milestone(StrEnum):
    DETECTED = "detected"
    DECLARED = "declared"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"


AFTER_THE_RESPONSE = frozenset({Milestone.MITIGATED, Milestone.RESOLVED})


@dataclass(frozen=True, slots=True)
class Impact:
    """Who was affected. None and empty mean unknown."""

    users: int | None = None
    services: tuple[str, ...] = ()
    revenue: str | None = None
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """The root cause. None and empty mean unknown."""

    primary: str | None = None
    contributing: tuple[str, ...] = ()
    detection: str | None = None
    lessons: tuple[str, ...] = ()


T = TypeVar("T", Impact, Cause)


def merged(now: T, shown: T, given: T) -> T:
    """Return `now` with what a person changed from what was shown to them to what they gave.

    Fields that they left as they were keep what others set meanwhile. Of a list, their additions and removals count.
    """
    changes: dict[str, Any] = {}
    for name in names_of_differences(shown, given):
        before, after, current = getattr(shown, name), getattr(given, name), getattr(now, name)
        if isinstance(after, tuple):
            kept = tuple(item for item in current if item in after or item not in before)
            after = kept + tuple(item for item in after if item not in before and item not in kept)
        changes[name] = after
    return replace(now, **changes)


def names_of_differences(one: T, other: T) -> list[str]:
    """Return the names of the fields in which two differ."""
    return [entry.name for entry in fields(one) if getattr(one, entry.name) != getattr(other, entry.name)]


Changed = tuple["Incident", TimelineEvent]


@dataclass(frozen=True, slots=True)
class Declaration:
    """The data of a new incident. `detected` is the start of its alert, if any; `facts` are added to the event."""

    title: str
    severity: Severity
    by: Person
    at: datetime
    service: str | None = None
    detected: datetime | None = None
    source: str = "slack"
    drill: bool = False
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident's current state. Times are UTC; people are Slack user ids where they have one."""

    id: str
    title: str
    severity: Severity
    declared_by: Person
    service: str | None = None
    status: Status = Status.DECLARED
    drill: bool = False
    source: str = "slack"
    channel: str | None = None
    roles: Mapping[Role, str] = field(default_factory=dict)
    milestones: Mapping[Milestone, datetime] = field(default_factory=dict)
    impact: Impact = Impact()
    cause: Cause = Cause()
    updated_at: datetime | None = None

    @property
    def commander(self) -> str | None:
        return self.roles.get(Role.COMMANDER)

    @property
    def page_key(self) -> str:
        """PagerDuty's dedup key of the incident's page."""
        return self.id

    @classmethod
    def declare(cls, id: str, declaration: Declaration) -> Changed:
        """Return a new incident and its event. Raises BadInput for a title that is empty or too long."""
        title, at, service = " ".join(declaration.title.split()), declaration.at, declaration.service
        if not is_visible(title):
            raise BadInput("title_missing")
        if len(title) > TITLE_LIMIT:
            raise BadInput("title_too_long", limit=TITLE_LIMIT, length=len(title))
        incident = cls(
            id=id,
            title=title,
            severity=declaration.severity,
            declared_by=declaration.by,
            service=service,
            source=declaration.source,
            drill=declaration.drill,
            milestones={Milestone.DETECTED: min(declaration.detected or at, at), Milestone.DECLARED: at},
            impact=Impact(services=(service,) if service else ()),
            updated_at=at,
        )
        facts = {
            "title": title,
            "severity": declaration.severity.value,
            "service": service,
            "source": declaration.source,
            **declaration.facts,
        }
        return incident, TimelineEvent(Kind.DECLARED, at, declaration.by, facts)

    def opened_in(self, channel: str, name: str, *, by: Person, at: datetime) -> Changed:
        return replace(self, channel=channel), TimelineEvent(
            Kind.CHANNEL_OPENED, at, by, {"channel": channel, "name": name}
        )

    def acknowledge(self, *, by: Person, at: datetime) -> Changed:
        """Mark that a responder is on it: the end of the response time. Raises WrongState."""
        if self.status is not Status.DECLARED:
            raise WrongState("already_acknowledged", incident=self.id, status=self.status.value)
        return self._reached(Milestone.ACKNOWLEDGED, Status.ACKNOWLEDGED, Kind.ACKNOWLEDGED, by, at)

    def unacknowledge(self, *, by: Person, at: datetime) -> Changed:
        """Take the acknowledgement back: nobody is on it any more. Raises WrongState."""
        if self.status is not Status.ACKNOWLEDGED:
            raise WrongState("not_acknowledged", incident=self.id, status=self.status.value)
        kept = dict(self.milestones)
        kept.pop(Milestone.ACKNOWLEDGED, None)
        changed = replace(self, status=Status.DECLARED, milestones=kept, updated_at=at)
        return changed, TimelineEvent(Kind.UNACKNOWLEDGED, at, by)

    def mitigate(self, *, by: Person, at: datetime) -> Changed:
        """Mark that users are no longer affected, though the cause may remain. Raises WrongState."""
        if self.status not in (Status.DECLARED, Status.ACKNOWLEDGED):
            raise WrongState("already_mitigated", incident=self.id, status=self.status.value)
        return self._reached(Milestone.MITIGATED, Status.MITIGATED, Kind.MITIGATED, by, at)

    def resolve(self, *, by: Person, at: datetime) -> Changed:
        """End the incident.

        Milestones that were skipped (acknowledged, mitigated) are set to now. Raises WrongState.
        """
        if not self.status.is_open:
            raise WrongState("already_resolved", incident=self.id, status=self.status.value)
        return self._reached(Milestone.RESOLVED, Status.RESOLVED, Kind.RESOLVED, by, at)

    def dismiss(self, reason: str, *, by: Person, at: datetime) -> Changed:
        """End the incident as a false alarm: no milestone is set, and no statistics count it. Raises WrongState."""
        if not self.status.is_open:
            raise WrongState("already_resolved", incident=self.id, status=self.status.value)
        facts = {"reason": text(reason, "dismiss_reason_missing"), "from": self.status.value}
        return replace(self, status=Status.DISMISSED, updated_at=at), TimelineEvent(Kind.DISMISSED, at, by, facts)

    def reopen(self, reason: str, *, by: Person, at: datetime) -> Changed:
        """Reopen a resolved incident: its later milestones are cleared; the timeline keeps when they were.

        Raises WrongState.
        """
        if self.status.is_open:
            raise WrongState("not_resolved", incident=self.id, status=self.status.value)
        reason = text(reason, "reason_missing")
        kept = {m: t for m, t in self.milestones.items() if m not in AFTER_THE_RESPONSE}
        reopened = replace(self, status=Status.ACKNOWLEDGED, milestones=kept, updated_at=at)
        return reopened, TimelineEvent(Kind.REOPENED, at, by, {"reason": reason, "from": self.status.value})

    def close(self, *, by: Person, at: datetime) -> Changed:
        """Mark the report as complete; afterwards only reopening changes the incident. Raises WrongState."""
        if self.status is Status.CLOSED:
            raise WrongState("incident_closed", incident=self.id)
        if self.status is Status.DISMISSED:
            raise WrongState("incident_dismissed", incident=self.id)
        if self.status.is_open:
            raise WrongState("not_resolved", incident=self.id, status=self.status.value)
        return replace(self, status=Status.CLOSED), TimelineEvent(Kind.CLOSED, at, by)

    def with_severity(self, severity: Severity, *, by: Person, at: datetime) -> Changed:
        self._require_not_closed()
        if severity is self.severity:
            raise WrongState("same_severity", incident=self.id, severity=severity.value)
        facts = {"before": self.severity.value, "after": severity.value}
        return replace(self, severity=severity), TimelineEvent(Kind.SEVERITY_CHANGED, at, by, facts)

    def assign(self, role: Role, to: str, *, by: Person, at: datetime) -> Changed:
        """Give `role` to the Slack user id `to`. Raises WrongState if they have it already."""
        self._require_not_closed()
        if self.roles.get(role) == to:
            raise WrongState("same_role", incident=self.id, role=role.value, person=to)
        facts = {"role": role.value, "before": self.roles.get(role), "after": to}
        return replace(self, roles={**self.roles, role: to}), TimelineEvent(Kind.ROLE_ASSIGNED, at, by, facts)

    def update(self, words: str, *, by: Person, at: datetime) -> Changed:
        """Post a status update; restarts the clock of the next update that is due."""
        self._require_not_closed()
        event = TimelineEvent(Kind.UPDATE, at, by, {"text": text(words, "text_missing")})
        return replace(self, updated_at=at), event

    def tell_stakeholders(
        self, words: str, channel: str, news_at: datetime | None, *, by: Person, at: datetime
    ) -> Changed:
        """Publish a notice that promises news at `news_at`; once the incident is over, it is the last one."""
        ends = not self.status.is_open
        facts = {
            "text": text(words, "text_missing", NOTICE_LIMIT),
            "channel": channel,
            "ends": ends,
            "next": news_at.isoformat() if news_at and not ends else None,
        }
        return self, TimelineEvent(Kind.STAKEHOLDERS_TOLD, at, by, facts)

    def note(self, words: str, *, by: Person, at: datetime) -> Changed:
        self._require_not_closed()
        return self, TimelineEvent(Kind.NOTE, at, by, {"text": text(words, "text_missing")})

    def add_message(self, words: str, link: str | None, author: str, *, by: Person, at: datetime) -> Changed:
        """Put a Slack message of the channel on the timeline."""
        self._require_not_closed()
        facts = {"text": text(shorten(words), "message_empty"), "link": link, "author": author}
        return self, TimelineEvent(Kind.MESSAGE_ADDED, at, by, facts)

    def with_impact(self, impact: Impact, *, by: Person, at: datetime) -> Changed:
        self._require_not_closed()
        facts = {
            "users": impact.users,
            "services": list(impact.services),
            "revenue": impact.revenue,
            "summary": impact.summary,
        }
        return replace(self, impact=impact), TimelineEvent(Kind.IMPACT_SET, at, by, facts)

    def with_cause(self, cause: Cause, *, by: Person, at: datetime) -> Changed:
        self._require_not_closed()
        facts = {
            "primary": cause.primary,
            "contributing": list(cause.contributing),
            "detection": cause.detection,
            "lessons": list(cause.lessons),
        }
        return replace(self, cause=cause), TimelineEvent(Kind.CAUSE_SET, at, by, facts)

    def with_event(self, kind: Kind, facts: Mapping[str, object], *, by: Person, at: datetime) -> Changed:
        """Return the incident unchanged, with an event for its timeline."""
        return self, TimelineEvent(kind, at, by, facts)

    def _reached(self, milestone: Milestone, status: Status, kind: Kind, by: Person, at: datetime) -> Changed:
        order = list(Milestone)
        passed = order[: order.index(milestone) + 1]
        milestones = {m: self.milestones.get(m, at) for m in passed} | {milestone: at}
        changed = replace(self, status=status, milestones=milestones, updated_at=at)
        return changed, TimelineEvent(kind, at, by)

    def _require_not_closed(self) -> None:
        if self.status is Status.CLOSED:
            raise WrongState("incident_closed", incident=self.id)


def with_source(source: str, changed: Changed) -> Changed:
    """Return the same change with the `source` it came from (other than Slack) in its event."""
    incident, event = changed
    return incident, replace(event, facts={**event.facts, "source": source})


def shorten(words: str, limit: int = TEXT_LIMIT) -> str:
    """Return what somebody else's program wrote, cut to `limit` characters: nobody is there to shorten it."""
    words = words.strip()
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def headline(*texts: str, limit: int = TITLE_LIMIT) -> str:
    """Return a title: the first of the texts that has something to read, in one line, cut to `limit` characters."""
    return next((shorten(" ".join(text.split()), limit) for text in texts if is_visible(text)), "?")


def is_visible(text: str) -> bool:
    """Return True if there is something to see in a text: spaces and zero-width characters are nothing."""
    return any(char.isprintable() and not char.isspace() for char in text)


def text(words: str, missing: str, limit: int = TEXT_LIMIT) -> str:
    """Return `words` stripped.

    Raises BadInput: `missing` if there is nothing to see, `text_too_long` beyond `limit` characters.
    """
    words = words.strip()
    if not is_visible(words):
        raise BadInput(missing)
    if len(words) > limit:
        raise BadInput("text_too_long", limit=limit, length=len(words))
    return words


def normalize_incident_id(typed: str) -> str:
    """Return an incident's id as people type it: in any case, without leading zeros (`inc-2026-1`)."""
    prefix, _, number = (id := typed.strip().upper()).rpartition("-")
    return f"{prefix}-{number:0>4}" if prefix and number.isdecimal() else id
