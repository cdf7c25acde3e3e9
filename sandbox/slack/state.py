"""What Slack remembers: people, channels, messages, files, views, and the calls of its Web API."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sandbox.company import Company
from sandbox.deadline import deadline

JSON = dict[str, Any]
T = TypeVar("T")

PATIENCE_SECONDS = 15.0  # without any change, until a condition is given up on a busy machine
EVENTS = frozenset(
    {
        "app_home_opened",
        "app_mention",
        "channel_archive",
        "channel_rename",
        "channel_unarchive",
        "member_joined_channel",
        "message.channels",
        "message.groups",
        "message.im",
        "reaction_added",
    }
)
_MENTION = re.compile(r"<(@[UW][A-Z0-9]+|!channel|!here|!everyone|!subteam\^[A-Z0-9]+)(?:\|[^>]*)?>")
_PARSED = re.compile(r"(?<![\w`])@(channel|here|everyone)\b")


class SlackError(Exception):
    """A Web API response with `ok: false`. `code` is Slack's error code, `messages` those of response_metadata."""

    def __init__(self, code: str, *messages: str, status: int = 200, retry_after: int = 0, **extra: Any) -> None:
        super().__init__(code, *messages)
        self.code = code
        self.messages = messages
        self.status = status
        self.retry_after = retry_after
        self.extra = extra

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"ok": False, "error": self.code, **self.extra}
        if self.messages:
            body["response_metadata"] = {"messages": list(self.messages)}
        return body


@dataclass(frozen=True)
class Credentials:
    """The tokens and secrets of the app."""

    bot_token: str = "xoxb-sandbox-bot"
    app_token: str = "xapp-sandbox-app"
    signing_secret: str = "sandbox-signing-secret"
    verification_token: str = "sandbox-verification"


@dataclass
class User:
    id: str
    name: str
    real_name: str
    email: str = ""
    locale: str = "en-US"
    title: str = ""
    bot_id: str = ""
    tz: str = "America/Mexico_City"
    kind: str = "member"  # or `guest`, `deactivated`, `stranger` (of another workspace, by Slack Connect)

    @property
    def is_bot(self) -> bool:
        return bool(self.bot_id)


@dataclass
class UserGroup:
    id: str
    handle: str
    name: str
    users: list[str]


@dataclass
class Caption:
    """A topic or a purpose."""

    value: str = ""
    creator: str = ""
    last_set: int = 0

    def as_json(self) -> JSON:
        return {"value": self.value, "creator": self.creator, "last_set": self.last_set}


@dataclass
class Bookmark:
    id: str
    channel_id: str
    title: str
    link: str
    emoji: str
    date_created: int
    date_updated: int = 0
    rank: str = "U"

    def as_json(self, app_id: str, user_id: str, team_id: str) -> JSON:
        return {
            "id": self.id,
            "channel_id": self.channel_id,
            "title": self.title,
            "link": self.link,
            "emoji": self.emoji,
            "icon_url": "",
            "entity_id": None,
            "type": "link",
            "date_created": self.date_created,
            "date_updated": self.date_updated,
            "rank": self.rank,
            "last_updated_by_user_id": user_id,
            "last_updated_by_team_id": team_id,
            "shortcut_id": None,
            "app_id": app_id,
            "app_action_id": None,
        }


@dataclass
class File:
    id: str
    name: str
    size: int
    created: int
    alt_text: str = ""
    title: str = ""
    mimetype: str = ""
    content: bytes | None = None
    user: str = ""
    completed: bool = False
    shares: dict[str, list[str]] = field(default_factory=dict)  # channel id → ts of the messages that show it


