"""What the methods of the Web API have in common: typed arguments, channels by id, pages of a list."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sandbox.slack.backend import Slack
from sandbox.slack.state import JSON, Channel, SlackError, Workspace

T = TypeVar("T")

STRUCTURED = frozenset({"attachments", "blocks", "files", "metadata", "unfurls", "view"})


class Arguments:
    """The arguments of one request, from query, form or JSON. A wrong type raises SlackError invalid_arguments."""

    def __init__(self, raw: JSON) -> None:
        self.raw = raw

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) not in (None, "")

    def text(self, name: str, default: str = "") -> str:
        value = self.raw.get(name)
        if value is None:
            return default
        if isinstance(value, bool | int | float):
            return str(value)
        if not isinstance(value, str):
            raise SlackError("invalid_arguments", f"[ERROR] must provide a string [json-pointer:/{name}]")
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise SlackError("invalid_arguments", f"[ERROR] missing required field: {name}")
        return value

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.raw.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool):
            return value
        return str(value).lower() in ("1", "true")

    def integer(self, name: str, default: int) -> int:
        value = self.raw.get(name)
        if value is None or value == "":
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise SlackError("invalid_arguments", f"[ERROR] must provide an integer [json-pointer:/{name}]") from None

    def names(self, name: str) -> list[str]:
        """Return a comma-separated list or a JSON array."""
        value = self.raw.get(name)
        if isinstance(value, list):
            return [str(item) for item in value]
        return [item.strip() for item in str(value or "").split(",") if item.strip()]

    def structure(self, name: str) -> Any:
        """Return an object or a list, None when absent; in a form it is a JSON string.

        Raises SlackError invalid_blocks_format, invalid_metadata_format or invalid_arguments for invalid JSON.
        """
        value = self.raw.get(name)
        if not isinstance(value, str):
            return value
        if value == "":
            return None
        try:
            return json.loads(value)
        except ValueError:
            if name in ("blocks", "metadata"):
                raise SlackError(f"invalid_{name}_format") from None
            raise SlackError("invalid_arguments", f"[ERROR] must be a JSON string [json-pointer:/{name}]") from None

    def recorded(self) -> JSON:
        """Return the arguments for the call log: structures parsed, without the token."""
        kept = {key: value for key, value in self.raw.items() if key != "token"}
        for name in STRUCTURED & kept.keys():
            try:
                kept[name] = self.structure(name)
            except SlackError:
                continue
        return kept


Method = Callable[[Slack, Arguments], JSON]


def channel_of(workspace: Workspace, arguments: Arguments, name: str = "channel") -> Channel:
    """Return the channel by id; only chat.postMessage also takes names. Raises SlackError channel_not_found."""
    channel = workspace.channels.get(arguments.text(name))
    if channel is None:
        raise SlackError("channel_not_found")
    return channel


def writable(workspace: Workspace, channel: Channel) -> Channel:
    """Return a channel the bot may write to. Raises SlackError is_archived, not_in_channel."""
    if channel.is_archived:
        raise SlackError("is_archived")
    if workspace.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


def paginate(items: Sequence[T], arguments: Arguments, *, default: int, most: int) -> tuple[list[T], str]:
    """Return one page by `limit` and `cursor`, and the next cursor, empty on the last page."""
    limit = arguments.integer("limit", default)
    if not 1 <= limit <= most:
        raise SlackError("invalid_limit")
    start = 0
    if "cursor" in arguments:
        try:
            start = int(base64.b64decode(arguments.text("cursor"), validate=True).removeprefix(b"offset:"))
        except (ValueError, binascii.Error):
            raise SlackError("invalid_cursor") from None
    end = start + limit
    cursor = base64.b64encode(f"offset:{end}".encode()).decode() if end < len(items) else ""
    return list(items[start:end]), cursor
