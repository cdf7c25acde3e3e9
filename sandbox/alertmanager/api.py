"""Alertmanager's API, version 2."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.alertmanager.backend import RESOLVE_TIMEOUT, Alertmanager
from sandbox.alertmanager.shapes import PostedAlert, PostedSilence, alert_json, date_time, silence_json
from sandbox.alertmanager.state import Alert, Matcher, fits_all, parse_matcher

ALERTS = TypeAdapter(list[PostedAlert])
Endpoint = Callable[[Request], Awaitable[Response]]


def routes(backend: Alertmanager) -> list[BaseRoute]:
    """The routes, without a prefix."""
    started = backend.clock.now()
    receiver = backend.route.receiver

    @_with_errors
    async def post_alerts(request: Request) -> Response:
        now = backend.clock.now()
        posted = ALERTS.validate_json(await request.body())
        alerts = [
            Alert(
                labels=alert.checked_labels(),
                annotations=alert.annotations,
                starts_at=alert.starts_at or alert.ends_at or now,
                ends_at=alert.ends_at or now + RESOLVE_TIMEOUT,
                updated_at=now,
                generator_url=alert.generator_url,
            )
            for alert in posted
        ]
        backend.receive(alerts)
        return Response(status_code=200)

    @_with_errors
    async def get_alerts(request: Request) -> Response:
        now, matchers = backend.clock.now(), _filter(request)
        alerts = []
        for alert in backend.alerts.values():
            silenced_by = backend.silences.silencing(alert.labels, now)
            shown = _flag(request, "silenced") if silenced_by else _flag(request, "active")
            if shown and not alert.is_resolved(now) and fits_all(matchers, alert.labels):
                alerts.append(alert_json(alert, silenced_by, receiver))
        return JSONResponse(sorted(alerts, key=lambda alert: alert["fingerprint"]))

    @_with_errors
    async def get_groups(request: Request) -> Response:
        now, matchers = backend.clock.now(), _filter(request)
        groups = []
        for group in backend.groups.values():
            alerts = [a for a in group.alerts.values() if not a.is_resolved(now) and fits_all(matchers, a.labels)]
            shown = [alert_json(a, backend.silences.silencing(a.labels, now), receiver) for a in alerts]
            if shown:
                head = {"labels": dict(group.labels), "routeLabels": {}, "receiver": {"name": receiver}}
                groups.append({**head, "alerts": shown})
        return JSONResponse(groups)

    @_with_errors
    async def post_silence(request: Request) -> Response:
        posted = PostedSilence.model_validate_json(await request.body())
        try:
            silence = backend.silences.put(
                [posted_matcher.matcher() for posted_matcher in posted.matchers],
                posted.starts_at,
                posted.ends_at,
                posted.created_by,
                posted.comment,
                backend.clock.now(),
                posted.id or None,
            )
        except KeyError:
            return JSONResponse("silence not found", 404)
        return JSONResponse({"silenceID": silence.id})

    @_with_errors
    async def get_silences(request: Request) -> Response:
        now, matchers = backend.clock.now(), _filter(request)
        silences = [
            silence_json(silence, now)
            for silence in backend.silences
            if _flag(request, silence.state(now)) and fits_all(matchers, {m.name: m.value for m in silence.matchers})
        ]
        return JSONResponse(silences)

    @_with_errors
    async def one_silence(request: Request) -> Response:
        now = backend.clock.now()
        silence = backend.silences.get(request.path_params["id"])
        if silence is None:
            return JSONResponse("silence not found", 404)
        if request.method == "GET":
            return JSONResponse(silence_json(silence, now))
        if silence.state(now) != "expired":
            backend.silences.expire(silence.id, now)
        return Response(status_code=200)

    async def status(_: Request) -> Response:
        version = dict.fromkeys(("version", "revision", "branch", "buildUser", "buildDate", "goVersion"), "sandbox")
        about = {"cluster": {"status": "disabled", "peers": []}, "versionInfo": version}
        return JSONResponse({**about, "config": {"original": ""}, "uptime": date_time(started)})

    async def receivers(_: Request) -> Response:
        return JSONResponse([{"name": receiver}])

    async def ready(_: Request) -> Response:
        return PlainTextResponse("OK")

    return [
        Route("/api/v2/alerts", post_alerts, methods=["POST"]),
        Route("/api/v2/alerts", get_alerts),
        Route("/api/v2/alerts/groups", get_groups),
        Route("/api/v2/silences", post_silence, methods=["POST"]),
        Route("/api/v2/silences", get_silences),
        Route("/api/v2/silence/{id}", one_silence, methods=["GET", "DELETE"]),
        Route("/api/v2/status", status),
        Route("/api/v2/receivers", receivers),
        Route("/-/ready", ready),
        Route("/-/healthy", ready),
    ]


def _with_errors(endpoint: Endpoint) -> Endpoint:
    """Answer invalid requests as a real Alertmanager does.

    422 for a missing required field and 400 for an unreadable one, both in go-swagger's words; 400 with a JSON string
    for what Alertmanager itself rejects.
    """

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValidationError as error:
            first = error.errors()[0]
            missing = first["type"] in ("missing", "too_short") or first["input"] is None
            message = f"{'.'.join(map(str, first['loc']))} in body: {first['msg']}"
            return JSONResponse({"code": 602 if missing else 400, "message": message}, 422 if missing else 400)
        except ValueError as error:
            return JSONResponse(str(error), 400)

    return answer


def _filter(request: Request) -> list[Matcher]:
    return [parse_matcher(text) for text in request.query_params.getlist("filter")]


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "true") == "true"
