"""The clock of the sandbox's world, which can run faster than the wall clock."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from sandbox.deadline import cpu_share

POLL_SECONDS = 0.2  # real seconds; a sleeper checks the clock this often, since its speed may change


class Clock:
    """World time, driven by the machine's monotonic clock, so that a step of the wall clock does not move it.

    `start` is the world time at construction (now, when not given; ValueError when it has no time zone),
    `speed` the world seconds that pass in one real second (above zero, or ValueError).
    """

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError("the clock's start needs a time zone")
        self._world = (start or datetime.now(UTC)).astimezone(UTC)
        self._real = time.monotonic()
        self._speed = _check_speed(speed)

    def now(self) -> datetime:
        """The world time, in UTC."""
        return self._world + timedelta(seconds=(time.monotonic() - self._real) * self._speed)

    @property
    def speed(self) -> float:
        """World seconds in one real second; may be set while the clock runs, and now() does not jump."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        _check_speed(speed)
        real = time.monotonic()
        self._world += timedelta(seconds=(real - self._real) * self._speed)
        self._real = real
        self._speed = speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of world time, also when the speed changes meanwhile."""
        until = self.now() + timedelta(seconds=seconds)
        await asyncio.sleep(0)
        while (left := (until - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - time has no event
            await asyncio.sleep(min(left / self._speed, POLL_SECONDS))


LONGEST_GAP_SECONDS = 0.25  # between two readings; sleepers read the clock more often than that
LOAD_SAMPLE_SECONDS = 0.1


class LoadAwareClock(Clock):
    """A clock that, while it is fast, slows down with the machine: what takes a program a second is one second of it.

    On a busy machine a fast world would otherwise run away from the programs in it: a pause of one second is a quarter
    of an hour at speed 900, in which approvals expire and deployments time out.
    """

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        super().__init__(start, speed)
        self._read_at = self._sampled_at = time.monotonic()
        self._share = 1.0

    def now(self) -> datetime:
        real = time.monotonic()
        elapsed, self._read_at = real - self._read_at, real
        if self._speed > 1:
            if real - self._sampled_at > LOAD_SAMPLE_SECONDS:
                self._sampled_at, self._share = real, cpu_share()
            self._real += elapsed - min(elapsed, LONGEST_GAP_SECONDS) * self._share
        return super().now()


def _check_speed(speed: float) -> float:
    if speed <= 0:
        raise ValueError("the clock's speed must be above zero")
    return speed
