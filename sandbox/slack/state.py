"""What Slack remembers. Mutable records without behaviour beyond their own JSON shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]

_MENTION = re.compile(r"<(@[UW][A-Z0-9]+|!channel|!here|!everyone|!subteam\^[A-Z0-9]+)(?:\|[^>]*)?>")
_PARSED = re.compile(r"(?<![\w`])@(channel|here|everyone)\b")


@dataclass(frozen=True)
class Credentials:
    """What the bot must know to talk with this Slack, and Slack to sign for the bot."""

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
        """Whom this message rings for: `@U…`, `!channel`, `!here`, `!everyone`, `!subteam^S…`.

        In a mrkdwn text that is not `verbatim` Slack also parses a bare @channel, @here and @everyone.
        https://docs.slack.dev/messaging/formatting-message-text
        """
        found = set(_MENTION.findall(self.text))
        for node in walk(self.blocks + self.attachments):
            kind = node.get("type")
            if kind == "mrkdwn":
                found.update(_MENTION.findall(node["text"]))
                if not node.get("verbatim"):
                    found.update(f"!{name}" for name in _PARSED.findall(node["text"]))
            elif kind == "user" and "user_id" in node:
                found.add(f"@{node['user_id']}")
            elif kind == "broadcast":
                found.add(f"!{node['range']}")
            elif kind == "usergroup":
                found.add(f"!subteam^{node['usergroup_id']}")
        return found

    def elements(self) -> Iterator[tuple[str, JSON]]:
        """The interactive elements as (block_id, element), in reading order."""
        return elements(self.blocks)

    def all_text(self) -> str:
        """Every word of the message that a person can read, one text object a line."""
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
        """What this person sees in the channel, oldest first: threads and their own ephemeral messages too."""
        return [m for m in self.messages.values() if m.ephemeral_to in (None, user)]


@dataclass
class View:
    """A modal or an App Home. `values` is what the person has entered: block_id → action_id → state."""

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
    """One Web API request. `arguments` has JSON strings of form posts parsed; `answer` is what was sent back."""

    method: str
    arguments: JSON
    http_method: str
    at: float
    answer: JSON
    status: int = 200

    @property
    def ok(self) -> bool:
        return bool(self.answer.get("ok"))


def walk(node: Any) -> Iterator[JSON]:
    """Every object inside a JSON value, parents first."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def elements(blocks: list[JSON]) -> Iterator[tuple[str, JSON]]:
    """The elements that a person can act on, as (block_id, element)."""
    for block in blocks:
        inside = [*block.get("elements", []), block.get("accessory"), block.get("element")]
        for element in inside:
            if isinstance(element, dict) and "action_id" in element:
                yield str(block.get("block_id", "")), element
