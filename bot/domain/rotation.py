"""Secrets are made anew from time to time: which are due, and which is the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rotation:
    """One secret in one environment; `written_at` is None as long as nobody can say."""

    secret: str
    environment: str
    every: timedelta
    written_at: datetime | None

    @property
    def due_at(self) -> datetime | None:
        return self.written_at + self.every if self.written_at else None


@dataclass(frozen=True, slots=True)
class Rotations:
    """Those that are `due`, the longest first; `next` is the first of the others; of `unknown` nobody can say."""

    due: Sequence[Rotation]
    next: Rotation | None
    unknown: Sequence[Rotation]

    @classmethod
    def at(cls, now: datetime, planned: Iterable[Rotation]) -> Rotations:
        planned = list(planned)
        dated = sorted(
            ((rotation.due_at, rotation) for rotation in planned if rotation.due_at), key=lambda pair: pair[0]
        )
        later = (rotation for at, rotation in dated if at > now)
        return cls(
            [rotation for at, rotation in dated if at <= now],
            next(later, None),
            [one for one in planned if one.due_at is None],
        )
