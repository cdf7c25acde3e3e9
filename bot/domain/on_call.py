"""Who is on call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.domain.errors import BotError


@dataclass(frozen=True, slots=True)
class OnCall:
    """Somebody who is on call at an escalation level (1 is asked first), and until when (None: always)."""

    level: int
    name: str
    email: str | None = None
    phone: str | None = None
    user_id: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rota:
    """Who is on call for one team, as it was known `as_of`; or why that is not known, and whom to ask instead."""

    team: str
    people: tuple[OnCall, ...]
    as_of: datetime | None
    problem: BotError | None = None
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class PagerDutyAgent:
    """Who did something in PagerDuty: a user, or an integration or service (by `type`)."""

    id: str
    type: str
    name: str | None

    @property
    def is_person(self) -> bool:
        """Our own calls come back with an integration or a service as their agent."""
        return self.type.startswith("user")


@dataclass(frozen=True, slots=True)
class PageEvent:
    """What happened to an incident of PagerDuty; `kind` is triggered, acknowledged, resolved and so on."""

    id: str
    kind: str
    incident_id: str
    title: str
    note: str
    urgency: str | None
    dedup_key: str | None
    url: str | None
    assignees: tuple[str, ...]
    agent: PagerDutyAgent | None
