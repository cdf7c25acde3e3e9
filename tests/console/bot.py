"""The bot's part in the tests of the console: a small Bolt app that speaks with the sandbox's Slack."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncRespond
from slack_sdk.web.async_client import AsyncWebClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.server import Sandbox, serving
from tests.console.forms import CONFIRMED, FORM, HOME, SECOND

Body = dict[str, Any]


class Bot:
    """What it was sent is kept: `pressed` as (user, action_id, value), `submitted` as the state of the forms."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.pressed: list[tuple[str, str, Any]] = []
        self.submitted: list[dict[str, Any]] = []
        self.shortcuts: list[tuple[str, str, str | None]] = []
        self.closed: list[str] = []
        self.hold = asyncio.Event()  # `/incident slow` waits for it

    def app(self) -> AsyncApp:
        credentials = self.sandbox.slack.credentials
        client = AsyncWebClient(token=credentials.bot_token, base_url=f"{self.sandbox.slack.base_url}/api/")
        app = AsyncApp(client=client, signing_secret=credentials.signing_secret)
        app.command("/incident")(self._incident)
        app.action(re.compile(".*"))(self._acted)
        app.view("form")(self._form)
        app.view("second")(self._second)
        app.view_closed("form")(self._closed)
        app.shortcut(re.compile(".*"))(self._shortcut)
        app.event("app_home_opened")(self._home)
        app.event("message")(self._ignored)
        app.event("app_mention")(self._ignored)
        app.event("reaction_added")(self._ignored)
        app.event("member_joined_channel")(self._ignored)
        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Bot]:
        handler = AsyncSlackRequestHandler(self.app())

        async def events(request: Request) -> Response:
            return await handler.handle(request)

        async with serving(Starlette(routes=[Route("/slack/events", events, methods=["POST"])])) as url:
            self.sandbox.slack.bot_url = url
            yield self
            self.hold.set()
            self.sandbox.slack.bot_url = None

    async def _incident(self, ack: AsyncAck, body: Body, client: AsyncWebClient) -> None:
        if body["text"] == "form":
            await ack()
            await client.views_open(trigger_id=body["trigger_id"], view=FORM)
        elif body["text"] == "slow":
            await self.hold.wait()
            await ack()
        else:
            await ack(f"You said: {body['text']}")

    async def _acted(
        self, ack: AsyncAck, body: Body, action: Body, respond: AsyncRespond, client: AsyncWebClient
    ) -> None:
        await ack()
        value = action.get("value") or action.get("selected_option", {}).get("value") or action.get("selected_user")
        self.pressed.append((body["user"]["username"], action["action_id"], value))
        if action["action_id"] == "approve":
            channel, ts = body["channel"]["id"], body["message"]["ts"]
            done = {"type": "section", "text": {"type": "mrkdwn", "text": f"Approved by <@{body['user']['id']}>"}}
            await client.chat_update(channel=channel, ts=ts, text="Approved", blocks=[CONFIRMED, done])

    async def _form(self, ack: AsyncAck, body: Body) -> None:
        values = body["view"]["state"]["values"]
        self.submitted.append(values)
        title = values["title"]["title"]["value"]
        if title == "wrong":
            await ack(response_action="errors", errors={"title": "This title is taken."})
        elif title == "more":
            await ack(response_action="push", view=SECOND)
        else:
            await ack()

    async def _second(self, ack: AsyncAck) -> None:
        await ack(response_action="clear")

    async def _closed(self, ack: AsyncAck, body: Body) -> None:
        self.closed.append(body["user"]["id"])
        await ack()

    async def _shortcut(self, ack: AsyncAck, body: Body, client: AsyncWebClient) -> None:
        await ack()
        self.shortcuts.append((body["user"]["username"], body["callback_id"], body.get("message", {}).get("ts")))
        await client.views_open(trigger_id=body["trigger_id"], view=FORM)

    async def _home(self, ack: AsyncAck, event: Body, client: AsyncWebClient) -> None:
        await ack()
        await client.views_publish(user_id=event["user"], view=HOME)

    async def _ignored(self, ack: AsyncAck) -> None:
        await ack()
