"""Silences: alerts that nobody wants to hear of for a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import uuid4

from sandbox.alertmanager.alerts import Labels
from sandbox.alertmanager.matchers import Matcher, fit

State = Literal["pending", "active", "expired"]


@dataclass(frozen=True)
class Silence:
    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    updated_at: datetime

    def state(self, now: datetime) -> State:
        if now < self.starts_at:
            return "pending"
        return "active" if now < self.ends_at else "expired"


class Silences:
    """All silences, by id; an expired one stays to be looked at."""

    def __init__(self) -> None:
        self._by_id: dict[str, Silence] = {}

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._by_id.values())

    def get(self, silence_id: str) -> Silence | None:
        return self._by_id.get(silence_id)

    def put(
        self,
        matchers: Sequence[Matcher],
        starts_at: datetime,
        ends_at: datetime,
        created_by: str,
        comment: str,
        now: datetime,
        silence_id: str | None = None,
    ) -> Silence:
        """Make a silence, or change the one of this id (KeyError); ValueError for times that make no sense.

        A silence with other matchers, or one that has expired, is not changed but followed by a new one.
        """
        if ends_at <= starts_at:
            raise ValueError("start time must be before end time")
        if ends_at <= now:
            raise ValueError("end time can't be in the past")
        if all(matcher.fits({}) for matcher in matchers):
            raise ValueError("at least one matcher must not match the empty string")
        old = None if silence_id is None else self._by_id[silence_id]
        made = Silence(str(uuid4()), tuple(matchers), max(starts_at, now), ends_at, created_by, comment, now)
        if old is not None and old.state(now) != "expired":
            if old.matchers == made.matchers:
                made = replace(made, id=old.id, starts_at=old.starts_at)
            else:
                self.expire(old.id, now)
        self._by_id[made.id] = made
        return made

    def expire(self, silence_id: str, now: datetime) -> None:
        """End a silence now. KeyError when there is none; ValueError when it has ended already."""
        silence = self._by_id[silence_id]
        if silence.state(now) == "expired":
            raise ValueError(f"silence {silence_id} already expired")
        starts_at = min(silence.starts_at, now)
        self._by_id[silence_id] = replace(silence, starts_at=starts_at, ends_at=now, updated_at=now)

    def silencing(self, labels: Labels, now: datetime) -> list[str]:
        """The ids of the silences that are in force for these labels."""
        return [
            silence.id
            for silence in self._by_id.values()
            if silence.state(now) == "active" and fit(silence.matchers, labels)
        ]
