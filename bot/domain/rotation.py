"""Rotation of secrets: which are due, and which is next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rotation:
    """The rotation of one secret in one environment; `written_at` is None if unknown."""

    secret: str
    environment: str
    every: timedelta
    written_at: datetime | None

    @property
    def due_at(self) -> datetime | None:
        return self.written_at + self.every if self.written_at else None


@dataclass(frozen=True, slots=True)
class Rotations:
    """Secrets that are `due`, the longest overdue first; the `next` one; and those of `unknown` age."""

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
            [rotation for rotation in planned if rotation.due_at is None],
        )
