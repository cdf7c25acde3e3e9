"""How payloads reach the bot: signed HTTP requests, or envelopes of a Socket Mode connection when one is open.

https://docs.slack.dev/authentication/verifying-requests-from-slack
https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

import aiohttp
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.deadline import deadline
from sandbox.slack.state import JSON, Workspace

ACK_SECONDS = 3.0
ENVELOPES = {"command": "slash_commands", "interactive": "interactive", "event": "events_api"}
Kind = Literal["command", "interactive", "event"]


@dataclass(frozen=True)
class Forgery:
    """How a request differs from a genuine one: what the bot must reject."""

    unsigned: bool = False
    signing_secret: str | None = None
    age: float = 0.0  # seconds before now that the timestamp claims
    team_id: str | None = None
    app_id: str | None = None

    def apply(self, payload: JSON) -> JSON:
        payload = dict(payload)
        if self.team_id:
            payload["team_id"] = self.team_id
            if isinstance(payload.get("team"), dict):
                payload["team"] = payload["team"] | {"id": self.team_id}
            if isinstance(payload.get("user"), dict):
                payload["user"] = payload["user"] | {"team_id": self.team_id}
        if self.app_id:
            payload["api_app_id"] = self.app_id
        return payload


HONEST = Forgery()


@dataclass(frozen=True)
class Answer:
    """The bot's response. `error` is what the person is shown: operation_timeout, dispatch_failed."""

    status: int | None
    body: str
    milliseconds: float
    error: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.error is None

    def json(self) -> JSON | None:
        """Return the body as a JSON object, None when it is not one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


@dataclass
class Delivery:
    """One request to the bot, with the answer to each attempt."""

    kind: Kind
    payload: JSON
    body: bytes
    headers: dict[str, str]
    at: float
    answers: list[Answer] = field(default_factory=list)

    def as_json(self) -> JSON:
        return {
            "kind": self.kind,
            "type": self.payload.get("command") or self.payload.get("event", self.payload).get("type"),
            "at": self.at,
            "answers": [[a.status, a.error, round(a.milliseconds, 1)] for a in self.answers],
        }


class Deliveries:
    """Sends payloads. `retry_delays` are the seconds before an event is sent again: Slack's are 0, 60 and 300."""

    def __init__(
        self, workspace: Workspace, sockets: SocketMode, retry_delays: tuple[float, ...] = (0.1, 2.0, 10.0)
    ) -> None:
        self._workspace = workspace
        self._sockets = sockets
        self.retry_delays = retry_delays
        self.log: list[Delivery] = []
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def command(self, form: JSON, forgery: Forgery = HONEST) -> Delivery:
        form = forgery.apply(form)
        return await self._send("command", form, urlencode(form).encode(), forgery)

    async def interactive(self, payload: JSON, forgery: Forgery = HONEST) -> Delivery:
        payload = forgery.apply(payload)
        return await self._send("interactive", payload, urlencode({"payload": json.dumps(payload)}).encode(), forgery)

    def event(self, payload: JSON, forgery: Forgery = HONEST) -> None:
        """Send in the background, with retries until it is acknowledged."""
        if self._workspace.bot_url is None and not self._sockets.expected:
            return
        task = asyncio.create_task(self._event(forgery.apply(payload), forgery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def verify_url(self, challenge: str = "sandbox-challenge") -> Answer:
        """Do the handshake of a new request URL: the bot must return the challenge."""
        payload = {
            "token": self._workspace.credentials.verification_token,
            "challenge": challenge,
            "type": "url_verification",
        }
        return (await self._send("event", payload, json.dumps(payload).encode(), HONEST)).answers[-1]

    async def redeliver(self, delivery: Delivery, *, retry: int | None = None, to: str | None = None) -> Answer:
        """Send the same bytes again; `retry` adds the headers of the n-th attempt.

        `to` is the URL of another replica of the bot.
        """
        headers = dict(delivery.headers)
        if retry is not None:
            headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": "http_timeout"}
        return await self._attempt(delivery, headers, retry or 0, to)

    async def settled(self, timeout: float = 10.0) -> None:
        """Wait until no event is being sent. Raises TimeoutError after `timeout` seconds."""
        async with deadline(timeout):
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session:
            await self._session.close()
            self._session = None

    async def _event(self, payload: JSON, forgery: Forgery) -> None:
        delivery = await self._send("event", payload, json.dumps(payload).encode(), forgery)
        for number, delay in enumerate(self.retry_delays, start=1):
            last = delivery.answers[-1]
            if last.ok or last.headers.get("X-Slack-No-Retry") == "1":
                return
            await asyncio.sleep(delay)
            reason = "http_timeout" if last.error == "operation_timeout" else "http_error"
            if last.status is None and reason == "http_error":
                reason = "connection_failed"
            headers = self._headers(delivery.body, delivery.headers["Content-Type"], forgery)
            headers |= {"X-Slack-Retry-Num": str(number), "X-Slack-Retry-Reason": reason}
            await self._attempt(delivery, headers, number)

    async def _send(self, kind: Kind, payload: JSON, body: bytes, forgery: Forgery) -> Delivery:
        content_type = "application/json" if kind == "event" else "application/x-www-form-urlencoded"
        delivery = Delivery(kind, payload, body, self._headers(body, content_type, forgery), self._workspace.now())
        self.log.append(delivery)
        await self._attempt(delivery, delivery.headers, 0)
        return delivery

    def _headers(self, body: bytes, content_type: str, forgery: Forgery) -> dict[str, str]:
        headers = {"Content-Type": content_type, "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)"}
        if forgery.unsigned:
            return headers
        timestamp = str(int(self._workspace.now() - forgery.age))
        secret = forgery.signing_secret or self._workspace.credentials.signing_secret
        signature = sign(secret, timestamp, body)
        return headers | {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}

    async def _attempt(self, delivery: Delivery, headers: dict[str, str], number: int, to: str | None = None) -> Answer:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ACK_SECONDS):
                if self._sockets.open and to is None:
                    body = await self._sockets.deliver(delivery.kind, delivery.payload, number)
                    answer = Answer(200, body, 0.0)
                else:
                    answer = await self._post(to or self._workspace.bot_url, delivery.body, headers)
        except TimeoutError:
            answer = Answer(None, "", 0.0, "operation_timeout")
        except (aiohttp.ClientError, ConnectionError):
            answer = Answer(None, "", 0.0, "dispatch_failed")
        milliseconds = (time.perf_counter() - started) * 1000
        answer = Answer(answer.status, answer.body, milliseconds, answer.error, answer.headers)
        delivery.answers.append(answer)
        self._workspace.changed()
        return answer

    async def _post(self, bot_url: str | None, body: bytes, headers: dict[str, str]) -> Answer:
        if bot_url is None:
            raise ConnectionError("no bot is connected")
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2))
        async with self._session.post(
            f"{bot_url}/slack/events", data=body, headers=headers, allow_redirects=False
        ) as response:
            text = await response.text(errors="replace")
            error = None if 200 <= response.status < 300 else "dispatch_failed"
            return Answer(response.status, text, 0.0, error, dict(response.headers))


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return Slack's v0 signature of a request."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


