"""Messages that are drawn from what is true in the store: one drawing of each at a time, the newest state last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from weakref import WeakValueDictionary

from bot.domain.errors import BotError
from bot.integrations.base import retry
from bot.tasks import cancel_and_wait

log = logging.getLogger(__name__)

Refresh = Callable[[], Awaitable[object]]

REFRESH_TIMEOUT = timedelta(seconds=5)
# Seconds between two drawings of a message that nobody waits for. Slack takes some fifty edits a minute, and nobody
# reads faster. https://docs.slack.dev/apis/web-api/rate-limits
MIN_REFRESH_INTERVAL_SECONDS = 1.0


class MessageRefresher:
    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._wanted: dict[str, Refresh] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def lock(self, key: str) -> asyncio.Lock:
        """The lock of one message, held from reading its state to drawing it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def schedule(self, key: str, draw: Refresh) -> None:
        """Draw a message while nobody waits for it; `draw` is called with its lock held.

        However much changes before it is its turn, it is drawn once. What a remote does not take for a few seconds is
        left to the next drawing: the last one of a message must not be made by this.
        """
        self._wanted[key] = draw
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._refresh(key), name=f"drawing {key}")

    async def stop(self) -> None:
        """Nothing is drawn any more."""
        await cancel_and_wait(list(self._tasks.values()))
        self._tasks.clear()

    async def _refresh(self, key: str) -> None:
        while key in self._wanted:
            async with self.lock(key):
                draw = self._wanted.pop(key)  # what changes from now on needs a drawing of its own
                try:
                    await retry(draw, REFRESH_TIMEOUT)
                except BotError as problem:
                    log.warning("%s is not drawn: %s", key, problem)
                except Exception:
                    log.exception("%s is not drawn", key)
            await asyncio.sleep(MIN_REFRESH_INTERVAL_SECONDS)
        del self._tasks[key]
