"""Prometheus' HTTP API, version 1: https://prometheus.io/docs/prometheus/latest/querying/api/"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import promql_parser as promql
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.prometheus.backend import Prometheus
from sandbox.prometheus.engine import matching, parse, query, query_range
from sandbox.prometheus.literals import json_float, parse_duration, parse_time
from sandbox.prometheus.tsdb import NAME, Labels, Series
from sandbox.prometheus.values import QueryError, RangeVector, Scalar, Text, Value, Vector, bad_data

Json = dict[str, Any]
Answer = Callable[[Request, QueryParams], Any]
STATUS = {"bad_data": 400, "execution": 422, "not_found": 404}

VERSION = {
    "version": "3.5.0",
    "revision": "sandbox",
    "branch": "sandbox",
    "buildUser": "sandbox",
    "buildDate": "",
    "goVersion": "",
}


def routes(backend: Prometheus) -> list[BaseRoute]:
    """Return the routes, without a prefix."""

    def api(path: str, answer: Answer, *methods: str) -> Route:
        return Route(f"/api/v1/{path}", _endpoint(backend, answer), methods=[*methods] or ["GET"])

    def instant(_: Request, parameters: QueryParams) -> Any:
        at = parse_time(parameters["time"], "time") if parameters.get("time") else backend.now()
        return instant_answer(query(backend.tsdb, _required(parameters, "query"), at), at)

    def over_range(_: Request, parameters: QueryParams) -> Any:
        start = parse_time(_required(parameters, "start"), "start")
        end = parse_time(_required(parameters, "end"), "end")
        step = parse_duration(_required(parameters, "step"), "step")
        value = query_range(backend.tsdb, _required(parameters, "query"), start, end, step)
        return range_answer(value, start, step)

    def label_names(_: Request, parameters: QueryParams) -> Any:
        return sorted({name for series in _selected(backend, parameters) for name in series.labels})

    def label_values(request: Request, parameters: QueryParams) -> Any:
        name = request.path_params["name"]
        return sorted({series.labels[name] for series in _selected(backend, parameters) if name in series.labels})

    def series(_: Request, parameters: QueryParams) -> Any:
        if not parameters.getlist("match[]"):
            raise bad_data("no match[] parameter provided")
        return [dict(sorted(series.labels.items())) for series in _selected(backend, parameters)]

    def metadata(_: Request, parameters: QueryParams) -> Any:
        metric = parameters.get("metric")
        return {
            name: [{"type": entry.type, "help": entry.help, "unit": ""}]
            for name, entry in backend.metadata.items()
            if not metric or name == metric
        }

    async def ready(_: Request) -> Response:
        return PlainTextResponse("Prometheus Server is Ready.\n")

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("Prometheus Server is Healthy.\n")

    return [
        api("query", instant, "GET", "POST"),
        api("query_range", over_range, "GET", "POST"),
        api("labels", label_names, "GET", "POST"),
        api("label/{name}/values", label_values),
        api("series", series, "GET", "POST"),
        api("metadata", metadata),
        api("rules", lambda *_: backend.rules.as_json()),
        api("alerts", lambda *_: {"alerts": backend.rules.alerts_as_json()}),
        api("status/buildinfo", lambda *_: VERSION),
        Route("/-/ready", ready),
        Route("/-/healthy", healthy),
    ]


def _endpoint(backend: Prometheus, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if backend.token is not None and not _has_token(request, backend.token):
            return PlainTextResponse("Unauthorized\n", 401, headers={"WWW-Authenticate": "Bearer"})
        try:
            parameters = await _parameters(request)
            backend.refresh()
            return JSONResponse({"status": "success", "data": answer(request, parameters)})
        except QueryError as error:
            body = {"status": "error", "errorType": error.kind, "error": str(error)}
            return JSONResponse(body, STATUS[error.kind])

    return endpoint


def _has_token(request: Request, token: str) -> bool:
    return hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode())


async def _parameters(request: Request) -> QueryParams:
    """Return the parameters of the query string and, of a POST, those of its form."""
    if request.method != "POST":
        return request.query_params
    form = await request.form()
    typed = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return QueryParams([*request.query_params.multi_items(), *typed])


def _required(parameters: QueryParams, name: str) -> str:
    value = parameters.get(name)
    if not value:
        missing = "unknown position: parse error: no expression found in input"
        reason = missing if name == "query" else f'cannot parse "" to a valid {_parameter_type(name)}'
        raise bad_data(f'invalid parameter "{name}": {reason}')
    return value


def _parameter_type(name: str) -> str:
    return "duration" if name == "step" else "timestamp"


def _selected(backend: Prometheus, parameters: QueryParams) -> list[Series]:
    """Return the series any `match[]` selects (all without one) with a sample between `start` and `end`."""
    start = parse_time(parameters["start"], "start") if parameters.get("start") else None
    end = parse_time(parameters["end"], "end") if parameters.get("end") else None
    selectors = parameters.getlist("match[]")
    matched = {id(series): series for text in selectors for series in _match(backend, text)}
    all_series = matched.values() if selectors else list(backend.tsdb)
    kept = [
        series
        for series in all_series
        if len(series.times)
        and (start is None or series.times[-1] >= start)
        and (end is None or series.times[0] <= end)
    ]
    return sorted(kept, key=lambda series: (series.labels[NAME], sorted(series.labels.items())))


def _match(backend: Prometheus, text: str) -> list[Series]:
    expression = parse(text)
    if not isinstance(expression, promql.VectorSelector):
        raise bad_data(f'invalid parameter "match[]": {text} is no series selector')
    return backend.tsdb.select(*matching(expression))


# Values as the `data` of an answer.


def instant_answer(value: Value, at: int) -> Json:
    """Return the `data` of /api/v1/query at `at` ms."""
    match value:
        case Scalar():
            return {"resultType": "scalar", "result": _point(at, value.values[0])}
        case Text():
            return {"resultType": "string", "result": [_seconds(at), value.value]}
        case RangeVector():
            return {"resultType": "matrix", "result": _windows(value)}
        case Vector():
            result = [
                {"metric": _metric(labels), "value": _point(at, values[0])}
                for labels, values, present in zip(value.labels, value.values, value.present, strict=True)
                if present[0]
            ]
            return {"resultType": "vector", "result": result}


def range_answer(value: Scalar | Vector, start: int, step: int) -> Json:
    """Return the `data` of /api/v1/query_range, series in the order of their labels."""
    if isinstance(value, Scalar):
        points = [_point(start + number * step, sample) for number, sample in enumerate(value.values)]
        return {"resultType": "matrix", "result": [{"metric": {}, "values": points}]}
    result = []
    for labels, values, present in zip(value.labels, value.values.tolist(), value.present.tolist(), strict=True):
        points = [_point(start + number * step, values[number]) for number, shown in enumerate(present) if shown]
        if points:
            result.append({"metric": _metric(labels), "values": points})
    return {"resultType": "matrix", "result": sorted(result, key=lambda series: list(series["metric"].items()))}


def _windows(value: RangeVector) -> list[Json]:
    result = []
    for window in value.windows:
        samples = slice(int(window.first[0]), int(window.last[0]))
        pairs = zip(window.times[samples].tolist(), window.values[samples].tolist(), strict=True)
        result.append({"metric": _metric(window.labels), "values": [_point(at, sample) for at, sample in pairs]})
    return result


def _metric(labels: Labels) -> dict[str, str]:
    return dict(sorted(labels.items()))


def _point(at: int, value: float) -> list[Any]:
    return [_seconds(at), json_float(float(value))]


def _seconds(at: int) -> float | int:
    return at / 1000 if at % 1000 else at // 1000
