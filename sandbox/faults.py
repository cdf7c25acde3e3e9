"""Faults of every service, on demand.

A fault is added by a test (`faults.add(...)`) or by another process (`POST /faults`, `DELETE /faults`) and hits the
requests of its service whose path matches. Latency is a fault too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATE_PATH = "/state"  # where tests read a service's state: never faulty

Kind = Literal[
    "ratelimit",  # 429 with Retry-After
    "error",  # the service's own kind of error response, with the code `error`
    "status",  # a bare HTTP status
    "hang",  # no response for `seconds`, then the connection is cut
    "slow",  # the usual response, `seconds` later
    "slow_then_drop",  # the request is handled `seconds` later, and the connection is cut before the response
    "drop_before",  # the connection is cut before the request is handled
    "drop_after",  # the request is handled, but the connection is cut before the response
    "nonsense",  # 200 with an invalid body
    "channel_limit",  # Slack only: one message each `seconds` in one channel, else 429
]


@dataclass
class Fault:
    """One fault.

    `match` is a shell pattern for the last part of the path (`chat.postMessage`), the path within the service
    (`/api/v1/query*`), or either after the HTTP method (`POST /repos/*/issues`). `times` is how many requests it hits,
    None for all. `used` counts them.
    """

    service: str
    kind: Kind
    match: str = "*"
    times: int | None = 1
    retry_after: int = 1
    status: int | None = None
    error: str = "internal_error"
    seconds: float = 30.0
    body: Any = None
    used: int = 0
    met: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of fault: {self.kind}")

    def matches(self, service: str, method: str, path: str) -> bool:
        spent = self.times is not None and self.used >= self.times
        if self.service != service or spent or path == STATE_PATH:
            return False
        names = (path, path.rpartition("/")[2])
        return any(fnmatchcase(text, self.match) for name in names for text in (name, f"{method} {name}"))

    def use(self) -> None:
        self.used += 1
        self.met.set()

    def as_json(self) -> dict[str, Any]:
        return {key.name: getattr(self, key.name) for key in fields(self) if key.name != "met"}


class Faults:
    """The faults in force, in the order they were added."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def add(self, service: str, kind: Kind, match: str = "*", **options: Any) -> Fault:
        """Add a fault of `service` (`slack`, `prometheus`, `alertmanager`, …); `options` are fields of `Fault`."""
        fault = Fault(service=service, kind=kind, match=match, **options)
        self.all.append(fault)
        return fault

    def latency(self, service: str, seconds: float, match: str = "*") -> Fault:
        """Delay every response of `service` by `seconds`, until `clear`."""
        return self.add(service, "slow", match, seconds=seconds, times=None)

    def clear(self, service: str | None = None) -> None:
        self.all = [fault for fault in self.all if service is not None and fault.service != service]

    def take_matching(self, service: str, method: str, path: str) -> Iterator[Fault]:
        """Yield the faults that hit this request; each counts as used."""
        for fault in tuple(self.all):
            if fault.kind != "channel_limit" and fault.matches(service, method, path):
                fault.use()
                yield fault

    def channel_interval(self) -> float:
        """Return the minimum seconds between two messages in one Slack channel; 0 without a limit."""
        return max((fault.seconds for fault in self.all if fault.kind == "channel_limit"), default=0.0)

    def routes(self) -> list[BaseRoute]:
        """Return the routes `POST /faults` (one fault as JSON), `GET /faults`, `DELETE /faults[?service=]`."""

        async def faults(request: Request) -> Response:
            if request.method == "DELETE":
                self.clear(request.query_params.get("service"))
            elif request.method == "POST":
                try:
                    added = self.add(**json.loads(await request.body()))
                except (ValueError, TypeError) as error:
                    return JSONResponse({"error": str(error)}, 400)
                return JSONResponse(added.as_json(), 201)
            return JSONResponse([fault.as_json() for fault in self.all])

        return [Route("/faults", faults, methods=["GET", "POST", "DELETE"])]


class FaultsMiddleware:
    """Applies the faults to all services; the first part of a path names the service."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.faults.all:
            await self.app(scope, receive, send)
            return
        service, _, rest = scope["path"].removeprefix("/").partition("/")
        for fault in self.faults.take_matching(service, scope["method"], f"/{rest}"):
            match fault.kind:
                case "slow":
                    receive = await _buffer(receive)
                    await asyncio.sleep(fault.seconds)
                    continue
                case "hang":
                    await _wait_for_disconnect(receive, fault.seconds)
                    await _cut_connection(scope, receive)
                case "drop_before":
                    await _cut_connection(scope, receive)
                case "drop_after" | "slow_then_drop":
                    if fault.kind == "slow_then_drop":
                        receive = await _buffer(receive)
                        await asyncio.sleep(fault.seconds)
                    await self.app(scope, receive, _discard)
                    await _cut_connection(scope, receive)
                case _:
                    await _answer(fault)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _answer(fault: Fault) -> Response:
    if fault.kind == "ratelimit":
        body = fault.body or {"ok": False, "error": "ratelimited", "message": "rate limit exceeded"}
        return JSONResponse(body, 429, headers={"Retry-After": str(fault.retry_after)})
    if fault.kind == "error":
        body = fault.body or {"ok": False, "error": fault.error, "message": fault.error}
        return JSONResponse(body, fault.status or (200 if fault.service == "slack" else 400))
    if fault.kind == "status":
        return Response(fault.body or "", fault.status or 500, media_type="text/plain")
    return Response(fault.body or '<html><p>It works!</p>{"ok": tru', 200, media_type="text/html")


async def _buffer(receive: Receive) -> Receive:
    """Read the whole request, so that it is handled later even if its sender has gone by then."""
    parts = [await receive()]
    while parts[-1].get("more_body"):
        parts.append(await receive())

    async def again() -> Message:
        return parts.pop(0) if parts else await receive()

    return again


async def _discard(message: Message) -> None:
    """Drop the response."""


async def _wait_for_disconnect(receive: Receive, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _cut_connection(scope: Scope, receive: Receive) -> None:
    """Reset the TCP connection; `serving` puts its transport into the request's state."""
    transport: asyncio.Transport = scope["state"]["transport"]
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
