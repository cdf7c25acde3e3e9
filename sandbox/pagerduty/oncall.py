"""Who is on call: people of one level take turns, counted on the clock from a fixed Monday."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.company import EscalationPolicy

FIRST_SHIFT = datetime(2024, 1, 1, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Shift:
    """`handle` is on call for `level` of the policy. No start and end: always, because nobody takes turns."""

    policy: EscalationPolicy
    level: int
    handle: str
    start: datetime | None
    end: datetime | None


def shifts(policy: EscalationPolicy, since: datetime, until: datetime) -> Iterator[Shift]:
    """Every shift that touches [since, until], by level and then by time."""
    length = timedelta(hours=policy.rotation_hours)
    for level, handles in enumerate(policy.levels, start=1):
        if len(handles) == 1:
            yield Shift(policy, level, handles[0], None, None)
            continue
        turn = (since - FIRST_SHIFT) // length
        while True:
            start = FIRST_SHIFT + turn * length
            yield Shift(policy, level, handles[turn % len(handles)], start, start + length)
            turn += 1
            if start + length > until:
                break


def on_call(policy: EscalationPolicy, level: int, at: datetime) -> str:
    """The handle of who is on call for the level (the first is 1). KeyError if the policy has no such level."""
    for shift in shifts(policy, at, at):
        if shift.level == level:
            return shift.handle
    raise KeyError(level)
