"""What the integrations share: deadlines for libraries that block, and patience with remotes that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    stop_never,
    wait_random_exponential,
)

from bot.domain.errors import Unavailable
from bot.tasks import yield_to_requests

T = TypeVar("T")

MAX_BACKOFF_SECONDS = 30.0
_backoff = wait_random_exponential(multiplier=0.2, max=MAX_BACKOFF_SECONDS)

# A thread that hangs past its deadline is left behind until its socket times out; the pool is wide enough for that.
_threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="blocking-client")


async def in_thread(call: Callable[..., T], *args: object, deadline: float, service: str, **kwargs: object) -> T:
    """The result of a call that blocks, made in a thread. Unavailable when it takes over `deadline` seconds."""
    running = asyncio.get_running_loop().run_in_executor(_threads, lambda: call(*args, **kwargs))
    try:
        async with asyncio.timeout(deadline):  # not wait_for: that of Python 3.11 may miss being cancelled
            return await running
    except TimeoutError as slow:
        raise Unavailable("timed_out", service=service, seconds=deadline, uncertain=True) from slow


async def retry(
    call: Callable[[], Awaitable[T]],
    give_up_after: timedelta | None = None,
    *,
    on_retry: Callable[[Unavailable], Awaitable[None]] | None = None,
) -> T:
    """The result of `call`, tried again while it raises Unavailable, for `patience` (None: for ever).

    It gives up as soon as the next attempt would come later than that.

    Waits with exponential backoff and jitter, or as long as the remote asked for. `waiting` is told before each wait.
    """

    async def attempt() -> T:  # a coroutine function, by which tenacity knows that it must await
        await yield_to_requests()
        return await call()

    async def about_to_wait(state: RetryCallState) -> None:
        problem = state.outcome and state.outcome.exception()
        if on_retry and isinstance(problem, Unavailable):
            await on_retry(problem)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Unavailable),
        stop=stop_never if give_up_after is None else stop_before_delay(give_up_after),
        wait=_wait,
        before_sleep=about_to_wait,
        reraise=True,
    )
    return await retrying(attempt)


def _wait(state: RetryCallState) -> float:
    problem = state.outcome and state.outcome.exception()
    requested = problem.retry_after if isinstance(problem, Unavailable) else None
    return _backoff(state) if requested is None else min(requested, 120.0)
