"""The time as an argument: the wall clock in production, a faster clock in the sandbox."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Source of the time for everything that the bot records, measures and waits for."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of this clock."""
        ...

    @property
    def speed(self) -> float:
        """Seconds of this clock that pass in one second of the wall clock."""
        ...


class WallClock:
    speed = 1.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
