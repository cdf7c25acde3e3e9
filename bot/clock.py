"""What time it is, as an argument. The wall clock in production; the sandbox brings one that runs faster."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time for everything that the bot says, measures and waits for."""

    def now(self) -> datetime:
        """The moment, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds of this clock."""
        ...

    @property
    def speed(self) -> float:
        """How many of its seconds pass in one second of the wall clock."""
        ...


class WallClock:
    speed = 1.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
