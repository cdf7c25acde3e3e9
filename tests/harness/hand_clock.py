"""A world clock that stands still until the test moves it."""

import asyncio
from datetime import UTC, datetime, timedelta

from sandbox.clock import Clock

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class HandClock(Clock):
    """Starts at `start`; `forward` moves it, and whoever sleeps wakes when it has come that far.

    `sleeping` is how many sleep now.
    """

    def __init__(self, start: datetime = NOON) -> None:
        super().__init__(start)
        self._now = start
        self.sleeping = 0

    def now(self) -> datetime:
        return self._now

    def forward(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        until = self._now + timedelta(seconds=seconds)
        await asyncio.sleep(0)
        self.sleeping += 1
        try:
            while self._now < until:  # noqa: ASYNC110 - the test moves the clock from outside the loop's events
                await asyncio.sleep(0.002)
        finally:
            self.sleeping -= 1
