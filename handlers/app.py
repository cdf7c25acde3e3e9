"""The HTTP server: Slack, webhooks, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp, AsyncBoltContext, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bot.domain.errors import BadInput, BotError, Unavailable
from bot.integrations.slack import Identity, Slack
from bot.services.bot import Bot
from bot.settings import Settings
from bot.store.deliveries import Delivery
from bot.tasks import answering, cancel_and_wait
from handlers.body import read_body, refused, reject_nul
from handlers.health import Health
from handlers.slack import register
from handlers.slack.dispatcher import SOURCE as SLACK
from handlers.slack.dispatcher import SlackDispatcher
from handlers.slack.payloads import validate_payload
from handlers.status_page import StatusPageHandler
from handlers.webhooks import Webhooks

log = logging.getLogger(__name__)

# What Bolt's and our own parsing of a body raise.
_MALFORMED = (BadInput, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
_TIMESTAMP = re.compile(r"\d{1,11}", re.ASCII)  # seconds since 1970
IDENTITY_TIMEOUT_SECONDS = 1.0
RECOVERY_INTERVAL_SECONDS = 2.0
CLAIM_TIMEOUT = timedelta(seconds=8)  # four heartbeats
MAX_RECOVERY_PAUSE = 30.0


class Server:
    """The HTTP server and Socket Mode of one bot."""

    def __init__(self, bot: Bot, settings: Settings) -> None:
        self._bot = bot
        self.slack_app = _slack_app(bot, settings)
        self._dispatcher: SlackDispatcher = register(self.slack_app, bot)
        self._webhooks = Webhooks(bot, settings)
        self._signatures = SignatureVerifier(settings.slack_signing_secret.get_secret_value())
        self._uses_socket_mode = settings.slack_app_token is not None
        self._socket: AsyncSocketModeHandler | None = None

    def routes(self) -> list[BaseRoute]:
        health = Health(self._bot, self._socket_is_open if self._uses_socket_mode else None)
        return [
            Route("/slack/events", self._slack, methods=["POST"]),
            *self._webhooks.routes(),
            Route("/status", StatusPageHandler(self._bot).show),
            Route("/healthz", health.livez),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
        ]

    def app(self) -> Starlette:
        return Starlette(routes=self.routes())

    @asynccontextmanager
    async def recovering_deliveries(self) -> AsyncIterator[None]:
        """Handle deliveries that an earlier process accepted and did not finish; drain running handlers on exit."""
        recovery = asyncio.create_task(self._recovery_loop(), name="inbox")
        try:
            yield
        finally:
            await cancel_and_wait([recovery])
            await self._dispatcher.drain()
            await self._webhooks.drain()

    @asynccontextmanager
    async def socket_mode(self, settings: Settings) -> AsyncIterator[None]:
        """Receive Slack's requests over a websocket if SLACK_APP_TOKEN is set; same listeners as over HTTP."""
        if settings.slack_app_token is None:
            yield
            return
        socket = _SocketMode(self.slack_app, settings.slack_app_token.get_secret_value())
        self._socket = socket
        connection = asyncio.create_task(_connect(socket), name="socket mode")
        try:
            yield
        finally:
            await cancel_and_wait([connection])
            await socket.close_async()  # type: ignore[no-untyped-call]

    async def _socket_is_open(self) -> bool:
        return self._socket is not None and bool(await self._socket.client.is_connected())

    async def _slack(self, request: Request) -> Response:
        try:
            body = await read_body(request)
        except HTTPException as problem:
            return refused("Slack", problem.status_code, problem.detail, problem.headers)
        timestamp, signature = (
            request.headers.get(f"x-slack-{name}", "") for name in ("request-timestamp", "signature")
        )
        if not (_TIMESTAMP.fullmatch(timestamp) and signature.isascii()):
            return refused("Slack", 401, "no signature")
        # Here and not by Bolt, which logs the body of what it refuses.
        if not self._signatures.is_valid(body, timestamp, signature):
            return refused("Slack", 401, "wrong or old signature")
        try:
            bolt = AsyncBoltRequest(body=body.decode("utf-8"), headers=dict(request.headers))
            reject_nul(bolt.body)
            validate_payload(bolt.body)
        except _MALFORMED as problem:
            return refused("Slack", 400, _reason(problem))
        response = await self.slack_app.async_dispatch(bolt)
        return Response(response.body, response.status, response.first_headers_without_set_cookie())

    async def _recovery_loop(self) -> None:
        # On SQLite there is no other process: deliveries of another owner are abandoned.
        clock, deliveries = self._bot.deps.clock, self._bot.deps.store.deliveries
        wait = timedelta() if self._bot.deps.store.database.is_sqlite else CLAIM_TIMEOUT * clock.speed
        while True:
            try:
                now = clock.now()
                await deliveries.heartbeat(now)
                for delivery in await deliveries.claim_stale(now, older_than=wait):
                    await self._redeliver(delivery)
            except Unavailable as problem:
                log.warning("cannot read the inbox: %s", problem)
            except Exception:
                log.exception("recovering deliveries failed; next attempt in %s s", RECOVERY_INTERVAL_SECONDS)
            await asyncio.sleep(RECOVERY_INTERVAL_SECONDS)

    async def _redeliver(self, delivery: Delivery) -> None:
        log.info("handling delivery %s again", delivery.key)
        if delivery.source != SLACK:
            self._webhooks.start(delivery)
            return
        # The signature was verified when it was accepted; Bolt checks none in this mode.
        request = AsyncBoltRequest(body=json.loads(delivery.body), mode="socket_mode", context={"replayed": True})
        await self.slack_app.async_dispatch(request)


