"""Cancel background tasks, and let requests go before background work."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

CANCEL_RETRY_SECONDS = 5.0  # time for a task to clean up after it is cancelled
CANCEL_ATTEMPTS = 3


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]], *, again: float = CANCEL_RETRY_SECONDS) -> None:
    """Cancel the tasks and wait for them, including tasks added to the collection meanwhile.

    A task may miss the cancellation (asyncio.wait_for of Python 3.11 can swallow it), so it is cancelled again after
    `again` seconds. A task that still runs after CANCEL_ATTEMPTS is left behind and logged.
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
            log.error("task %s could not be cancelled", task.get_name())


async def yield_to_requests() -> None:
    """Wait for a turn, first come, first served: one waiter continues in each iteration of the event loop.

    For background work. If everything that an alert storm starts continued in the same iteration, it would take 0.2 s,
    and an acknowledgement needs several iterations.
    """
    loop = asyncio.get_running_loop()
    await _queues.setdefault(loop, _FairQueue()).next(loop)


class _FairQueue:
    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._release_next, loop)
        await turn

    def _release_next(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            if not (first := self._waiting.popleft()).done():  # else it was cancelled
                first.set_result(None)
                break
        if self._waiting:
            loop.call_soon(self._release_next, loop)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _FairQueue] = WeakKeyDictionary()
