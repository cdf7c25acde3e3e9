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
