"""Messages that Slack does not take at the moment: for the metrics, and for the line that says they came late."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

LATE_AFTER_SECONDS = 60.0
ABANDONED_SECONDS = 300.0  # longer than any pause between two attempts


@dataclass(frozen=True, slots=True)
class Delay:
    """Messages of one place that came late: how many, for how long the first one waited, and Slack's last error."""

    count: int
    seconds: float
    error: str


@dataclass(slots=True)
class _Waiting:
    place: str
    since: float
    seen: float
    error: str


class WaitingMessages:
    """Messages by key, from the first refusal until they are sent. Each belongs to a place, such as an incident."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: dict[str, _Waiting] = {}
        self._late: dict[str, Delay] = {}
        self._closed_since: dict[str, float] = {}

    def refused(self, key: str, place: str, error: str) -> None:
        now = self._now()
        waiting = self._waiting.setdefault(key, _Waiting(place, now, now, error))
        waiting.seen, waiting.error = now, error

    def sent(self, key: str) -> Delay | None:
        """Return the place's delay if this was the last message that it waited for, and some came late."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return None
        seconds, late = self._now() - waiting.since, self._late.get(waiting.place)
        if seconds >= LATE_AFTER_SECONDS:
            count, longest = (late.count, late.seconds) if late else (0, 0.0)
            late = self._late[waiting.place] = Delay(count + 1, max(seconds, longest), waiting.error)
        if late is None or any(other.place == waiting.place for other in self._waiting.values()):
            return None
        return self._late.pop(waiting.place)

    def given_up(self, key: str) -> None:
        self._waiting.pop(key, None)

    def is_waiting(self, key: str) -> bool:
        return key in self._waiting

    @property
    def count(self) -> int:
        self._prune()
        return len(self._waiting)

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest message has been waiting; 0 if none waits."""
        self._prune()
        return max((self._now() - waiting.since for waiting in self._waiting.values()), default=0.0)

    def _prune(self) -> None:
        """Forget messages that nobody tries to send any more, such as a private answer."""
        stale = [key for key, waiting in self._waiting.items() if self._now() - waiting.seen > ABANDONED_SECONDS]
        for key in stale:
            del self._waiting[key]

    def channel_refused(self, channel: str) -> float:
        """Record that a channel refuses messages. Returns for how many seconds it has done so."""
        return self._now() - self._closed_since.setdefault(channel, self._now())

    def channel_accepted(self, channel: str) -> None:
        self._closed_since.pop(channel, None)
