"""Tempo: one trace in some hundred requests, as slow as the world's services were then; search and look-up over HTTP.

Of TraceQL it has conditions that all must hold: `{ a = "x" && duration > 500ms }`.

https://grafana.com/docs/tempo/latest/api_docs/
https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/
"""

from __future__ import annotations

import hashlib
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.prometheus.engine import query_range
from sandbox.prometheus.values import Vector
from sandbox.world.effects import P95_OVER_MEDIAN, SHAPE
from sandbox.world.world import World

TRACE_INTERVAL = 5_000  # ms between two traces of one service
STEP = 60_000  # ms for which a service counts as equally slow
MAX_RANGE = 7 * 86_400_000  # ms, the longest search
DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
RECENT = 3600  # seconds that are searched when no time is given
P95 = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{service="{}"}}[2m])))'
PATHS = ("GET /api/v1/session", "GET /api/v1/scene", "POST /api/v1/presence")
SERVICE_FIELDS = ("resource.service.name", ".service.name")
FIELDS = (*SERVICE_FIELDS, "duration", "traceDuration", "name", "status")
_NUMBER = r"\d+(?:\.\d+)?"

_TOKEN = re.compile(
    rf"""\s*(?:(?P<field>[A-Za-z][\w.]*|\.[\w.]+)\s*(?P<operator>!=|>=|<=|=|>|<)\s*
    (?P<value>"(?:[^"\\]|\\.)*"|{_NUMBER}(?:ns|us|µs|ms|s|m|h)|{_NUMBER}|[a-z]+))\s*""",
    re.VERBOSE,
)
_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """One trace. `started` in ms; `id` is 32 hexadecimal digits."""

    id: str
    service: str
    name: str
    started: int
    milliseconds: float


