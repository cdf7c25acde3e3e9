"""Refresh messages in the background: one update of a message at a time, the newest state last."""

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
# Between two background updates of one message: Slack accepts about fifty edits a minute.
# https://docs.slack.dev/apis/web-api/rate-limits
MIN_REFRESH_INTERVAL_SECONDS = 1.0


class MessageRefresher:
    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pending: dict[str, Refresh] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock of one message. Hold it from reading its state until sending it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def schedule(self, key: str, refresh: Refresh) -> None:
        """Update a message in the background; `refresh` is called while its lock is held.

        Several requests before its turn cause one update. An update that Slack refuses for REFRESH_TIMEOUT is dropped,
        so the final update of a message must not rely on this method.
        """
        self._pending[key] = refresh
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._refresh(key), name=f"refresh {key}")

    async def stop(self) -> None:
        """Stop refreshing messages and cancel pending updates."""
        await cancel_and_wait(list(self._tasks.values()))
        self._tasks.clear()

    async def _refresh(self, key: str) -> None:
        while key in self._pending:
            async with self.lock(key):
                refresh = self._pending.pop(key)  # a change from now on needs another update
                try:
                    await retry(refresh, REFRESH_TIMEOUT)
                except BotError as problem:
                    log.warning("message %s was not updated: %s", key, problem)
                except Exception:
                    log.exception("message %s was not updated", key)
            await asyncio.sleep(MIN_REFRESH_INTERVAL_SECONDS)
        del self._tasks[key]
