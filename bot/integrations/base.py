"""What all integrations share: error translation, retries, threads for blocking clients, an HTTP session."""

from __future__ import annotations

import asyncio
import contextvars
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import aiohttp
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    stop_never,
    wait_random_exponential,
)

from bot.domain.errors import Refused, Unavailable
from bot.integrations.certificates import tls_context
from bot.tasks import yield_to_requests

REASON_LIMIT = 300

T = TypeVar("T")
MAX_BACKOFF_SECONDS = 30.0
_backoff = wait_random_exponential(multiplier=0.2, max=MAX_BACKOFF_SECONDS)
# A thread past its deadline is abandoned until its socket times out, so the pool is larger than the usual load.
_threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="blocking-client")


def connection_error(service: str, what: str, problem: BaseException, *, seconds: float, writes: bool) -> Unavailable:
    """Return the error for a failed connection. A write is `uncertain` unless the request was never sent."""
    causes = list(_causes(problem))
    never_sent = any(isinstance(cause, ConnectionRefusedError | socket.gaierror) for cause in causes)
    uncertain = {"uncertain": True} if writes and not never_sent else {}
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Unavailable("timed_out", service=service, what=what, seconds=seconds, **uncertain)
    reasons = (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror)
    return Unavailable(
        "unreachable", service=service, what=what, why=next(reasons, type(problem).__name__), **uncertain
    )


def invalid_response(service: str, what: str, *, writes: bool) -> Unavailable:
    """Return the error for a response that cannot be parsed: a proxy's page, truncated JSON, a missing field."""
    uncertain = {"uncertain": True} if writes else {}
    return Unavailable("nonsense", service=service, what=what, **uncertain)


def http_error(
    service: str, what: str, status: int, why: str, *, retry_after: float | None = None, writes: bool
) -> Unavailable | Refused:
    """Return the error for an HTTP status of 400 or more; `why` is the remote service's own message."""
    if status == 429 or retry_after is not None:
        wait = 30.0 if retry_after is None else retry_after
        return Unavailable("rate_limited", service=service, what=what, status=status, retry_after=wait)
    reason = why[:REASON_LIMIT]
    if status >= 500 or status == 408:
        uncertain = {"uncertain": True} if writes else {}
        return Unavailable("unreachable", service=service, what=what, status=status, why=f"HTTP {status}", **uncertain)
    return Refused("refused", service=service, what=what, status=status, why=reason or f"HTTP {status}")


def parse_retry_after(headers: Mapping[str, str], *names: str) -> float | None:
    """Return the value of the first of these headers that is a number of seconds."""
    lower = {name.lower(): value for name, value in headers.items()}
    for name in names:
        if re.fullmatch(r"\d+(\.\d+)?", value := lower.get(name.lower(), "").strip()):
            return float(value)
    return None


def _causes(problem: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = problem
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


async def in_thread(call: Callable[..., T], *args: object, deadline: float, service: str, **kwargs: object) -> T:
    """Run a blocking call in a thread and return its result. Raises Unavailable after `deadline` seconds."""
    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(_threads, lambda: context.run(call, *args, **kwargs))
    try:
        async with asyncio.timeout(deadline):  # wait_for of Python 3.11 may swallow a cancellation
            return await running
    except TimeoutError as slow:
        raise Unavailable("timed_out", service=service, seconds=deadline, uncertain=True) from slow


async def retry(
    call: Callable[[], Awaitable[T]],
    give_up_after: timedelta | None = None,
    *,
    on_retry: Callable[[Unavailable], Awaitable[None]] | None = None,
) -> T:
    """Return the result of `call`, retried while it raises Unavailable, for `give_up_after` (None: forever).

    Gives up as soon as the next attempt would start after that time. Waits with exponential backoff and jitter, or as
    long as the remote service asked for. `on_retry` is called before each wait.
    """

    async def attempt() -> T:  # tenacity awaits coroutine functions only
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


class HttpClient:
    """An HTTP session that is open inside `async with`; `options` are those of aiohttp.ClientSession."""

    service: ClassVar[str]

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=tls_context())
        # trust_env: proxies by HTTPS_PROXY and NO_PROXY, as for the clients that use requests
        self._opened = aiohttp.ClientSession(connector=connector, trust_env=True, **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened:
            await self._opened.close()
        self._opened = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        """The open session. Raises Unavailable outside of `async with`."""
        if self._opened is None:
            raise Unavailable("unreachable", service=self.service)
        return self._opened