class SocketMode:
    """Socket Mode: the open connections; deliveries go to them in turn."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._tickets: set[str] = set()
        self._acks: dict[str, tuple[WebSocket, asyncio.Future[JSON]]] = {}
        self.open: list[WebSocket] = []
        self._leaving: list[WebSocket] = []
        self._next = 0
        self.expected = False  # the bot asked for a connection: events wait for it, even while it is away

    def ticket(self) -> str:
        """Return a websocket URL that may be used once (`apps.connections.open`)."""
        self.expected = True
        ticket = secrets.token_hex(16)
        self._tickets.add(ticket)
        address = self._workspace.base_url.replace("http", "ws", 1)
        return f"{address}/link/?ticket={ticket}&app_id={self._workspace.company.workspace.app_id}"

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection, from its hello to its end."""
        ticket = websocket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await websocket.close(1008)
            return
        self._tickets.discard(ticket)
        await websocket.accept()
        self.open.append(websocket)
        try:
            await websocket.send_json(self._hello())
            self._workspace.changed()
            while True:
                self._handle_ack(await websocket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            self._remove(websocket)

    async def deliver(self, kind: str, payload: JSON, attempt: int) -> str:
        """Send one envelope, wait for its ack and return the ack's payload as JSON, empty when it has none.

        `kind` is `command`, `interactive` or `event`; the deadline is the caller's. Raises ConnectionError when the
        connection ends before the ack.
        """
        envelope: JSON = {
            "envelope_id": str(uuid.uuid4()),
            "payload": payload,
            "type": ENVELOPES[kind],
            "accepts_response_payload": kind != "event",
        }
        if kind == "event":
            envelope |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
        self._next += 1
        websocket = self.open[self._next % len(self.open)]
        ack: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        self._acks[envelope["envelope_id"]] = websocket, ack
        try:
            await websocket.send_json(envelope)
            answer = (await ack).get("payload")
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionError("the socket is closed") from error
        finally:
            del self._acks[envelope["envelope_id"]]
        return json.dumps(answer) if answer else ""

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Ask every connection to close, as Slack does every few hours: it gets nothing more.

        After a `warning` it still gets envelopes for a while.
        """
        for websocket in tuple(self.open):
            await websocket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "sandbox"}})
            if reason != "warning":
                self.open.remove(websocket)
                self._leaving.append(websocket)
        self._workspace.changed()

    async def cut(self) -> None:
        """Close every connection without a disconnect message."""
        for websocket in (*self.open, *self._leaving):
            self._remove(websocket)
            with contextlib.suppress(RuntimeError):
                await websocket.close()

    aclose = cut

    def _remove(self, websocket: WebSocket) -> None:
        for connections in (self.open, self._leaving):
            if websocket in connections:
                connections.remove(websocket)
        for owner, ack in self._acks.values():
            if owner is websocket and not ack.done():
                ack.set_exception(ConnectionError("the socket was closed before the ack"))
        self._workspace.changed()

    def _handle_ack(self, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            return
        _, ack = self._acks.get(message.get("envelope_id", ""), (None, None))
        if ack and not ack.done():
            ack.set_result(message)

    def _hello(self) -> JSON:
        return {
            "type": "hello",
            "num_connections": len(self.open),
            "debug_info": {"host": "sandbox", "build_number": 1, "approximate_connection_time": 18060},
            "connection_info": {"app_id": self._workspace.company.workspace.app_id},
        }
