"""What stands before the sandbox while a runbook is tested: it counts the bot's requests by step, refuses those of one
step, and kills the bot in the middle of one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SERVICES = ("kubernetes", "prometheus", "alertmanager", "pagerduty", "github", "aws", "vault", "tempo", "health")
READS = ("GET", "HEAD", "OPTIONS")
REFUSAL = "forbidden by the test"
HEALTH = "/health/"
RANGE = "/prometheus/api/v1/query_range"
INSTANT = "/prometheus/api/v1/query"


@dataclass
class Asked:
    """What the steps of a run asked: services by step, changes by step, and all requests in order."""

    services: dict[str, set[str]] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    @property
    def all_changes(self) -> int:
        return self.changes.total()


class Interceptor:
    """An ASGI application before the sandbox's. `current_step` says which step of the run is being played.

    `values` are answers for PromQL (query → value) that finds nothing in the sandbox's Prometheus, `healthy` those of
    health endpoints that the sandbox does not have (host and path → status).
    """

    def __init__(
        self,
        app: ASGIApp,
        current_step: Callable[[], Awaitable[str | None]],
        values: Mapping[str, float],
        healthy: Mapping[str, int],
    ) -> None:
        self._app = app
        self._current_step = current_step
        self._values = values
        self._healthy = healthy
        self._refused_step: str | None = None
        self._refuses_changes_only = False
        self._kill: Callable[[], None] | None = None
        self._kill_at = 0
        self._kills_at_change = False
        self.asked = Asked()
        self.refused = 0
        self.killed = False

    def refuse(self, step: str, *, changes_only: bool) -> None:
        """Refuse all requests of a step, or only those that change something."""
        self._refused_step, self._refuses_changes_only = step, changes_only

    def kill(self, kill: Callable[[], None], *, number: int, at_change: bool) -> None:
        """Kill the bot at that request (1 is the first); at a change once it is done, before the bot hears of it."""
        self._kill, self._kill_at, self._kills_at_change = kill, number, at_change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = scope.get("path", "").removeprefix("/").partition("/")[0]
        if scope["type"] not in ("http", "websocket") or service not in SERVICES:
            await self._app(scope, receive, send)
            return
        step = await self._current_step()
        if step is None:
            await self._answer(scope, receive, send)
            return
        body, receive = await _read_body(scope, receive)
        changes = _changes(service, scope, body)
        self.asked.requests += 1
        self.asked.services.setdefault(step, set()).add(service)
        self.asked.changes[step] += changes
        refusable = changes or not (self._refuses_changes_only or _is_discovery(scope["path"]))
        if step == self._refused_step and refusable:
            self.refused += 1
            await _refuse(service, scope, receive, send)
            return
        reached = self.asked.all_changes if self._kills_at_change else self.asked.requests
        if self._kill and reached == self._kill_at and (changes or not self._kills_at_change):
            await self._kill_bot(self._kill, scope, receive)
            return
        await self._answer(scope, receive, send)

    async def _kill_bot(self, kill: Callable[[], None], scope: Scope, receive: Receive) -> None:
        self._kill = None
        if self._kills_at_change and scope["type"] == "http":
            await self._app(scope, receive, _unheard)
        kill()
        self.killed = True
        if transport := scope.get("state", {}).get("transport"):
            transport.abort()
        while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its answer is known and the sandbox has none."""
        if status := self._healthy.get(scope["path"].removeprefix(HEALTH)):
            await JSONResponse({"status": "ok"}, status)(scope, receive, send)
            return
        if scope["path"] not in (RANGE, INSTANT) or not self._values:
            await self._app(scope, receive, send)
            return
        body, receive = await _read_body(scope, receive)
        parameters = {
            name: values[-1] for name, values in parse_qs(f"{scope['query_string'].decode()}&{body.decode()}").items()
        }
        value = self._values.get(parameters.get("query", ""))
        if value is None:
            await self._app(scope, receive, send)
            return
        sent: list[Message] = []
        await self._app(scope, receive, _append_to(sent))
        answered = b"".join(message.get("body", b"") for message in sent)
        if not _is_empty(answered):
            for message in sent:
                await send(message)
            return
        await _constant(scope["path"] == RANGE, parameters, value)(scope, receive, send)


def _changes(service: str, scope: Scope, body: bytes) -> bool:
    """Return True if the request changes something in the service."""
    if scope["type"] == "websocket":
        return True  # a command in a container
    path, method, query = scope["path"], scope["method"], scope["query_string"]
    if method in READS or service in ("prometheus", "tempo", "health"):
        return False
    if service == "kubernetes":
        return b"dryRun" not in query and not path.endswith("accessreviews")
    if service == "aws":
        action = parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]
        return not action.startswith(("Describe", "List"))
    return not (service == "vault" and "/auth/" in path) and not path.endswith("/graphql")


def _is_discovery(path: str) -> bool:
    """Return True for what every account of a cluster may ask: its version, and which resources there are."""
    parts = path.strip("/").split("/")[1:]
    if not path.startswith("/kubernetes/"):
        return False
    return parts[0] in ("version", "openapi") or len(parts) <= (2 if parts[0] == "api" else 3)


async def _read_body(scope: Scope, receive: Receive) -> tuple[bytes, Receive]:
    """Return a request's body, and a `receive` that gives it again."""
    if scope["type"] != "http":
        return b"", receive
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    body = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return body, again


async def _refuse(service: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the service does to somebody without the right."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    if service == "aws":
        error = f"<Error><Code>AccessDenied</Code><Message>{REFUSAL}</Message></Error>"
        response = Response(f"<ErrorResponse>{error}</ErrorResponse>", 403, media_type="text/xml")
        if scope["path"].startswith("/aws/") and scope["method"] != "POST":  # S3
            response = Response(error, 403, media_type="application/xml")
        await response(scope, receive, send)
        return
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403}
    answer = {
        "kubernetes": status | {"message": REFUSAL},
        "pagerduty": {"error": {"code": 2010, "message": REFUSAL}},
        "vault": {"errors": [REFUSAL]},
        "github": {"message": REFUSAL},
        "prometheus": {"status": "error", "errorType": "forbidden", "error": REFUSAL},
    }
    await JSONResponse(answer.get(service, {"error": REFUSAL}), 403)(scope, receive, send)


def _is_empty(answer: bytes) -> bool:
    try:
        parsed = json.loads(answer)
        return bool(parsed["status"] == "success" and parsed["data"]["result"] == [])
    except (ValueError, KeyError, TypeError):
        return False


def _constant(ranged: bool, parameters: Mapping[str, str], value: float) -> Response:
    """Return Prometheus' answer with one series that has always had this value."""
    if not ranged:
        at = float(parameters.get("time", "0") or 0)
        series: dict[str, Any] = {"metric": {}, "value": [at, str(value)]}
        return JSONResponse({"status": "success", "data": {"resultType": "vector", "result": [series]}})
    start, end, step = (float(parameters[name].removesuffix("s")) for name in ("start", "end", "step"))
    count = int((end - start) / step) + 1
    points = [[start + number * step, str(value)] for number in range(count)]
    series = {"metric": {}, "values": points}
    return JSONResponse({"status": "success", "data": {"resultType": "matrix", "result": [series]}})


async def _unheard(message: Message) -> None:
    """Drop an answer that nobody gets."""


def _append_to(messages: list[Message]) -> Send:
    async def append(message: Message) -> None:
        messages.append(message)

    return append
