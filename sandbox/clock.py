"""The clock of the sandbox's world, which can run faster than the wall clock."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

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


def _check_speed(speed: float) -> float:
    if speed <= 0:
        raise ValueError("the clock's speed must be above zero")
    return speed
