"""Prometheus' HTTP API, version 1: https://prometheus.io/docs/prometheus/latest/querying/api/"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import promql_parser as promql
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.prometheus.answers import instant_answer, range_answer
from sandbox.prometheus.backend import Prometheus
from sandbox.prometheus.engine import parse, query, query_range
from sandbox.prometheus.errors import QueryError, bad_data
from sandbox.prometheus.numbers import duration, moment
from sandbox.prometheus.selectors import matching
from sandbox.prometheus.tsdb import NAME, Series

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
    """The routes, without a prefix; `backend` answers."""

    def api(path: str, answer: Answer, *methods: str) -> Route:
        return Route(f"/api/v1/{path}", _endpoint(backend, answer), methods=[*methods] or ["GET"])

    def instant(_: Request, given: QueryParams) -> Any:
        at = moment(given["time"], "time") if given.get("time") else backend.now()
        return instant_answer(query(backend.tsdb, _required(given, "query"), at), at)

    def over_range(_: Request, given: QueryParams) -> Any:
        start = moment(_required(given, "start"), "start")
        end = moment(_required(given, "end"), "end")
        step = duration(_required(given, "step"), "step")
        value = query_range(backend.tsdb, _required(given, "query"), start, end, step)
        return range_answer(value, start, step)

    def label_names(_: Request, given: QueryParams) -> Any:
        return sorted({name for series in _selected(backend, given) for name in series.labels})

    def label_values(request: Request, given: QueryParams) -> Any:
        name = request.path_params["name"]
        return sorted({series.labels[name] for series in _selected(backend, given) if name in series.labels})

    def series(_: Request, given: QueryParams) -> Any:
        if not given.getlist("match[]"):
            raise bad_data("no match[] parameter provided")
        return [dict(sorted(each.labels.items())) for each in _selected(backend, given)]

    def metadata(_: Request, given: QueryParams) -> Any:
        wanted = given.get("metric")
        return {
            name: [{"type": known.type, "help": known.help, "unit": ""}]
            for name, known in backend.metadata.items()
            if not wanted or name == wanted
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
        if backend.token is not None and not _carries(request, backend.token):
            return PlainTextResponse("Unauthorized\n", 401, headers={"WWW-Authenticate": "Bearer"})
        try:
            given = await _parameters(request)
            backend.refresh()
            return JSONResponse({"status": "success", "data": answer(request, given)})
        except QueryError as error:
            body = {"status": "error", "errorType": error.kind, "error": str(error)}
            return JSONResponse(body, STATUS[error.kind])

    return endpoint


def _carries(request: Request, token: str) -> bool:
    return hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode())


async def _parameters(request: Request) -> QueryParams:
    """The query string's parameters and, of a POST, those of its form, which come first."""
    if request.method != "POST":
        return request.query_params
    form = await request.form()
    typed = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return QueryParams([*request.query_params.multi_items(), *typed])


def _required(given: QueryParams, name: str) -> str:
    value = given.get(name)
    if not value:
        missing = "unknown position: parse error: no expression found in input"
        reason = missing if name == "query" else f'cannot parse "" to a valid {_kind(name)}'
        raise bad_data(f'invalid parameter "{name}": {reason}')
    return value


def _kind(name: str) -> str:
    return "duration" if name == "step" else "timestamp"


def _selected(backend: Prometheus, given: QueryParams) -> list[Series]:
    """The series that any `match[]` selects (all without one) with a sample between `start` and `end`."""
    start = moment(given["start"], "start") if given.get("start") else None
    end = moment(given["end"], "end") if given.get("end") else None
    selectors = given.getlist("match[]")
    found = {id(series): series for text in selectors for series in _matched(backend, text)}
    all_series = found.values() if selectors else list(backend.tsdb)
    kept = [
        series
        for series in all_series
        if len(series.times)
        and (start is None or series.times[-1] >= start)
        and (end is None or series.times[0] <= end)
    ]
    return sorted(kept, key=lambda series: (series.labels[NAME], sorted(series.labels.items())))


def _matched(backend: Prometheus, text: str) -> list[Series]:
    expression = parse(text)
    if not isinstance(expression, promql.VectorSelector):
        raise bad_data(f'invalid parameter "match[]": {text} is no series selector')
    return backend.tsdb.select(*matching(expression))