class Tempo:
    """The traces of a world. They are computed from its latencies when asked for, always the same ones."""

    def __init__(self, world: World) -> None:
        self.world = world

    def search(self, conditions: list[Condition], start: int, end: int, limit: int) -> list[Trace]:
        """Return the newest traces between two times (ms) that meet all conditions."""
        self.world.advance()
        traces = [
            trace
            for service in self.world.deployments
            if all(_equal(service, condition) for condition in conditions if condition.field in SERVICE_FIELDS)
            for trace in self._traces(service, start, min(end, self.world.at))
            if all(_holds(trace, condition) for condition in conditions)
        ]
        return sorted(traces, key=lambda trace: trace.started, reverse=True)[:limit]

    def trace(self, id: str) -> Trace | None:
        """Return a trace of the last two hours by its id."""
        end = self.world.at
        for service in self.world.deployments:
            for trace in self._traces(service, end - 7_200_000, end):
                if trace.id == id:
                    return trace
        return None

    def _traces(self, service: str, start: int, end: int) -> Iterator[Trace]:
        start = max(start, end - MAX_RANGE) // STEP * STEP
        if end <= start:
            return
        answer = query_range(self.world.tsdb, P95.format(service), start, end // STEP * STEP, STEP)
        if not isinstance(answer, Vector):  # which this query always gives
            return
        for step in range(answer.steps):
            if len(answer.labels) and answer.present[0, step] and np.isfinite(p95 := float(answer.values[0, step])):
                for offset in range(0, STEP, TRACE_INTERVAL):
                    started = start + step * STEP + offset
                    if started <= end:
                        yield _trace(service, started, p95)


def _trace(service: str, started: int, p95: float) -> Trace:
    """Return the trace of this time; its duration is from the service's log-logistic distribution."""
    digest = hashlib.sha256(f"{service}/{started}".encode()).digest()
    share = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
    seconds = p95 / P95_OVER_MEDIAN * math.pow(share / (1 - share), 1 / SHAPE)
    return Trace(digest[:16].hex(), service, PATHS[digest[20] % len(PATHS)], started, round(seconds * 1000, 3))


def _equal(service: str, condition: Condition) -> bool:
    return (condition.operator == "=") == (service == condition.value)


def _holds(trace: Trace, condition: Condition) -> bool:
    match condition.field:
        case "duration" | "traceDuration":
            return _COMPARISONS[condition.operator](trace.milliseconds, float(condition.value))
        case "name":
            return (condition.operator == "=") == (trace.name == condition.value)
        case "status":
            return condition.value in ("ok", "unset")
        case _:
            return _equal(trace.service, condition)


# TraceQL.


class InvalidTraceQL(Exception):
    """Not valid TraceQL; the message is Tempo's."""


@dataclass(frozen=True)
class Condition:
    """`value` is text without its quotes, or milliseconds for a duration."""

    field: str
    operator: str
    value: str | float


def parse(query: str) -> list[Condition]:
    """Parse the conditions of a query. Raises InvalidTraceQL for anything else."""
    text = query.strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise InvalidTraceQL("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    conditions, rest, column = [], text[1:-1], 2
    while rest.strip():
        token = _TOKEN.match(rest)
        if token is None or token["field"] not in FIELDS:
            raise InvalidTraceQL(f"parse error at line 1, col {column}: syntax error: unexpected {rest.split()[0]}")
        value = _parse_value(token["field"], token["value"], column)
        conditions.append(Condition(token["field"], token["operator"], value))
        rest, column = rest[token.end() :], column + token.end()
        if rest and not rest.startswith("&&"):
            raise InvalidTraceQL(f"parse error at line 1, col {column}: syntax error: unexpected {rest.split()[0]}")
        rest = rest[2:]
    return conditions


def _parse_value(field: str, raw: str, column: int) -> str | float:
    if field in ("duration", "traceDuration"):
        unit = re.fullmatch(rf"({_NUMBER})(\D+)", raw)
        if unit is None:
            raise InvalidTraceQL(f"binary operations must operate on the same type at col {column}: {field} > {raw}")
        return float(unit[1]) * _UNITS[unit[2]]
    if field == "status":
        return raw
    if not raw.startswith('"'):
        raise InvalidTraceQL(f"binary operations must operate on the same type at col {column}: {field} = {raw}")
    return re.sub(r"\\(.)", r"\1", raw[1:-1])


# The HTTP API.


def routes(tempo: Tempo) -> list[BaseRoute]:
    """Return the routes, without a prefix."""

    async def search(request: Request) -> Response:
        parameters = request.query_params
        try:
            limit = int(parameters.get("limit", DEFAULT_LIMIT))
            now = tempo.world.clock.now().timestamp()
            end = int(parameters.get("end", int(now) + 1))
            start = int(parameters.get("start", end - RECENT))
        except ValueError as error:
            return PlainTextResponse(f"invalid parameter: {error}", 400)
        if not 0 < limit <= MAX_LIMIT:
            return PlainTextResponse("invalid limit: must be a positive number", 400)
        if end <= start:
            return PlainTextResponse(f"http parameter start must be before end. received start={start} end={end}", 400)
        if (end - start) * 1000 > MAX_RANGE:
            return PlainTextResponse("range specified by start and end exceeds 168h0m0s", 400)
        try:
            conditions = parse(parameters.get("q", "{}"))
        except InvalidTraceQL as error:
            return PlainTextResponse(f"invalid TraceQL query: {error}", 400)
        traces = tempo.search(conditions, start * 1000, end * 1000, limit)
        return JSONResponse(
            {"traces": [_search_result(trace) for trace in traces], "metrics": {"completedJobs": 1, "totalJobs": 1}}
        )

    async def trace(request: Request) -> Response:
        result = tempo.trace(request.path_params["id"].rjust(32, "0"))
        return JSONResponse(_trace_json(result)) if result else PlainTextResponse("trace not found", 404)

    return [
        Route("/api/search", search),
        Route("/api/traces/{id}", trace),
    ]


def _search_result(trace: Trace) -> dict[str, Any]:
    """Return protobuf's JSON, in which 64-bit numbers are texts and zeros are left out."""
    started = str(trace.started * 1_000_000)
    span = {
        "spanID": trace.id[:16],
        "startTimeUnixNano": started,
        "durationNanos": str(round(trace.milliseconds * 1e6)),
    }
    result = {
        "traceID": trace.id.lstrip("0"),
        "rootServiceName": trace.service,
        "rootTraceName": trace.name,
        "startTimeUnixNano": started,
        "spanSets": [{"spans": [span], "matched": 1}],
    }
    return result | ({"durationMs": int(trace.milliseconds)} if int(trace.milliseconds) else {})


def _trace_json(trace: Trace) -> dict[str, Any]:
    started, ended = trace.started * 1_000_000, trace.started * 1_000_000 + round(trace.milliseconds * 1e6)
    span = {
        "traceId": trace.id,
        "spanId": trace.id[:16],
        "name": trace.name,
        "startTimeUnixNano": str(started),
        "endTimeUnixNano": str(ended),
    }
    name = {"key": "service.name", "value": {"stringValue": trace.service}}
    return {"batches": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]}]}
