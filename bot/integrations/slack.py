"""Slack's Web API by slack_sdk: deadlines, error translation, caches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain.errors import BotError, Refused, Unavailable
from bot.domain.people import Person
from bot.integrations.certificates import tls_context

METADATA = "tamv_bot_post"
PEOPLE_CACHE_TTL = 3600.0
GROUPS_CACHE_TTL = 600.0
TOKEN_CHECK_SECONDS = 30.0
TRANSIENT_ERRORS = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "rate_limited", "ratelimited",
     "team_added_to_org", "accesslimited"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identity:
    """The bot's identity in its workspace. `url` ends with a slash."""

    team_id: str
    user_id: str
    bot_id: str
    url: str
    app_id: str = ""


class Slack:
    """One workspace. Methods raise Unavailable or Refused (with Slack's error in the facts)."""

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
        self._people: dict[str, tuple[float, Person]] = {}
        self._time_zones: dict[str, str] = {}
        self._groups: dict[str, tuple[float, list[str]]] = {}
        # slack_sdk's retries would repeat a message whose response was lost; upsert_message searches for it first.
        self.client = AsyncWebClient(token=token, base_url=api_url, timeout=timeout, retry_handlers=[])

    async def __aenter__(self) -> Self:
        self.client.ssl = context = tls_context()
        self.client.proxy = None  # its own reading of the environment knows no NO_PROXY: the session's does
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            connector=aiohttp.TCPConnector(ssl=context),
            trust_env=True,
        )
        self.client.session = self._session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        with self._calling(method, writes=True):
            response = await self.client.api_call(method, json=self._redact(_without_none(arguments)))
        return dict(response.data) if isinstance(response.data, dict) else {}

    async def read(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method that takes its arguments in the query and return Slack's response."""
        with self._calling(method):
            response = await self.client.api_call(method, http_verb="GET", params=_without_none(arguments))
        return dict(response.data) if isinstance(response.data, dict) else {}

    async def paginate(self, method: str, items: str, **arguments: Any) -> list[dict[str, Any]]:
        """Return all items of a paginated listing (at most 20 pages)."""
        collected: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(20):
            response = await self.read(method, limit=200, cursor=cursor, **arguments)
            collected += response.get(items) or []
            cursor = (response.get("response_metadata") or {}).get("next_cursor") or None
            if not cursor:
                break
        return collected

    async def post(
        self, channel: str, text: str, blocks: Sequence[Block], *, key: str, thread: str | None = None
    ) -> tuple[str, str]:
        """Send a message with our `key` in its metadata; returns the channel's id and the message's ts."""
        response = await self.call(
            "chat.postMessage",
            channel=channel,
            text=text,
            blocks=[block.to_dict() for block in blocks],
            metadata={"event_type": METADATA, "event_payload": {"key": key}},
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
            metadata={"event_type": METADATA, "event_payload": {"key": key}},
        )

    async def find_message(self, channel: str, key: str, *, thread: str | None = None, newest: int = 200) -> str | None:
        """Return the ts of the message with this key among the newest of a channel or thread; None if there is none."""
        method, arguments = ("conversations.replies", {"ts": thread}) if thread else ("conversations.history", {})
        response = await self.read(method, channel=channel, limit=newest, include_all_metadata="true", **arguments)
        for message in response.get("messages") or []:
            metadata = message.get("metadata") or {}
            if metadata.get("event_type") == METADATA and (metadata.get("event_payload") or {}).get("key") == key:
                return str(message["ts"])
        return None

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
            response = await self.client.api_call("auth.test")
        headers = {str(name).lower(): str(value) for name, value in (response.headers or {}).items()}
        header = headers.get("x-oauth-scopes")
        return None if header is None else frozenset(scope.strip() for scope in header.split(",") if scope.strip())

    async def check_app_token(self, token: str) -> None:
        """Check that Socket Mode accepts this token. Raises Refused otherwise."""
        with self._calling("apps.connections.open"):
            await self.client.apps_connections_open(app_token=token)

    @property
    def cached_identity(self) -> Identity | None:
        """The bot's identity if it was fetched already."""
        return self._identity

    async def person(self, id: str, name: str = "", locale: str = "es") -> Person:
        """Return a person by user id, with the language of their Slack; cached for an hour.

        Uses `name` and `locale` if Slack does not answer: no request may fail for this.
        """
        cached = self._people.get(id)
        if cached and cached[0] > time.monotonic():
            return cached[1]
        try:
            user = (await self.read("users.info", user=id, include_locale="true")).get("user") or {}
        except (Unavailable, Refused):
            return Person(id, name, locale)
        profile = user.get("profile") or {}
        person = Person(
            id,
            profile.get("real_name") or user.get("real_name") or user.get("name") or name,
            str(user.get("locale") or locale)[:2],
        )
        self._people[id] = (time.monotonic() + PEOPLE_CACHE_TTL, person)
        self._time_zones[id] = str(user.get("tz") or "")
        return person

    async def time_zone(self, id: str) -> str | None:
        """Return a person's time zone (`Europe/Madrid`) as Slack knows it; None if it does not."""
        await self.person(id)
        return self._time_zones.get(id) or None

    def cached_person(self, id: str, name: str = "", locale: str = "es") -> Person:
        """Return a person from the cache only."""
        cached = self._people.get(id)
        return cached[1] if cached else Person(id, name, locale)

    async def usergroup_members(self, usergroup: str) -> list[str]:
        """Return the user ids of a user group; cached for ten minutes, and longer while Slack is down."""
        cached = self._groups.get(usergroup)
        if cached and cached[0] > time.monotonic():
            return cached[1]
        try:
            response = await self.read("usergroups.users.list", usergroup=usergroup)
        except Unavailable:
            if cached:
                return cached[1]
            raise
        except Refused:
            return []
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
        self, channel: str, files: Sequence[tuple[str, str, bytes]], comment: str, thread: str | None = None
    ) -> list[str]:
        """Share files (name, title, content) as one message with `comment`; returns their ids."""
        with self._calling("files.upload", writes=True):
            response = await self.client.files_upload_v2(
                channel=channel,
                initial_comment=self._redact({"text": comment})["text"],
                thread_ts=thread,
                file_uploads=[{"filename": name, "title": title, "content": content} for name, title, content in files],
            )
        return [str(file["id"]) for file in response.get("files") or []]

    async def open_view(self, trigger: str, view: View) -> dict[str, Any]:
        return await self.call("views.open", trigger_id=trigger, view=view.to_dict())

    async def respond(self, url: str, message: Mapping[str, Any]) -> None:
        """Answer a command or a button privately, at its response URL."""
        if self._session is None:
            raise Unavailable("slack_unreachable", method="response_url")
        with self._calling("response_url"):
            async with self._session.post(url, json=self._redact(dict(message))) as response:
                if response.status == 429 or response.status >= 500:
                    wait = response.headers.get("Retry-After", "1")
                    raise Unavailable("slack_unreachable", method="response_url", retry_after=_seconds(wait))
                if response.status >= 400:
                    raise Refused("slack_refused", method="response_url", error=f"HTTP {response.status}")


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
    if status >= 500 or error in TRANSIENT_ERRORS or not error:
        return Unavailable("slack_unreachable", method=method, status=status, uncertain=True)
    details = (body or {}).get("response_metadata") or {} if isinstance(body, dict) else {}
    return Refused("slack_refused", method=method, error=error, details=details.get("messages") or [])
