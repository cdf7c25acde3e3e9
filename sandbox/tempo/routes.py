"""Tempo's HTTP API: `GET /api/search`, `GET /api/traces/{id}`, `GET /ready`, `GET /api/echo`.

https://grafana.com/docs/tempo/latest/api_docs/
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.tempo.backend import LONGEST, Tempo, Trace
from sandbox.tempo.traceql import NoTraceQl, parse

DEFAULT_LIMIT, MOST = 20, 1000
RECENT = 3600  # seconds that are searched when no time is given


def routes(tempo: Tempo) -> list[BaseRoute]:
    async def search(request: Request) -> Response:
        asked = request.query_params
        try:
            limit = int(asked.get("limit", DEFAULT_LIMIT))
            now = tempo.world.clock.now().timestamp()
            end = int(asked.get("end", int(now) + 1))
            start = int(asked.get("start", end - RECENT))
        except ValueError as wrong:
            return PlainTextResponse(f"invalid parameter: {wrong}", 400)
        if not 0 < limit <= MOST:
            return PlainTextResponse("invalid limit: must be a positive number", 400)
        if end <= start:
            return PlainTextResponse(f"http parameter start must be before end. received start={start} end={end}", 400)
        if (end - start) * 1000 > LONGEST:
            return PlainTextResponse("range specified by start and end exceeds 168h0m0s", 400)
        try:
            conditions = parse(asked.get("q", "{}"))
        except NoTraceQl as wrong:
            return PlainTextResponse(f"invalid TraceQL query: {wrong}", 400)
        found = tempo.search(conditions, start * 1000, end * 1000, limit)
        return JSONResponse(
            {"traces": [_found(trace) for trace in found], "metrics": {"completedJobs": 1, "totalJobs": 1}}
        )

    async def trace(request: Request) -> Response:
        found = tempo.trace(request.path_params["id"].rjust(32, "0"))
        return JSONResponse(_whole(found)) if found else PlainTextResponse("trace not found", 404)

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready\n")

    async def echo(_: Request) -> Response:
        return PlainTextResponse("echo")

    return [
        Route("/api/search", search),
        Route("/api/traces/{id}", trace),
        Route("/ready", ready),
        Route("/api/echo", echo),
    ]


def _found(trace: Trace) -> dict[str, Any]:
    """As Tempo writes it: protobuf's JSON, in which 64-bit numbers are texts and zeros are left out."""
    began = str(trace.began * 1_000_000)
    span = {"spanID": trace.id[:16], "startTimeUnixNano": began, "durationNanos": str(round(trace.milliseconds * 1e6))}
    drawn = {
        "traceID": trace.id.lstrip("0"),
        "rootServiceName": trace.service,
        "rootTraceName": trace.name,
        "startTimeUnixNano": began,
        "spanSets": [{"spans": [span], "matched": 1}],
    }
    return drawn | ({"durationMs": int(trace.milliseconds)} if int(trace.milliseconds) else {})


def _whole(trace: Trace) -> dict[str, Any]:
    began, ended = trace.began * 1_000_000, trace.began * 1_000_000 + round(trace.milliseconds * 1e6)
    span = {
        "traceId": trace.id,
        "spanId": trace.id[:16],
        "name": trace.name,
        "startTimeUnixNano": str(began),
        "endTimeUnixNano": str(ended),
    }
    name = {"key": "service.name", "value": {"stringValue": trace.service}}
    return {"batches": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]}]}