@dataclass
class Message:
    ts: str
    channel: str
    user: str
    text: str = ""
    blocks: list[JSON] = field(default_factory=list)
    attachments: list[JSON] = field(default_factory=list)
    metadata: JSON | None = None
    thread_ts: str | None = None
    subtype: str | None = None
    bot_id: str | None = None
    username: str | None = None
    edited: JSON | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    ephemeral_to: str | None = None
    reply_broadcast: bool = False
    extra: JSON = field(default_factory=dict)
    entered: dict[str, dict[str, dict[str, JSON]]] = field(default_factory=dict)  # user → what they chose in it
    answer_to: str | None = None  # the token of the response_url that it came by
    deleted: bool = False

    @property
    def is_reply(self) -> bool:
        return self.thread_ts is not None and self.thread_ts != self.ts

    def mentions(self) -> set[str]:
        """Return whom this message notifies: `@U…`, `!channel`, `!here`, `!everyone`, `!subteam^S…`.

        In a mrkdwn text that is not `verbatim` Slack also parses a bare @channel, @here and @everyone.
        https://docs.slack.dev/messaging/formatting-message-text
        """
        mentions = set(_MENTION.findall(self.text))
        for node in walk(self.blocks + self.attachments):
            kind = node.get("type")
            if kind == "mrkdwn":
                mentions.update(_MENTION.findall(node["text"]))
                if not node.get("verbatim"):
                    mentions.update(f"!{name}" for name in _PARSED.findall(node["text"]))
            elif kind == "user" and "user_id" in node:
                mentions.add(f"@{node['user_id']}")
            elif kind == "broadcast":
                mentions.add(f"!{node['range']}")
            elif kind == "usergroup":
                mentions.add(f"!subteam^{node['usergroup_id']}")
        return mentions

    def elements(self) -> Iterator[tuple[str, JSON]]:
        """Yield the interactive elements as (block_id, element), in reading order."""
        return elements(self.blocks)

    def all_text(self) -> str:
        """Return all text of the message that a person can read, one text object a line."""
        texts = [node["text"] for node in walk(self.blocks) if isinstance(node.get("text"), str)]
        return "\n".join(texts or [self.text])


@dataclass
class Channel:
    id: str
    name: str
    creator: str
    created: int
    members: list[str] = field(default_factory=list)
    is_private: bool = False
    im_user: str | None = None
    is_archived: bool = False
    is_general: bool = False
    topic: Caption = field(default_factory=Caption)
    purpose: Caption = field(default_factory=Caption)
    previous_names: list[str] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)
    pins: list[str] = field(default_factory=list)
    bookmarks: list[Bookmark] = field(default_factory=list)
    last_post: float = float("-inf")

    @property
    def is_im(self) -> bool:
        return self.im_user is not None

    def visible_to(self, user: str) -> list[Message]:
        """Return what this person sees, oldest first, threads and their own ephemeral messages included."""
        return [m for m in self.messages.values() if m.ephemeral_to in (None, user)]


@dataclass
class View:
    """A modal or an App Home. `values` is the state of its elements: block_id → action_id → state."""

    id: str
    user: str
    body: JSON
    hash: str
    root_id: str
    previous_id: str | None = None
    values: dict[str, dict[str, JSON]] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return str(self.body["type"])

    @property
    def callback_id(self) -> str:
        return str(self.body.get("callback_id", ""))

    @property
    def title(self) -> str:
        return str(self.body.get("title", {}).get("text", ""))

    @property
    def blocks(self) -> list[JSON]:
        return list(self.body["blocks"])

    def elements(self) -> Iterator[tuple[str, JSON]]:
        return elements(self.blocks)

    def all_text(self) -> str:
        return "\n".join(node["text"] for node in walk(self.blocks) if isinstance(node.get("text"), str))


@dataclass(frozen=True)
class Call:
    """One Web API request. `arguments` has JSON strings of form posts parsed; `answer` is the response."""

    method: str
    arguments: JSON
    at: float
    answer: JSON
    status: int = 200

    @property
    def ok(self) -> bool:
        return bool(self.answer.get("ok"))


@dataclass
class Trigger:
    """A trigger_id. `view` is the modal of the interaction, None outside of one; `opened` the modal opened with it."""

    id: str
    user: str
    view: View | None
    issued: float
    opened: View | None = None
    used: bool = False


@dataclass
class ResponseUrl:
    """A response_url of one interaction. `messages` are the replies sent to it, `original` the message of the
    interaction (None for a slash command until its first reply)."""

    token: str
    url: str
    user: str
    channel: str
    original: Message | None
    issued: float
    thread_ts: str | None = None
    uses: int = 0
    messages: list[Message] = field(default_factory=list)


