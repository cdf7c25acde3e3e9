"""Cancel background tasks, and let requests go before background work (docs/adr/0014-turns.md)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

CANCEL_RETRY_SECONDS = 5.0  # time for a task to clean up after it is cancelled
CANCEL_ATTEMPTS = 3
PAUSE_SECONDS = 0.005  # between two turns of background work while a request is unanswered
HEAD_START_SECONDS = 1.0  # so long a request that is slow to arrive, or to be answered, holds up background work


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


@contextmanager
def answering(head_start: float = HEAD_START_SECONDS) -> Iterator[None]:
    """Answer a request in this block: background work makes way for it, for `head_start` seconds at most."""
    turns = _turns()
    request = turns.begin(head_start)
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)
        turns.end(request)


async def yield_to_requests() -> None:
    """Wait for a turn, first come, first served: one waiter continues in each iteration of the event loop.

    For background work. If everything that an alert storm starts continued in the same iteration, it would take 0.2 s,
    and an acknowledgement needs several iterations. While a request is unanswered, the next waiter continues after
    PAUSE_SECONDS only. Returns at once in the task that answers a request, before `continue_in_background`.
    """
    request = _request.get()
    if request is None or request.answered:
        await _turns().next()


async def continue_in_background() -> None:
    """Let the response to this task's request be sent; what the task does from here on is background work."""
    if request := _request.get():
        request.answered = True
    await yield_to_requests()


@dataclass(eq=False, slots=True)
class _Request:
    """Shared with the tasks that are started while it is answered."""

    answered: bool = False
    head_start: asyncio.TimerHandle | None = None


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


class _Turns:
    """Who waits in one event loop, and for which requests."""

    def __init__(self) -> None:
        self._requests: set[_Request] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.Handle | None = None
        self._paused = False

    def begin(self, head_start: float) -> _Request:
        request = _Request()
        request.head_start = asyncio.get_running_loop().call_later(head_start, self._make_way_no_longer, request)
        self._requests.add(request)
        return request

    def end(self, request: _Request) -> None:
        request.answered = True
        if request.head_start:
            request.head_start.cancel()
        self._make_way_no_longer(request)

    async def next(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._schedule()
        await turn

    def _make_way_no_longer(self, request: _Request) -> None:
        self._requests.discard(request)
        if self._paused and not self._requests and self._next:
            self._next.cancel()
            self._next = None
        self._schedule()

    def _schedule(self) -> None:
        if self._next or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        self._paused = bool(self._requests)
        if self._paused:
            self._next = loop.call_later(PAUSE_SECONDS, self._release_next)
        else:
            self._next = loop.call_soon(self._release_next)

    def _release_next(self) -> None:
        self._next = None
        while self._waiting:
            if not (first := self._waiting.popleft()).done():  # else it was cancelled
                first.set_result(None)
                break
        self._schedule()


def _turns() -> _Turns:
    return _by_loop.setdefault(asyncio.get_running_loop(), _Turns())


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()
