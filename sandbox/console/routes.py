"""The console's HTTP addresses, below `/console`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from sandbox.console.acting import ACTS, NotPossible, act
from sandbox.console.manifest import BESIDE, offered
from sandbox.console.markdown import tree
from sandbox.console.screen import changes, screen
from sandbox.console.stream import stream
from sandbox.console.strip import Strip
from sandbox.slack.backend import Slack
from sandbox.slack.person import Person
from sandbox.slack.state import JSON

STATIC = Path(__file__).with_name("static")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "img-src 'self' data: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A file is somebody else's: whatever it holds, it runs nothing, loads nothing, and is of no origin.
FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
FRESH = {"Cache-Control": "no-cache"}  # the modules of two versions must never be mixed

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(slack: Slack, strip: Strip, *, manifest: Path = BESIDE) -> list[BaseRoute]:
    """The page, its static files, and `api/…`. Whoever acts is named by handle: `as` in the query or the body.

    Only JSON from the page itself is taken: another site that a person has open cannot act for them.
    """

    async def page(_request: Request) -> Response:
        headers = {
            "Content-Security-Policy": PAGE_POLICY,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return FileResponse(STATIC / "index.html", headers=headers)

    async def about(_request: Request) -> Response:
        people = [
            {"id": each.slack, "handle": each.handle, "name": each.name, "title": each.title, "locale": each.locale}
            for each in slack.company.people
        ]
        return JSONResponse({"workspace": slack.company.workspace.name, "people": people, **offered(manifest)})

    async def state(request: Request) -> Response:
        patch, _ = changes({}, screen(slack, _person(slack, request.query_params.get("as", "")).id))
        return JSONResponse(patch)

    async def live(request: Request) -> Response:
        me = _person(slack, request.query_params.get("as", "")).id
        request.scope.setdefault("state", {})["endless"] = True
        return StreamingResponse(
            stream(slack, me), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def acting(request: Request) -> Response:
        name = request.path_params["act"]
        if name not in ACTS:
            raise NotPossible("unknown_act", 404)
        body = await _body(request)
        return JSONResponse(await act(_person(slack, body.get("as", "")), name, body))

    async def world(request: Request) -> Response:
        if request.method == "POST":
            body = await _body(request)
            strip.do(str(body.get("do")), float(body.get("speed", 1)))
        return JSONResponse(strip.as_json())

    async def file(request: Request) -> Response:
        found = slack.files.get(request.path_params["id"])
        if found is None or found.content is None:
            raise NotPossible("file_not_found", 404)
        if request.query_params.get("as") == "tree":
            return JSONResponse(tree(found.content.decode("utf-8", "replace"), document=True))
        html = found.name.lower().endswith((".html", ".htm"))
        kind = "text/html" if html else found.mimetype
        headers = {"Content-Security-Policy": FILE_POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(found.content, media_type=kind, headers=headers)

    return [
        Route("/", page),
        Route("/api/about", about),
        Route("/api/state", _answered(state)),
        Route("/api/stream", _answered(live)),
        Route("/api/world", _answered(world), methods=["GET", "POST"]),
        Route("/api/file/{id}", _answered(file)),
        Route("/api/{act}", _answered(acting), methods=["POST"]),
        Mount("/static", _Static(directory=STATIC)),
    ]


def _answered(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with what a person cannot do as `{"error": word}`."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NotPossible as error:
            return JSONResponse({"error": error.key}, error.status)
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": "bad_request", "detail": str(error)}, 400)

    return answer


def _person(slack: Slack, handle: object) -> Person:
    """Somebody of the company; the bot and Slackbot act by themselves."""
    for each in slack.company.people:
        if each.handle == handle:
            return Person(slack, each.slack)
    raise NotPossible("unknown_person", 404)


async def _body(request: Request) -> JSON:
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if foreign or request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise NotPossible("not_from_this_page", 403)
    body: Any = json.loads(await request.body())
    if not isinstance(body, dict):
        raise ValueError("the body is no object")
    return body


class _Static(StaticFiles):
    def file_response(self, *given: Any, **more: Any) -> Response:
        response = super().file_response(*given, **more)
        response.headers.update(FRESH)
        return response
