"""The HTTP server: Slack's events, webhooks, health and figures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp, AsyncBoltContext, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bot.domain.errors import BadInput, BotError, Unavailable
from bot.integrations.slack import Identity, Slack
from bot.services.bot import Bot
from bot.settings import Settings
from bot.store.deliveries import Delivery
from bot.tasks import cancel_and_wait
from handlers.body import read_body, refused, reject_nul
from handlers.health import Health
from handlers.slack import register
from handlers.slack.dispatcher import SOURCE as SLACK
from handlers.slack.dispatcher import SlackDispatcher
from handlers.slack.payloads import validate_payload
from handlers.webhooks import Webhooks

log = logging.getLogger(__name__)

# What Bolt's reading of a body raises, and ours.
_MALFORMED = (BadInput, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
INTRODUCTION = 1.0  # seconds
RECOVERY_INTERVAL_SECONDS = 2.0
CLAIM_TIMEOUT = timedelta(seconds=8)  # four signs of life
MAX_RECOVERY_PAUSE = 30.0


class Server:
    """Everything that listens, around one bot."""

    def __init__(self, bot: Bot, settings: Settings) -> None:
        self._bot = bot
        self.slack_app = _slack_app(bot, settings)
        self._dispatcher: SlackDispatcher = register(self.slack_app, bot)
        self._webhooks = Webhooks(bot, settings)

    def routes(self) -> list[BaseRoute]:
        health = Health(self._bot)
        return [
            Route("/slack/events", self._slack, methods=["POST"]),
            *self._webhooks.routes(),
            Route("/healthz", health.livez),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
        ]

    def app(self) -> Starlette:
        return Starlette(routes=self.routes())

    @asynccontextmanager
    async def recovering_deliveries(self) -> AsyncIterator[None]:
        """Handle what an earlier process accepted and did not finish; let go in order at the end."""
        attendant = asyncio.create_task(self._recovery_loop(), name="inbox")
        try:
            yield
        finally:
            await cancel_and_wait([attendant])
            await self._dispatcher.drain()
            await self._webhooks.drain()

    @asynccontextmanager
    async def socket_mode(self, settings: Settings) -> AsyncIterator[None]:
        """Slack over a websocket that we open, where SLACK_APP_TOKEN is set; the same listeners as over HTTP."""
        if settings.slack_app_token is None:
            yield
            return
        socket = AsyncSocketModeHandler(self.slack_app, settings.slack_app_token.get_secret_value())
        connecting = asyncio.create_task(_connected(socket), name="socket mode")
        try:
            yield
        finally:
            await cancel_and_wait([connecting])
            await socket.close_async()  # type: ignore[no-untyped-call]

    async def _slack(self, request: Request) -> Response:
        body = await read_body(request)
        stamp, mark = (request.headers.get(f"x-slack-{name}", "") for name in ("request-timestamp", "signature"))
        if not (stamp.isdecimal() and mark.isascii()):  # which Bolt's own check would stumble over
            return refused("Slack", 401, "no signature")
        try:
            bolt = AsyncBoltRequest(body=body.decode("utf-8"), headers=dict(request.headers))
            reject_nul(bolt.body)
            validate_payload(bolt.body)
        except _MALFORMED as problem:
            return refused("Slack", 400, str(problem)[:200])
        answer = await self.slack_app.async_dispatch(bolt)
        return Response(answer.body, answer.status, answer.first_headers_without_set_cookie())

    async def _recovery_loop(self) -> None:
        # On SQLite there is no other process: whatever another owner accepted was left behind.
        clock, deliveries = self._bot.deps.clock, self._bot.deps.store.deliveries
        wait = timedelta() if self._bot.deps.store.database.is_sqlite else CLAIM_TIMEOUT * clock.speed
        while True:
            try:
                now = clock.now()
                await deliveries.heartbeat(now)
                for delivery in await deliveries.claim_stale(now, older_than=wait):
                    await self._redeliver(delivery)
            except Unavailable as problem:
                log.warning("the inbox cannot be read: %s", problem)
            except Exception:
                log.exception("the inbox broke; it goes on in %s s", RECOVERY_INTERVAL_SECONDS)
            await asyncio.sleep(RECOVERY_INTERVAL_SECONDS)

    async def _redeliver(self, delivery: Delivery) -> None:
        log.info("handling %s again", delivery.key)
        if delivery.source != SLACK:
            self._webhooks.start(delivery)
            return
        # It was verified when it was accepted; Bolt checks no signature of what comes this way.
        again = AsyncBoltRequest(body=json.loads(delivery.body), mode="socket_mode", context={"replayed": True})
        await self.slack_app.async_dispatch(again)


async def _connected(socket: AsyncSocketModeHandler) -> None:
    """Open the websocket, however long Slack is away; once open, the client keeps it so by itself."""
    for attempt in itertools.count():
        try:
            await socket.connect_async()  # type: ignore[no-untyped-call]
            return
        except Exception as problem:  # whatever its client raises, there is nothing else to do about it
            log.warning("Socket Mode is not connected yet: %s", type(problem).__name__)
            await asyncio.sleep(min(2.0**attempt, MAX_RECOVERY_PAUSE))


def _slack_app(bot: Bot, settings: Settings) -> AsyncApp:
    slack = bot.deps.slack

    async def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        # Bolt's own asks Slack before the acknowledgement, which must not wait for Slack.
        return AuthorizeResult(
            enterprise_id=enterprise_id, team_id=team_id, bot_token=settings.slack_bot_token.get_secret_value()
        )

    with _without_warnings("slack_bolt.AsyncApp"):  # that a token is not used, which is what `authorize` is for
        app = AsyncApp(
            name="tamv-bot",  # else Bolt reads the whole call stack to find one, for a quarter of a second
            client=slack.client,
            signing_secret=settings.slack_signing_secret.get_secret_value(),
            authorize=authorize,
            process_before_response=True,
        )

    @app.middleware
    async def ours(context: AsyncBoltContext, body: dict[str, Any], next) -> BoltResponse | None:  # type: ignore[no-untyped-def]
        who = slack.cached_identity or await _authorize(slack)
        team, app_id = context.team_id, body.get("api_app_id")
        if who and ((who.team_id and team and team != who.team_id) or (who.app_id and app_id and app_id != who.app_id)):
            log.warning("a request of another workspace or app was refused: %s, %s", team, app_id)
            return BoltResponse(status=403, body="another workspace or app")
        await next()
        return None

    return app


async def _authorize(slack: Slack) -> Identity | None:
    """Who we are, unless Slack takes too long to say so. It signed the request, so without that it is believed."""
    try:
        async with asyncio.timeout(INTRODUCTION):
            return await slack.identity()
    except (BotError, TimeoutError):
        return None


@contextlib.contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    def worse(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    logger = logging.getLogger(name)
    logger.addFilter(worse)
    try:
        yield
    finally:
        logger.removeFilter(worse)
