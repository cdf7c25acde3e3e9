"""Turns: what belongs together is sent in order, although each part is tried again by itself."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Turns:
    """Turns by group and number. A turn comes when no lower number of its group is held in this process."""

    def __init__(self) -> None:
        self._held: dict[str, set[int]] = {}
        self._changed: dict[str, asyncio.Event] = {}

    def take(self, group: str, number: int) -> Turn:
        """Hold a turn, from the call on."""
        self._held.setdefault(group, set()).add(number)
        return Turn(self, group, number)

    async def wait(self, group: str, number: int) -> None:
        while any(other < number for other in self._held.get(group, ())):
            await self._changed.setdefault(group, asyncio.Event()).wait()

    def release(self, group: str, number: int) -> None:
        held = self._held.get(group, set())
        held.discard(number)
        if changed := self._changed.pop(group, None):
            changed.set()
        if not held:
            self._held.pop(group, None)


class Turn:
    """One turn, held inside `with`."""

    def __init__(self, turns: Turns, group: str, number: int) -> None:
        self._turns, self._group, self._number = turns, group, number

    async def come(self) -> None:
        """Wait for it."""
        await self._turns.wait(self._group, self._number)

    def release(self) -> None:
        self._turns.release(self._group, self._number)

    def __enter__(self) -> Turn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
