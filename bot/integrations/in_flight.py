"""Writes that must not be repeated before the end of the first attempt is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bot.domain.errors import BotError, Refused, Unavailable
from bot.tasks import cancel_and_wait

MAX_SECONDS = 60.0  # then an attempt is cut off, and its outcome unknown
MIN_SETTLE_SECONDS = 1.0
MAX_SETTLE_SECONDS = 15.0
CLOCK_RESOLUTION = 0.01

T = TypeVar("T")


class InFlight:
    """Attempts by key. An attempt may outlive its caller's wait: the next one gets its result.

    If the response is lost, the remote service may still be busy with the request. It gets as long again as it has had
    so far, within limits; until then another attempt raises Unavailable. A connection that hangs for ever therefore
    delays a message by MAX_SECONDS and MAX_SETTLE_SECONDS.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._settles_at: dict[str, float] = {}
        self._refused: set[str] = set()

    async def run(self, key: str, send: Callable[[], Awaitable[T]], *, wait_seconds: float) -> T:
        """Return the result of the attempt that is under way for `key`, or of a new one.

        Raises TimeoutError after `wait_seconds` seconds, and what the attempt raises.
        """
        task = self._tasks.get(key)
        if task is None:
            self._wait_until_settled(key)
            task = self._tasks[key] = asyncio.create_task(self._attempt(key, send), name=f"in flight {key}")
        async with asyncio.timeout(wait_seconds):
            try:
                result: T = await asyncio.shield(task)
            finally:
                if task.done():
                    self._tasks.pop(key, None)
        return result

    def is_under_way(self, key: str) -> bool:
        return key in self._tasks

    def was_refused(self, key: str) -> bool:
        """Return True if the last attempt certainly had no effect: there is nothing to look for."""
        return key in self._refused

    def forget(self, key: str) -> None:
        """End the attempt, because its effect was found."""
        self._settles_at.pop(key, None)
        if task := self._tasks.pop(key, None):
            task.cancel()
            task.add_done_callback(_retrieve)

    async def close(self) -> None:
        await cancel_and_wait(list(self._tasks.values()))
        self._tasks.clear()

    def _wait_until_settled(self, key: str) -> None:
        remaining = self._settles_at.get(key, 0.0) - time.monotonic()
        if remaining > 0:
            raise Unavailable("slow_response", retry_after=remaining + CLOCK_RESOLUTION, uncertain=True)
        self._settles_at.pop(key, None)

    async def _attempt(self, key: str, send: Callable[[], Awaitable[T]]) -> T:
        started = time.monotonic()
        try:
            self._refused.discard(key)
            async with asyncio.timeout(MAX_SECONDS):
                return await send()
        except (Unavailable, Refused, TimeoutError) as problem:
            if isinstance(problem, BotError) and not getattr(problem, "uncertain", False):
                self._refused.add(key)
            else:
                taken = time.monotonic() - started
                settle = min(max(taken, MIN_SETTLE_SECONDS), MAX_SETTLE_SECONDS)
                self._settles_at[key] = time.monotonic() + settle
            raise


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
