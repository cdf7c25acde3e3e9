"""Slack over HTTP: the Web API, uploads, files, response URLs, Socket Mode, and the sandbox's own `/state`.

The methods of users, user groups, the bot and the app are here. https://docs.slack.dev/apis/web-api
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from sandbox.faults import Faults
from sandbox.slack.backend import Slack
from sandbox.slack.conversations_api import CONVERSATIONS
from sandbox.slack.endpoint import Arguments, Method
from sandbox.slack.messages_api import MESSAGES, receive_upload
from sandbox.slack.shapes import (
    bot_profile,
    channel_json,
    file_json,
    message_json,
    permalink_base,
    user_json,
    usergroup_json,
    view_json,
)
from sandbox.slack.state import JSON, Call, Channel, SlackError

APP_LEVEL = {"apps.connections.open"}
PUBLIC = {"api.test"}
MINUTE = 60.0


def routes(slack: Slack, faults: Faults) -> list[BaseRoute]:
    """Return the routes: `/api/METHOD`, `/upload/…`, `/files-pri/…`, the response URLs, `/link/`, `/state`."""
    web_api = WebAPI(slack, faults)

    async def upload(request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form() as form:
                body = b"".join([await part.read() for part in form.values() if not isinstance(part, str)])
        try:
            file = receive_upload(slack, request.path_params["token"], body)
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
        return JSONResponse(_state_json(slack))

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


def _state_json(slack: Slack) -> JSON:
    def channel_state(channel: Channel) -> JSON:
        messages = [
            message_json(slack, message) | {"ephemeral_to": message.ephemeral_to}
            for message in channel.messages.values()
        ]
        return channel_json(slack, channel) | {
            "members": list(channel.members),
            "pins": list(channel.pins),
            "bookmarks": [{"title": mark.title, "link": mark.link} for mark in channel.bookmarks],
            "messages": messages,
        }

    return {
        "channels": [channel_state(channel) for channel in slack.channels.values()],
        "files": [file_json(slack, file) for file in slack.files.values()],
        "views": [view_json(slack, view) | {"user": view.user} for view in slack.views()],
        "calls": dict(Counter(call.method for call in slack.calls)),
        "failed_calls": dict(Counter(f"{c.method} {c.answer['error']}" for c in slack.calls if not c.ok)),
        "deliveries": [delivery.as_json() for delivery in slack.deliveries.log],
    }


class WebAPI:
    """Dispatches a request to its method and records the call."""

    def __init__(self, slack: Slack, faults: Faults) -> None:
        self._slack = slack
        self._faults = faults
        self._recent: dict[str, list[float]] = {}  # when each method with a quota was called

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
        call = Call(method, arguments.recorded(), self._slack.now(), answer, status)
        self._slack.record(call)
        return JSONResponse(answer, status, headers=headers)

    def call(self, method: str, arguments: Arguments, authorization: str) -> JSON:
        """Check the token and call the method. Raises SlackError for everything that Slack refuses."""
        if method not in METHODS:
            raise SlackError("unknown_method", req_method=method)
        if method not in PUBLIC:
            self._authenticate(method, arguments, authorization)
        self._take_from_quota(method)
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

    def _take_from_quota(self, method: str) -> None:
        """Apply a quota of calls in a minute: https://docs.slack.dev/apis/web-api/rate-limits"""
        quota, now = self._slack.quotas.get(method), time.monotonic()
        if quota is None:
            return
        recent = [at for at in self._recent.get(method, []) if now - at < MINUTE]
        if len(recent) >= quota:
            wait = max(1, math.ceil(recent[0] + MINUTE - now))
            raise SlackError("ratelimited", status=429, retry_after=wait)
        self._recent[method] = [*recent, now]

    def _limit(self, arguments: Arguments) -> None:
        """Apply Slack's limit of about one message a second in each channel."""
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


# Users, user groups, the bot and the app.


def api_test(_slack: Slack, arguments: Arguments) -> JSON:
    if "error" in arguments:
        raise SlackError(arguments.text("error"), args=arguments.recorded())
    return {"args": arguments.recorded()}


def auth_test(slack: Slack, _arguments: Arguments) -> JSON:
    workspace = slack.company.workspace
    return {
        "url": f"{permalink_base(slack)}/",
        "team": workspace.name,
        "user": workspace.bot_name,
        "team_id": workspace.team_id,
        "user_id": workspace.bot_user_id,
        "bot_id": workspace.bot_id,
        "is_enterprise_install": False,
    }


def open_connection(slack: Slack, _arguments: Arguments) -> JSON:
    return {"url": slack.sockets.ticket()}


def get_bot(slack: Slack, arguments: Arguments) -> JSON:
    workspace = slack.company.workspace
    if arguments.text("bot", workspace.bot_id) != workspace.bot_id:
        raise SlackError("bot_not_found")
    profile = bot_profile(slack)
    del profile["team_id"]
    return {"bot": profile | {"user_id": workspace.bot_user_id}}


def get_user(slack: Slack, arguments: Arguments) -> JSON:
    user = slack.users.get(arguments.text("user"))
    if user is None:
        raise SlackError("user_not_found")
    return {"user": user_json(slack, user, locale=arguments.boolean("include_locale"))}


def list_users(slack: Slack, arguments: Arguments) -> JSON:
    locale = arguments.boolean("include_locale")
    return {
        "members": [user_json(slack, user, locale=locale) for user in slack.users.values()],
        "cache_ts": int(slack.now()),
        "response_metadata": {"next_cursor": ""},
    }


def find_user_by_email(slack: Slack, arguments: Arguments) -> JSON:
    email = arguments.text("email").lower()
    for user in slack.users.values():
        if email and user.email == email:
            return {"user": user_json(slack, user)}
    raise SlackError("users_not_found")


def list_usergroups(slack: Slack, arguments: Arguments) -> JSON:
    users = arguments.boolean("include_users")
    return {"usergroups": [usergroup_json(slack, group, users=users) for group in slack.usergroups.values()]}


def list_usergroup_users(slack: Slack, arguments: Arguments) -> JSON:
    group = slack.usergroups.get(arguments.required("usergroup"))
    if group is None:
        raise SlackError("no_such_subteam")
    return {"users": list(group.users)}


METHODS: dict[str, Method] = {
    "api.test": api_test,
    "apps.connections.open": open_connection,
    "auth.test": auth_test,
    "bots.info": get_bot,
    "usergroups.list": list_usergroups,
    "usergroups.users.list": list_usergroup_users,
    "users.info": get_user,
    "users.list": list_users,
    "users.lookupByEmail": find_user_by_email,
    **CONVERSATIONS,
    **MESSAGES,
}
