"""Who is on call, and events of PagerDuty."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.domain.errors import BotError


@dataclass(frozen=True, slots=True)
class OnCall:
    """A person on call at an escalation level (1 is paged first), until a time (None: permanently)."""

    level: int
    name: str
    email: str | None = None
    phone: str | None = None
    user_id: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rota:
    """Who is on call for one team, as of a time; or the `problem` that hides it, and the `contact` to call instead."""

    team: str
    people: tuple[OnCall, ...]
    as_of: datetime | None
    problem: BotError | None = None
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class PagerDutyAgent:
    """Who did something in PagerDuty: a user, or an integration or service, by `type`."""

    id: str
    type: str
    name: str | None

    @property
    def is_person(self) -> bool:
        """False for the bot's own calls: their agent is an integration or a service."""
        return self.type.startswith("user")


@dataclass(frozen=True, slots=True)
class MergedInto:
    """The PagerDuty incident into which another one was merged: the other one is then resolved."""

    id: str
    title: str
    url: str | None


@dataclass(frozen=True, slots=True)
class PageEvent:
    """An event of a PagerDuty incident; `kind` is triggered, acknowledged, resolved and so on.

    `agent` is None where PagerDuty did it by itself, such as an escalation after a time without an answer.
    """

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
    merged_into: MergedInto | None = None
