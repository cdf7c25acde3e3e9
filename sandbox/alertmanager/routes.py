"""Alertmanager's API, version 2."""

from collections.abc import Awaitable, Callable
from functools import wraps

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.alertmanager.alerts import Alert
from sandbox.alertmanager.backend import RESOLVE_TIMEOUT, Alertmanager
from sandbox.alertmanager.matchers import Matcher, fit, matcher
from sandbox.alertmanager.shapes import PostedAlert, PostedSilence, alert_json, date_time, silence_json

ALERTS = TypeAdapter(list[PostedAlert])
Endpoint = Callable[[Request], Awaitable[Response]]


def routes(backend: Alertmanager) -> list[BaseRoute]:
    """The routes, without a prefix."""
    started = backend.clock.now()
    receiver = backend.route.receiver

    @_refusing
    async def post_alerts(request: Request) -> Response:
        now = backend.clock.now()
        posted = ALERTS.validate_json(await request.body())
        taken = [
            Alert(
                labels=each.checked_labels(),
                annotations=each.annotations,
                starts_at=each.starts_at or each.ends_at or now,
                ends_at=each.ends_at or now + RESOLVE_TIMEOUT,
                updated_at=now,
                generator_url=each.generator_url,
            )
            for each in posted
        ]
        backend.receive(taken)
        return Response(status_code=200)

    @_refusing
    async def get_alerts(request: Request) -> Response:
        now, wanted = backend.clock.now(), _filter(request)
        found = []
        for alert in backend.alerts.values():
            silenced_by = backend.silences.silencing(alert.labels, now)
            shown = _flag(request, "silenced") if silenced_by else _flag(request, "active")
            if shown and not alert.is_resolved(now) and fit(wanted, alert.labels):
                found.append(alert_json(alert, silenced_by, receiver))
        return JSONResponse(sorted(found, key=lambda each: each["fingerprint"]))

    @_refusing
    async def get_groups(request: Request) -> Response:
        now, wanted = backend.clock.now(), _filter(request)
        told = []
        for group in backend.groups.values():
            alerts = [a for a in group.alerts.values() if not a.is_resolved(now) and fit(wanted, a.labels)]
            shown = [alert_json(a, backend.silences.silencing(a.labels, now), receiver) for a in alerts]
            if shown:
                described = {"labels": dict(group.labels), "routeLabels": {}, "receiver": {"name": receiver}}
                told.append({**described, "alerts": shown})
        return JSONResponse(told)

    @_refusing
    async def post_silence(request: Request) -> Response:
        given = PostedSilence.model_validate_json(await request.body())
        try:
            made = backend.silences.put(
                [each.matcher() for each in given.matchers],
                given.starts_at,
                given.ends_at,
                given.created_by,
                given.comment,
                backend.clock.now(),
                given.id or None,
            )
        except KeyError:
            return JSONResponse("silence not found", 404)
        return JSONResponse({"silenceID": made.id})

    @_refusing
    async def get_silences(request: Request) -> Response:
        now, wanted = backend.clock.now(), _filter(request)
        found = [
            silence_json(silence, now)
            for silence in backend.silences
            if _flag(request, silence.state(now)) and fit(wanted, {each.name: each.value for each in silence.matchers})
        ]
        return JSONResponse(found)

    @_refusing
    async def silence(request: Request) -> Response:
        now = backend.clock.now()
        found = backend.silences.get(request.path_params["id"])
        if found is None:
            return JSONResponse("silence not found", 404)
        if request.method == "GET":
            return JSONResponse(silence_json(found, now))
        if found.state(now) != "expired":
            backend.silences.expire(found.id, now)
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
        Route("/api/v2/silence/{id}", silence, methods=["GET", "DELETE"]),
        Route("/api/v2/status", status),
        Route("/api/v2/receivers", receivers),
        Route("/-/ready", ready),
        Route("/-/healthy", ready),
    ]


def _refusing(endpoint: Endpoint) -> Endpoint:
    """Answer with the reason where the request makes no sense.

    As a real one does: 422 where something required is missing, 400 for what cannot be read, both as go-swagger
    words it, and 400 with a JSON string for what Alertmanager itself does not accept.
    """

    @wraps(endpoint)
    async def refusing(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValidationError as error:
            first = error.errors()[0]
            missing = first["type"] in ("missing", "too_short") or first["input"] is None
            message = f"{'.'.join(map(str, first['loc']))} in body: {first['msg']}"
            return JSONResponse({"code": 602 if missing else 400, "message": message}, 422 if missing else 400)
        except ValueError as error:
            return JSONResponse(str(error), 400)

    return refusing


def _filter(request: Request) -> list[Matcher]:
    return [matcher(text) for text in request.query_params.getlist("filter")]


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "true") == "true"
