"""What Slack sends to the bot: signed HTTP requests, or envelopes of a Socket Mode connection when one is open.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

import aiohttp

from sandbox.slack.state import JSON

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

ACK_SECONDS = 3.0

Kind = Literal["command", "interactive", "event"]


@dataclass(frozen=True)
class Forgery:
    """How a request differs from one that Slack would send: what the bot must refuse."""

    unsigned: bool = False
    signing_secret: str | None = None
    age: float = 0.0  # seconds before now that the timestamp claims
    team_id: str | None = None
    app_id: str | None = None

    def applied(self, payload: JSON) -> JSON:
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
    """What the bot answered. `error` is what the person is shown: operation_timeout, dispatch_failed."""

    status: int | None
    body: str
    milliseconds: float
    error: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.error is None

    def json(self) -> JSON | None:
        """The body as a JSON object, None when it is not one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


@dataclass
class Delivery:
    """One request to the bot, with the answer to each time that it was sent."""

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
    """The sender. `retry_delays` are the seconds before an event is sent again: Slack's are 0, 60 and 300."""

    def __init__(self, slack: Slack, retry_delays: tuple[float, ...] = (0.1, 2.0, 10.0)) -> None:
        self._slack = slack
        self.retry_delays = retry_delays
        self.log: list[Delivery] = []
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def command(self, form: JSON, forgery: Forgery = HONEST) -> Delivery:
        form = forgery.applied(form)
        return await self._send("command", form, urlencode(form).encode(), forgery)

    async def interactive(self, payload: JSON, forgery: Forgery = HONEST) -> Delivery:
        payload = forgery.applied(payload)
        return await self._send("interactive", payload, urlencode({"payload": json.dumps(payload)}).encode(), forgery)

    def event(self, payload: JSON, forgery: Forgery = HONEST) -> None:
        """Send in the background, up to three times more when it is not acknowledged."""
        if self._slack.bot_url is None and not self._slack.sockets.expected:
            return
        task = asyncio.create_task(self._event(forgery.applied(payload), forgery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def verify_url(self, challenge: str = "sandbox-challenge") -> Answer:
        """The handshake that Slack makes when the request URL is entered: the challenge must come back."""
        payload = {
            "token": self._slack.credentials.verification_token,
            "challenge": challenge,
            "type": "url_verification",
        }
        return (await self._send("event", payload, json.dumps(payload).encode(), HONEST)).answers[-1]

    async def redeliver(self, delivery: Delivery, *, retry: int | None = None, to: str | None = None) -> Answer:
        """The same bytes once more; with `retry` the headers that Slack sends at the n-th time.

        `to` is the URL of another replica of the bot.
        """
        headers = dict(delivery.headers)
        if retry is not None:
            headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": "http_timeout"}
        return await self._attempt(delivery, headers, retry or 0, to)

    async def settled(self, timeout: float = 10.0) -> None:
        """Wait until no event is on its way. TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
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
        delivery = Delivery(kind, payload, body, self._headers(body, content_type, forgery), self._slack.now())
        self.log.append(delivery)
        await self._attempt(delivery, delivery.headers, 0)
        return delivery

    def _headers(self, body: bytes, content_type: str, forgery: Forgery) -> dict[str, str]:
        headers = {"Content-Type": content_type, "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)"}
        if forgery.unsigned:
            return headers
        timestamp = str(int(self._slack.now() - forgery.age))
        secret = forgery.signing_secret or self._slack.credentials.signing_secret
        signature = sign(secret, timestamp, body)
        return headers | {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}

    async def _attempt(self, delivery: Delivery, headers: dict[str, str], number: int, to: str | None = None) -> Answer:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ACK_SECONDS):
                if self._slack.sockets.open and to is None:
                    body = await self._slack.sockets.deliver(delivery.kind, delivery.payload, number)
                    answer = Answer(200, body, 0.0)
                else:
                    answer = await self._post(to or self._slack.bot_url, delivery.body, headers)
        except TimeoutError:
            answer = Answer(None, "", 0.0, "operation_timeout")
        except (aiohttp.ClientError, ConnectionError):
            answer = Answer(None, "", 0.0, "dispatch_failed")
        milliseconds = (time.perf_counter() - started) * 1000
        answer = Answer(answer.status, answer.body, milliseconds, answer.error, answer.headers)
        delivery.answers.append(answer)
        self._slack.changed()
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
    """Slack's v0 signature of a request."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
