"""The sandbox's Slack over real HTTP, with Slack's own client, and a small Bolt app as the bot that it talks to."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.server import Sandbox, serving
from sandbox.slack.backend import Slack
from sandbox.slack.person import Person


@dataclass
class Workspace:
    sandbox: Sandbox
    url: str
    client: AsyncWebClient

    @property
    def slack(self) -> Slack:
        return self.sandbox.slack

    @property
    def ana(self) -> Person:
        return Person(self.slack, "ana")

    @property
    def bruno(self) -> Person:
        return Person(self.slack, "bruno")

    async def refused(self, method: str, **arguments: Any) -> str:
        """Slack's word for the refusal of a call that must fail."""
        try:
            answer = await self.client.api_call(method, json=arguments)
        except SlackApiError as error:
            return str(error.response.get("error"))
        raise AssertionError(f"{method} was accepted: {answer.data!r}")

    async def channel(self, name: str = "inc-2026-0001") -> str:
        """The id of a new channel of the bot."""
        return str((await self.client.conversations_create(name=name))["channel"]["id"])


@contextlib.asynccontextmanager
async def workspace() -> AsyncIterator[Workspace]:
    sandbox = Sandbox()
    async with sandbox.serving() as url:
        client = AsyncWebClient(token=sandbox.slack.credentials.bot_token, base_url=f"{url}/slack/api/")
        yield Workspace(sandbox, url, client)


@dataclass
class Requests:
    """What came to the bot over HTTP, before Bolt looked at it."""

    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def bot(place: Workspace, register: Callable[[AsyncApp], object]) -> AsyncIterator[Requests]:
    """Serve a Bolt app with these listeners, and make it the bot of the workspace."""
    app = bolt_app(place)
    register(app)
    handler = AsyncSlackRequestHandler(app)
    came = Requests()

    async def events(request: Request) -> Response:
        came.bodies.append(await request.body())
        came.headers.append(dict(request.headers))
        return await handler.handle(request)

    async with serving(Starlette(routes=[Route("/slack/events", events, methods=["POST"])])) as url:
        place.slack.bot_url = url
        try:
            yield came
        finally:
            place.slack.bot_url = None


def bolt_app(place: Workspace) -> AsyncApp:
    return AsyncApp(client=place.client, signing_secret=place.slack.credentials.signing_secret)
