"""How it is named that a remote failed, for the clients that are built on requests."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping

from bot.domain.errors import Refused, Unavailable

REASON_LIMIT = 300


def connection_error(service: str, what: str, problem: BaseException, *, seconds: float, writes: bool) -> Unavailable:
    """What a connection's failure means. `writes`: it may have been done all the same, unless it was never sent."""
    causes = list(_causes(problem))
    never_sent = any(isinstance(cause, ConnectionRefusedError | socket.gaierror) for cause in causes)
    uncertain = {"uncertain": True} if writes and not never_sent else {}
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Unavailable("timed_out", service=service, what=what, seconds=seconds, **uncertain)
    generator = (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror)
    return Unavailable(
        "unreachable", service=service, what=what, why=next(generator, type(problem).__name__), **uncertain
    )


def invalid_response(service: str, what: str, *, writes: bool) -> Unavailable:
    """An answer that cannot be understood: a proxy's page, half a JSON, a missing field."""
    uncertain = {"uncertain": True} if writes else {}
    return Unavailable("nonsense", service=service, what=what, **uncertain)


def http_error(
    service: str, what: str, status: int, why: str, *, retry_after: float | None = None, writes: bool
) -> Unavailable | Refused:
    """What an HTTP status of 400 or more means; `why` is in the remote's own words."""
    if status == 429 or retry_after is not None:
        wait = 30.0 if retry_after is None else retry_after
        return Unavailable("rate_limited", service=service, what=what, status=status, retry_after=wait)
    reason = why[:REASON_LIMIT]
    if status >= 500 or status == 408:
        uncertain = {"uncertain": True} if writes else {}
        return Unavailable("unreachable", service=service, what=what, status=status, why=f"HTTP {status}", **uncertain)
    return Refused("refused", service=service, what=what, status=status, why=reason or f"HTTP {status}")


def parse_retry_after(headers: Mapping[str, str], *names: str) -> float | None:
    """The first of these headers that holds a number of seconds."""
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