class _SocketMode(AsyncSocketModeHandler):
    """Socket Mode with the checks of the HTTP endpoint."""

    async def handle(self, client: AsyncBaseSocketModeClient, req: SocketModeRequest) -> None:
        try:
            reject_nul(req.payload)
            validate_payload(req.payload)
            with answering():
                await super().handle(client, req)  # type: ignore[arg-type]  # Bolt names the narrower class
        except _MALFORMED as problem:
            refused("Slack's Socket Mode", 400, _reason(problem))
            await client.send_socket_mode_response(SocketModeResponse(req.envelope_id))  # else Slack sends it again


def _reason(problem: Exception) -> str:
    """Return what is wrong with a payload, without anything of the payload."""
    return str(problem) if isinstance(problem, BadInput) else type(problem).__name__


async def _connect(socket: AsyncSocketModeHandler) -> None:
    """Open the websocket, retrying while Slack is down; afterwards the client keeps it open."""
    for attempt in itertools.count():
        try:
            await socket.connect_async()  # type: ignore[no-untyped-call]
            return
        except Exception as problem:  # the client raises many kinds; all are retried
            log.warning("Socket Mode is not connected yet: %s", type(problem).__name__)
            await asyncio.sleep(min(2.0**attempt, MAX_RECOVERY_PAUSE))


def _slack_app(bot: Bot, settings: Settings) -> AsyncApp:
    slack = bot.deps.slack

    async def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        # Bolt's default would call Slack before the acknowledgement.
        return AuthorizeResult(
            enterprise_id=enterprise_id, team_id=team_id, bot_token=settings.slack_bot_token.get_secret_value()
        )

    with _without_warnings("slack_bolt.AsyncApp"):  # it warns that a token is unused: `authorize` provides it
        app = AsyncApp(
            name="tamv-bot",  # else Bolt reads the whole call stack to find one, for a quarter of a second
            client=slack.client,
            signing_secret=settings.slack_signing_secret.get_secret_value(),
            authorize=authorize,
            process_before_response=True,
            request_verification_enabled=False,  # done before Bolt sees a request
            raise_error_for_unhandled_request=True,  # else Bolt logs a page of advice, with parts of the request
        )

    @app.error
    async def on_error(error: Exception) -> BoltResponse:
        """Refuse what Bolt itself cannot read, and never log its body."""
        if isinstance(error, BoltUnhandledRequestError):
            refused("Slack", 404, "nothing here handles it")
            return BoltResponse(status=404, body="nothing here handles it")
        if isinstance(error, _MALFORMED):
            refused("Slack", 400, _reason(error))
            return BoltResponse(status=400, body="not understood")
        log.error("a request of Slack failed unexpectedly", exc_info=error)
        return BoltResponse(status=500, body="failed")

    @app.middleware
    async def check_workspace(context: AsyncBoltContext, body: dict[str, Any], next) -> BoltResponse | None:  # type: ignore[no-untyped-def]
        identity = slack.cached_identity or await _own_identity(slack)
        teams, app_id = [context.team_id, _own_team(body)], body.get("api_app_id")
        if identity and (
            (identity.team_id and any(team and team != identity.team_id for team in teams))
            or (identity.app_id and app_id and app_id != identity.app_id)
        ):
            refused("Slack", 403, f"of another workspace or app: {teams}, {app_id}")
            return BoltResponse(status=403, body="another workspace or app")
        await next()
        return None

    return app


def _own_team(body: dict[str, Any]) -> str | None:
    """Return the workspace of who presses or sends: in a channel that is shared by Slack Connect it may be another one.

    Within an Enterprise Grid all are colleagues.
    """
    user = body.get("user")
    if body.get("enterprise") or not isinstance(user, dict):
        return None
    team = user.get("team_id")
    return team if isinstance(team, str) else None


async def _own_identity(slack: Slack) -> Identity | None:
    """Return the bot's identity, or None if Slack is slow. The request is signed, so it is trusted without it."""
    try:
        async with asyncio.timeout(IDENTITY_TIMEOUT_SECONDS):
            return await slack.identity()
    except (BotError, TimeoutError):
        return None


@contextlib.contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    logger = logging.getLogger(name)
    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)
