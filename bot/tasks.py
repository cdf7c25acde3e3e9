"""How what runs in the background takes turns, and how it is ended."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

CANCEL_RETRY_SECONDS = 5.0  # seconds, in which what runs can end in order
CANCEL_ATTEMPTS = 3


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]], *, again: float = CANCEL_RETRY_SECONDS) -> None:
    """Cancel them and wait until they have ended, those too that are added to a set meanwhile.

    One may miss it (a library's asyncio.wait_for on Python 3.11 does, at a bad moment), so it is said again after
    `again` seconds. One that does not end at all is left behind and named in the log.
    """
    for _ in range(CANCEL_ATTEMPTS):
        alive = {task for task in tasks if not task.done()}
        if not alive:
            return
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=again)
    for task in tasks:
        if not task.done():
            log.error("%s does not end", task.get_name())


async def yield_to_requests() -> None:
    """Wait for a turn, first come, first served: one of them goes on in each round of the event loop.

    For what nobody waits for at this very moment. When all that a storm has brought goes on in one round, the round
    takes a fifth of a second, and an acknowledgement needs several rounds.
    """
    loop = asyncio.get_running_loop()
    await _queues.setdefault(loop, _FairQueue()).next(loop)


class _FairQueue:
    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next(self, loop: asyncio.AbstractEventLoop) -> None:
        mine = loop.create_future()
        self._waiting.append(mine)
        if len(self._waiting) == 1:
            loop.call_soon(self._give, loop)
        await mine

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            if not (first := self._waiting.popleft()).done():  # else it was cancelled
                first.set_result(None)
                break
        if self._waiting:
            loop.call_soon(self._give, loop)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _FairQueue] = WeakKeyDictionary()
