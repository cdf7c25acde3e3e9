"""The Web API: one request in, the method found, its answer or Slack's word for the refusal out.

https://docs.slack.dev/apis/web-api
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.faults import Faults
from sandbox.slack import (
    methods_bookmarks,
    methods_channels,
    methods_chat,
    methods_conversations,
    methods_files,
    methods_users,
    methods_views,
)
from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.errors import SlackError
from sandbox.slack.state import JSON, Call

Method = Callable[[Slack, Arguments], JSON]

METHODS: dict[str, Method] = {
    **methods_users.METHODS,
    **methods_conversations.METHODS,
    **methods_channels.METHODS,
    **methods_chat.METHODS,
    **methods_bookmarks.METHODS,
    **methods_files.METHODS,
    **methods_views.METHODS,
}
APP_LEVEL = {"apps.connections.open"}
PUBLIC = {"api.test"}


class WebAPI:
    def __init__(self, slack: Slack, faults: Faults) -> None:
        self._slack = slack
        self._faults = faults

    async def __call__(self, request: Request) -> Response:
        method = request.path_params["method"]
        arguments = Arguments({})
        status, headers = 200, {}
        try:
            arguments = Arguments(await _arguments(request))
            answer = self.call(method, arguments, request.headers.get("authorization", ""))
        except SlackError as error:
            answer, status = error.as_json(), error.status
            if error.retry_after:
                headers["Retry-After"] = str(error.retry_after)
        if self._slack.scopes and method not in APP_LEVEL:
            headers["X-OAuth-Scopes"] = ",".join(sorted(self._slack.scopes))
        call = Call(method, arguments.recorded(), request.method, self._slack.now(), answer, status)
        self._slack.record(call)
        return JSONResponse(answer, status, headers=headers)

    def call(self, method: str, arguments: Arguments, authorization: str) -> JSON:
        """Check the token and carry the method out. SlackError for everything that Slack refuses."""
        if method not in METHODS:
            raise SlackError("unknown_method", req_method=method)
        if method not in PUBLIC:
            self._authenticate(method, arguments, authorization)
        if method == "chat.postMessage":
            self._limit(arguments)
        return {"ok": True, **METHODS[method](self._slack, arguments)}

    def _authenticate(self, method: str, arguments: Arguments, authorization: str) -> None:
        token = authorization.removeprefix("Bearer ").strip() or arguments.text("token")
        credentials = self._slack.credentials
        if not token:
            raise SlackError("not_authed")
        if token not in (credentials.bot_token, credentials.app_token):
            raise SlackError("invalid_auth")
        if (token == credentials.app_token) != (method in APP_LEVEL):
            raise SlackError("not_allowed_token_type")

    def _limit(self, arguments: Arguments) -> None:
        """Slack takes about one message a second in each channel."""
        interval = self._faults.channel_interval()
        if not interval:
            return
        channel = self._slack.channel(arguments.required("channel"))
        wait = channel.last_post + interval - self._slack.now()
        if wait > 0:
            raise SlackError("ratelimited", status=429, retry_after=max(1, round(wait)))
        channel.last_post = self._slack.now()


async def _arguments(request: Request) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(request.query_params)
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("application/json"):
        try:
            body = json.loads(await request.body() or b"{}")
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        return arguments | body
    if content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        async with request.form() as form:
            arguments |= {name: value for name, value in form.items() if isinstance(value, str)}
    return arguments
