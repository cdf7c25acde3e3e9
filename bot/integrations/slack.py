"""Slack's Web API by slack_sdk: deadlines, error translation, caches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain.errors import Blocked, BotError, Refused, Unavailable
from bot.domain.people import Person
from bot.integrations.certificates import tls_context
from bot.integrations.effects import effect_gate
from bot.integrations.in_flight import InFlight
from bot.integrations.slack_errors import Reaction, reaction_to

METADATA = "tamv_bot_post"
PEOPLE_CACHE_TTL = 3600.0
GROUPS_CACHE_TTL = 600.0
PAGE_SIZE = 999
CLOCK_TOLERANCE = timedelta(minutes=5)  # between our clock and Slack's
MAX_RETRY_AFTER_SECONDS = 120.0
TOKEN_CHECK_SECONDS = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """The bot's identity in its workspace. `url` ends with a slash."""

    team_id: str
    user_id: str
    bot_id: str
    url: str
    app_id: str = ""


class Slack:
    """One workspace. Methods raise Unavailable, Blocked or Refused (with Slack's error in the facts)."""

    def __init__(
        self,
        token: str,
        api_url: str = "https://slack.com/api/",
        timeout: int = 10,
        *,
        redact: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        count: Callable[[str, str], object] = lambda method, outcome: None,
    ) -> None:
        self._timeout = timeout
        self._redact = redact  # applied to everything that is sent
        self._count = count  # called with the method and `ok` or the error's key
        self._session: aiohttp.ClientSession | None = None
        self._identity: Identity | None = None
        self._token_lock = asyncio.Lock()
        self._token_checked_at = float("-inf")
        self._token_problem: BotError | None = None
        self._users: dict[str, tuple[float, dict[str, Any]]] = {}
        self._groups: dict[str, tuple[float, list[str]]] = {}
        self.in_flight = InFlight()
        # slack_sdk's retries would repeat a message whose response was lost; upsert_message searches for it first.
        self.client = AsyncWebClient(token=token, base_url=api_url, timeout=timeout, retry_handlers=[])

    async def __aenter__(self) -> Self:
        self.client.ssl = context = tls_context()
        self.client.proxy = None  # its own reading of the environment knows no NO_PROXY: the session's does
        self._session = aiohttp.ClientSession(
            # Without a total timeout: a request that is cut off may still be carried out, and nobody would know.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout),
            connector=aiohttp.TCPConnector(ssl=context),
            trust_env=True,
        )
        self.client.session = self._session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.in_flight.close()
        if self._session:
            await self._session.close()
        self._session = self.client.session = None

    @contextmanager
    def _calling(self, method: str, *, writes: bool = False) -> Iterator[None]:
        try:
            with _translate_errors(method, writes=writes):
                yield
        except BotError as problem:
            self._count(method, problem.key)
            raise
        self._count(method, "ok")

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method with a JSON body and return Slack's response."""
        await _pass_gate()
        with self._calling(method, writes=True):
            async with asyncio.timeout(self._timeout):
                return await self._send(method, arguments)

    async def call_once(self, key: str, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method that must not be repeated while an earlier call with this key may still be carried out.

        A call that takes longer than the timeout goes on, and the next call with its key returns its result. After a
        lost response it raises Unavailable until the earlier request has had time to take effect: look for the effect
        before each call.
        """

        async def send() -> dict[str, Any]:
            with self._calling(method, writes=True):
                return await self._send(method, arguments)

        return await self.once(key, method, send)

    async def once(self, key: str, method: str, send: Callable[[], Awaitable[T]]) -> T:
        """Do `send` as `call_once` does; `method` is for the error."""
        await _pass_gate()
        try:
            return await self.in_flight.run(key, send, wait_seconds=self._timeout)
        except TimeoutError as slow:
            raise Unavailable("slack_unreachable", method=method, uncertain=True) from slow

    async def _send(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        response = await self.client.api_call(method, json=self._redact(_without_none(arguments)))
        return dict(response.data) if isinstance(response.data, dict) else {}

    async def read(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method that takes its arguments in the query and return Slack's response."""
        with self._calling(method):
            async with asyncio.timeout(self._timeout):
                response = await self.client.api_call(method, http_verb="GET", params=_without_none(arguments))
        return dict(response.data) if isinstance(response.data, dict) else {}

    async def items(self, method: str, items: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a paginated listing, page by page, to its end.

        A page that Slack is rate limiting is asked for again after the time that it wants, so that a long listing ends.
        """
        cursor: str | None = None
        while True:
            try:
                response = await self.read(method, limit=PAGE_SIZE, cursor=cursor, **arguments)
            except Unavailable as limited:
                if cursor is None or limited.retry_after is None:
                    raise
                await asyncio.sleep(min(limited.retry_after, MAX_RETRY_AFTER_SECONDS))
                continue
            for item in response.get(items) or []:
                yield item
            cursor = (response.get("response_metadata") or {}).get("next_cursor") or None
            if not cursor:
                return

    async def paginate(self, method: str, items: str, **arguments: Any) -> list[dict[str, Any]]:
        """Return all items of a paginated listing."""
        return [item async for item in self.items(method, items, **arguments)]

    async def post(
        self, channel: str, text: str, blocks: Sequence[Block], *, key: str, thread: str | None = None
    ) -> tuple[str, str]:
        """Send a message with our `key` in its metadata; returns the channel's id and the message's ts."""
        response = await self.call_once(
            key,
            "chat.postMessage",
            channel=channel,
            text=text,
            blocks=[block.to_dict() for block in blocks] or None,
            metadata=_metadata(key),
            thread_ts=thread,
            unfurl_links=False,
            unfurl_media=False,
        )
        return response["channel"], response["ts"]

    async def update(self, channel: str, ts: str, text: str, blocks: Sequence[Block], *, key: str) -> None:
        await self.call(
            "chat.update",
            channel=channel,
            ts=ts,
            text=text,
            blocks=[block.to_dict() for block in blocks],
            metadata=_metadata(key),
        )

    async def find_message(
        self, channel: str, key: str, *, thread: str | None = None, since: datetime | None = None
    ) -> str | None:
        """Return the ts of the message with this key in a channel or a thread, sent after `since`; None without one."""
        async for message in self.messages(channel, thread=thread, since=since, include_all_metadata="true"):
            metadata = message.get("metadata") or {}
            if metadata.get("event_type") == METADATA and (metadata.get("event_payload") or {}).get("key") == key:
                return str(message["ts"])
        return None

    async def message(self, channel: str, ts: str) -> dict[str, Any] | None:
        """Return one message of a channel or of a thread in it; None if it is gone."""
        for method, arguments in (
            ("conversations.history", {"latest": ts, "oldest": ts, "inclusive": "true", "limit": 1}),
            # It takes the ts of a reply, too, and returns the thread's first message and the reply.
            ("conversations.replies", {"ts": ts, "latest": ts, "oldest": ts, "inclusive": "true"}),
        ):
            try:
                response = await self.read(method, channel=channel, **arguments)
            except Refused:
                continue
            for message in response.get("messages") or []:
                if message.get("ts") == ts:
                    return dict(message)
        return None

    def messages(
        self, channel: str, *, thread: str | None = None, since: datetime | None = None, **arguments: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages of a channel without those in threads, newest first, or those of one thread."""
        oldest = f"{(since - CLOCK_TOLERANCE).timestamp():.6f}" if since else None
        method, where = ("conversations.replies", {"ts": thread}) if thread else ("conversations.history", {})
        return self.items(method, "messages", channel=channel, oldest=oldest, **where, **arguments)

    async def identity(self) -> Identity:
        """Return the bot's identity, fetched once."""
        if self._identity is None:
            response = await self.call("auth.test")
            self._identity = Identity(
                str(response.get("team_id", "")),
                str(response.get("user_id", "")),
                str(response.get("bot_id", "")),
                str(response.get("url", "")),
                await self._app_id(str(response.get("bot_id", ""))),
            )
        return self._identity

    async def check_token(self) -> None:
        """Raise Refused or Unavailable if Slack does not take the token now.

        Asked at most every TOKEN_CHECK_SECONDS; in between, the last answer holds.
        """
        async with self._token_lock:
            if time.monotonic() - self._token_checked_at >= TOKEN_CHECK_SECONDS:
                # Holds if whoever asks has not the patience to wait for the answer.
                self._token_problem = Unavailable("timed_out", service="Slack", seconds=self._timeout)
                self._token_checked_at = time.monotonic()
                try:
                    await self.call("auth.test")
                except BotError as problem:
                    self._token_problem = problem
                else:
                    self._token_problem = None
        if self._token_problem:
            raise self._token_problem

    async def _app_id(self, bot_id: str) -> str:
        try:
            bot = (await self.read("bots.info", bot=bot_id)).get("bot") or {}
        except Refused:
            return ""
        return str(bot.get("app_id") or "")

    async def scopes(self) -> frozenset[str] | None:
        """Return the token's scopes, from a response header; None if it is missing."""
        with self._calling("auth.test"):
            async with asyncio.timeout(self._timeout):
                response = await self.client.api_call("auth.test")
        headers = {str(name).lower(): str(value) for name, value in (response.headers or {}).items()}
        header = headers.get("x-oauth-scopes")
        return None if header is None else frozenset(scope.strip() for scope in header.split(",") if scope.strip())

    async def check_app_token(self, token: str) -> None:
        """Check that Socket Mode accepts this token. Raises Refused otherwise."""
        with self._calling("apps.connections.open"):
            async with asyncio.timeout(self._timeout):
                await self.client.apps_connections_open(app_token=token)

    @property
    def cached_identity(self) -> Identity | None:
        """The bot's identity if it was fetched already."""
        return self._identity

    async def person(self, id: str, name: str, locale: str) -> Person:
        """Return a person by user id, with the language of their Slack.

        Uses `name` and `locale` for what Slack does not say: no request may fail for this.
        """
        user = await self._user(id)
        profile = user.get("profile") or {}
        return Person(
            id,
            profile.get("real_name") or user.get("real_name") or user.get("name") or name,
            str(user.get("locale") or locale)[:2],
        )

    async def time_zone(self, id: str) -> str | None:
        """Return a person's time zone (`Europe/Madrid`) as Slack knows it; None if it does not."""
        return str((await self._user(id)).get("tz") or "") or None

    async def _user(self, id: str) -> dict[str, Any]:
        """Return what `users.info` says, cached for an hour; nothing while Slack does not answer."""
        cached = self._users.get(id)
        if cached and cached[0] > time.monotonic():
            return cached[1]
        try:
            user: dict[str, Any] = (await self.read("users.info", user=id, include_locale="true")).get("user") or {}
        except (Unavailable, Refused):
            return {}
        self._users[id] = (time.monotonic() + PEOPLE_CACHE_TTL, user)
        return user

    async def usergroup_members(self, usergroup: str) -> list[str]:
        """Return the user ids of a user group; cached for ten minutes, and longer while Slack does not answer."""
        cached = self._groups.get(usergroup)
        if cached and cached[0] > time.monotonic():
            return cached[1]
        try:
            response = await self.read("usergroups.users.list", usergroup=usergroup)
        except (Unavailable, Refused):
            if cached:
                return cached[1]
            raise
        members = [str(user) for user in response.get("users") or []]
        self._groups[usergroup] = (time.monotonic() + GROUPS_CACHE_TTL, members)
        return members

    def permalink(self, channel: str, ts: str) -> str | None:
        """Return a message's URL, as Slack builds it; None until the identity is fetched."""
        return f"{self._identity.url}archives/{channel}/p{ts.replace('.', '')}" if self._identity else None

    async def channel_id(self, name: str) -> str | None:
        """Return the id of a public channel by name, with or without `#`."""
        plain_name = name.removeprefix("#")
        channels = await self.paginate("conversations.list", "channels", exclude_archived="true")
        return next((str(channel["id"]) for channel in channels if channel.get("name") == plain_name), None)

    async def upload(
        self, key: str, channel: str, files: Sequence[tuple[str, str, bytes]], comment: str, thread: str | None = None
    ) -> list[str]:
        """Share files (name, title, content) as one message with `comment`; returns their ids. See `call_once`."""

        async def send() -> list[str]:
            with self._calling("files.completeUploadExternal", writes=True):
                response = await self.client.files_upload_v2(
                    channel=channel,
                    initial_comment=self._redact({"text": comment})["text"],
                    thread_ts=thread,
                    file_uploads=[
                        {"filename": name, "title": title, "content": content} for name, title, content in files
                    ],
                )
            return [str(file["id"]) for file in response.get("files") or []]

        return await self.once(key, "files.completeUploadExternal", send)

    async def open_view(self, trigger: str, view: View) -> dict[str, Any]:
        return await self.call("views.open", trigger_id=trigger, view=view.to_dict())

    async def respond(self, url: str, message: Mapping[str, Any]) -> None:
        """Answer a command or a button privately, at its response URL."""
        if self._session is None:
            raise Unavailable("slack_unreachable", method="response_url")
        with self._calling("response_url"):
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(url, json=self._redact(dict(message))) as response,
            ):
                if response.status == 429:
                    wait = response.headers.get("Retry-After", "1")
                    raise Unavailable("slack_rate_limited", method="response_url", retry_after=_seconds(wait))
                if response.status >= 500:
                    raise Unavailable("slack_unreachable", method="response_url", uncertain=True)
                if response.status >= 400:
                    raise error_of("response_url", await _response_url_error(response))


def is_id(text: str) -> bool:
    """Return True for the id of a channel or a user, False for a channel's name."""
    return bool(re.fullmatch(r"[CGDUW][A-Z0-9]{4,}", text))


def _metadata(key: str) -> dict[str, Any]:
    return {"event_type": METADATA, "event_payload": {"key": key}}


async def _response_url_error(response: aiohttp.ClientResponse) -> str:
    """Return the error's name: it comes as JSON or as plain text, or not at all."""
    text = (await response.text(errors="replace"))[:200].strip()
    with contextlib.suppress(ValueError, AttributeError):
        text = str(json.loads(text).get("error") or "")
    return text if text.replace("_", "").isalnum() else f"HTTP {response.status}"


async def _pass_gate() -> None:
    if gate := effect_gate.get():
        await gate()


def _without_none(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


@contextmanager
def _translate_errors(method: str, *, writes: bool = False) -> Iterator[None]:
    """Translate slack_sdk's errors. A write whose response was lost is `uncertain`: it may have succeeded."""
    try:
        yield
    except SlackApiError as problem:
        raise _to_bot_error(method, problem) from problem
    except aiohttp.ClientConnectorError as problem:
        raise Unavailable("slack_unreachable", method=method) from problem
    except (aiohttp.ClientError, TimeoutError, SlackClientError, OSError, ValueError) as problem:
        raise Unavailable("slack_unreachable", method=method, uncertain=writes) from problem


def _seconds(header: str) -> float:
    return float(header) if header.replace(".", "", 1).isdigit() else 1.0


def _to_bot_error(method: str, problem: SlackApiError) -> Unavailable | Refused:
    response = problem.response
    status = getattr(response, "status_code", 0)
    body = response if isinstance(response, dict) else getattr(response, "data", None)
    error = str(body.get("error", "")) if isinstance(body, dict) else ""
    if status == 429 or error in ("ratelimited", "rate_limited"):
        headers = {name.lower(): value for name, value in (getattr(response, "headers", None) or {}).items()}
        return Unavailable(
            "slack_rate_limited", method=method, retry_after=_seconds(str(headers.get("retry-after", 1)))
        )
    if status >= 500 or not error:
        return Unavailable("slack_unreachable", method=method, status=status, uncertain=True)
    details = (body or {}).get("response_metadata") or {} if isinstance(body, dict) else {}
    people = (body or {}).get("errors") if isinstance(body, dict) else None
    return error_of(method, error, details=details.get("messages") or [], people=people)


def error_of(method: str, error: str, **facts: object) -> Unavailable | Refused:
    """Return the exception for an error of Slack. Of one that passes nobody says whether the request had an effect."""
    match reaction_to(method, error):
        case Reaction.AGAIN:
            return Unavailable("slack_unreachable", method=method, error=error, uncertain=True)
        case Reaction.ADMIN:
            return Blocked("slack_blocked", method=method, error=error)
        case _:
            shown = {name: value for name, value in facts.items() if value}
            return Refused("slack_refused", method=method, error=error, **shown)


def reaction_of(problem: BotError) -> Reaction:
    """Return the reaction to an exception of this module."""
    error = problem.facts.get("error")
    if not error:
        return Reaction.AGAIN if isinstance(problem, Unavailable) else Reaction.NEVER
    return reaction_to(str(problem.facts.get("method")), str(error))
