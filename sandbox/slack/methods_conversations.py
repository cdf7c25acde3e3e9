"""conversations.* that read: list, info, members, history, replies."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.errors import SlackError
from sandbox.slack.shapes import channel_json, message_json
from sandbox.slack.state import JSON, Channel, Message

T = TypeVar("T")


def channel_of(slack: Slack, arguments: Arguments, name: str = "channel") -> Channel:
    """The channel by its id; unlike chat.postMessage these methods take no names. SlackError channel_not_found."""
    channel = slack.channels.get(arguments.text(name))
    if channel is None:
        raise SlackError("channel_not_found")
    return channel


def list_(slack: Slack, arguments: Arguments) -> JSON:
    types = arguments.names("types") or ["public_channel"]
    found = [
        channel
        for channel in slack.channels.values()
        if _type(channel) in types and not (channel.is_archived and arguments.boolean("exclude_archived"))
    ]
    page, cursor = _page(found, arguments, default=100, most=1000)
    return {
        "channels": [channel_json(slack, channel, num_members=not channel.is_im) for channel in page],
        "response_metadata": {"next_cursor": cursor},
    }


def info(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    body = channel_json(slack, channel, num_members=arguments.boolean("include_num_members"))
    if arguments.boolean("include_locale"):
        body["locale"] = "es-MX"
    return {"channel": body}


def members(slack: Slack, arguments: Arguments) -> JSON:
    page, cursor = _page(channel_of(slack, arguments).members, arguments, default=100, most=1000)
    return {"members": page, "response_metadata": {"next_cursor": cursor}}


def history(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    found = [
        message
        for message in reversed(channel.messages.values())
        if message.ephemeral_to is None
        and (not message.is_reply or message.reply_broadcast)
        and _between(message, arguments)
    ]
    page, cursor = _page(found, arguments, default=100, most=999)
    return _messages(slack, page, arguments, cursor) | {"pin_count": len(channel.pins)}


def replies(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    root = channel.messages.get(arguments.required("ts"))
    if root is None or root.ephemeral_to:
        raise SlackError("thread_not_found")
    thread = root.thread_ts or root.ts
    found = [
        message
        for message in channel.messages.values()
        if message.ephemeral_to is None
        and (message.ts == thread or (message.thread_ts == thread and _between(message, arguments)))
    ]
    page, cursor = _page(found, arguments, default=1000, most=1000)
    return _messages(slack, page, arguments, cursor)


def _messages(slack: Slack, page: list[Message], arguments: Arguments, cursor: str) -> JSON:
    metadata = arguments.boolean("include_all_metadata")
    answer: JSON = {
        "messages": [message_json(slack, message, metadata=metadata) for message in page],
        "has_more": bool(cursor),
    }
    return answer | ({"response_metadata": {"next_cursor": cursor}} if cursor else {})


def _between(message: Message, arguments: Arguments) -> bool:
    oldest, latest = arguments.text("oldest", "0") or "0", arguments.text("latest")
    ts = _number(message.ts)
    if arguments.boolean("inclusive"):
        return _number(oldest) <= ts and (not latest or ts <= _number(latest))
    return _number(oldest) < ts and (not latest or ts < _number(latest))


def _number(ts: str) -> int:
    """A ts in microseconds: a float would lose the last digits."""
    seconds, _, rest = ts.partition(".")
    try:
        return int(seconds or 0) * 1_000_000 + int(f"{rest:0<6}"[:6])
    except ValueError:
        raise SlackError("invalid_ts_oldest") from None


def _page(found: list[T], arguments: Arguments, *, default: int, most: int) -> tuple[list[T], str]:
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
    cursor = base64.b64encode(f"offset:{end}".encode()).decode() if end < len(found) else ""
    return found[start:end], cursor


def _type(channel: Channel) -> str:
    if channel.is_im:
        return "im"
    return "private_channel" if channel.is_private else "public_channel"


METHODS = {
    "conversations.history": history,
    "conversations.info": info,
    "conversations.list": list_,
    "conversations.members": members,
    "conversations.replies": replies,
}