class Workspace:
    """One workspace with one installed app, the bot. `base_url` is where its own routes are reached.

    `subscriptions` are the events the app subscribes to; `scopes` those of the bot's token, which each response names
    (none: no header). Whoever changes something calls `changed`: then those who wait for a condition check it again.
    """

    def __init__(
        self,
        company: Company,
        *,
        credentials: Credentials | None = None,
        bot_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.company = company
        self.credentials = credentials or Credentials()
        self.bot_url = bot_url
        self.base_url = "http://127.0.0.1"
        self.now = now
        self.users: dict[str, User] = {}
        self.usergroups: dict[str, UserGroup] = {}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, File] = {}
        self.homes: dict[str, View] = {}  # user id → App Home
        self.modals: dict[str, list[View]] = {}  # user id → stack of open modals, the visible one last
        self.calls: list[Call] = []
        self.subscriptions = set(EVENTS)
        self.scopes: set[str] = set()
        self.edit_window = float("inf")  # seconds during which a message can be edited
        self.quotas: dict[str, int] = {}  # calls of a method in a minute
        self._last_ts = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._seed()

    def _seed(self) -> None:
        workspace = self.company.workspace
        for person in self.company.people:
            self.users[person.slack] = User(
                person.slack, person.handle, person.name, person.email, person.locale, person.title
            )
        self.users[workspace.bot_user_id] = User(
            workspace.bot_user_id, workspace.bot_name, workspace.bot_name, bot_id=workspace.bot_id
        )
        self.users["USLACKBOT"] = User("USLACKBOT", "slackbot", "Slackbot")
        for group in self.company.usergroups:
            members = [self.company.person(handle).slack for handle in group.members]
            self.usergroups[group.id] = UserGroup(group.id, group.handle, group.name, members)
        for seed in self.company.channels:
            members = [self.company.person(handle).slack for handle in seed.members]
            if seed.bot:
                members.append(workspace.bot_user_id)
            channel = Channel(seed.id, seed.name, creator=members[0], created=int(self.now()), members=members)
            channel.is_general = seed.name == "general"
            self.channels[channel.id] = channel

    @property
    def bot_user(self) -> User:
        return self.users[self.company.workspace.bot_user_id]

    def channel(self, id_or_name: str) -> Channel:
        """Return the channel. Raises SlackError channel_not_found."""
        if id_or_name in self.channels:
            return self.channels[id_or_name]
        name = id_or_name.removeprefix("#")
        for channel in self.channels.values():
            if channel.name == name and not channel.is_im:
                return channel
        raise SlackError("channel_not_found")

    def user(self, id_or_handle: str) -> User:
        """Return the user. Raises SlackError user_not_found."""
        if id_or_handle in self.users:
            return self.users[id_or_handle]
        handle = id_or_handle.removeprefix("@")
        for user in self.users.values():
            if user.name == handle:
                return user
        raise SlackError("user_not_found")

    def message(self, channel: str, ts: str) -> Message:
        """Return the message. Raises SlackError message_not_found."""
        message = self.channel(channel).messages.get(ts)
        if message is None:
            raise SlackError("message_not_found")
        return message

    def views(self) -> Iterator[View]:
        yield from self.homes.values()
        for stack in self.modals.values():
            yield from stack

    def messages(self) -> Iterator[Message]:
        for channel in self.channels.values():
            yield from channel.messages.values()

    def calls_of(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    def new_id(self, prefix: str) -> str:
        """Return a random id, so that none repeats after a restart of the sandbox."""
        return f"{prefix}0{secrets.token_hex(5).upper()}"

    def new_ts(self) -> str:
        """Return a unique message timestamp, always later than the last one."""
        self._last_ts = max(self._last_ts + 1, int(self.now() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def changed(self) -> None:
        """Let those who wait for a condition check it again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, condition: Callable[[], T | None], timeout: float = PATIENCE_SECONDS) -> T:
        """Return the first truthy value of `condition`, checked after every change.

        Raises TimeoutError when it does not hold and nothing has changed for `timeout` seconds.
        """
        if value := condition():
            return value
        try:
            async with deadline(timeout) as limit:
                while not (value := condition()):
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
                    limit.restart()
        except TimeoutError:
            raise TimeoutError(f"the condition did not hold, and nothing changed for {timeout} s") from None
        return value

    def record(self, call: Call) -> None:
        self.calls.append(call)
        self.changed()


def walk(node: Any) -> Iterator[JSON]:
    """Yield every object inside a JSON value, parents first."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def elements(blocks: list[JSON]) -> Iterator[tuple[str, JSON]]:
    """Yield the interactive elements as (block_id, element)."""
    for block in blocks:
        inside = [*block.get("elements", []), block.get("accessory"), block.get("element")]
        for element in inside:
            if isinstance(element, dict) and "action_id" in element:
                yield str(block.get("block_id", "")), element
