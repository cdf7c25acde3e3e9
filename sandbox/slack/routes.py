"""Slack's HTTP and websocket addresses, below `/slack`."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from sandbox.faults import Faults
from sandbox.slack.backend import Slack
from sandbox.slack.errors import SlackError
from sandbox.slack.methods_files import receive
from sandbox.slack.web_api import WebAPI


def routes(slack: Slack, faults: Faults) -> list[BaseRoute]:
    """`/api/METHOD`, `/upload/…`, `/files-pri/…`, the response URLs, `/link/` (Socket Mode) and `/state`."""
    web_api = WebAPI(slack, faults)

    async def upload(request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form() as form:
                body = b"".join([await part.read() for part in form.values() if not isinstance(part, str)])
        try:
            file = receive(slack, request.path_params["token"], body)
        except SlackError as error:
            return PlainTextResponse(error.code, 404)
        return PlainTextResponse(f"OK - {file.size}")

    async def content(request: Request) -> Response:
        file = slack.files.get(request.path_params["file"].rpartition("-")[2])
        if request.headers.get("authorization") != f"Bearer {slack.credentials.bot_token}":
            return Response(status_code=302, headers={"location": "https://slack.com/"})
        if file is None or file.content is None:
            return Response(status_code=404)
        return Response(file.content, media_type=file.mimetype)

    async def response_url(request: Request) -> Response:
        try:
            body: Any = json.loads(await request.body())
            if not isinstance(body, dict):
                raise SlackError("invalid_payload", status=400)
            slack.response_urls.post(request.path_params["token"], body)
        except ValueError:
            return PlainTextResponse("invalid_payload", 400)
        except SlackError as error:
            status = error.status if error.status != 200 else 400
            return JSONResponse(error.as_json(), status)
        return PlainTextResponse("ok")

    async def state(_request: Request) -> Response:
        return JSONResponse(slack.snapshot())

    return [
        Route("/api/{method}", web_api.__call__, methods=["GET", "POST"]),
        Route("/upload/v1/{token}", upload, methods=["POST", "PUT"]),
        Route("/files-pri/{file}/{name:path}", content),
        *[
            Route(f"/{kind}/{{team}}/{{token}}", response_url, methods=["POST"])
            for kind in ("commands", "actions", "app")
        ],
        Route("/state", state),
        WebSocketRoute("/link/", slack.sockets.serve),
    ]
