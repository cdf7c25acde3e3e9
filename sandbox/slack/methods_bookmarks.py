"""bookmarks.* and pins.*"""

from __future__ import annotations

import re

from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.errors import SlackError
from sandbox.slack.methods_conversations import channel_of
from sandbox.slack.shapes import message_json
from sandbox.slack.state import JSON, Bookmark, Channel

BOOKMARKS = 100
PINS = 100


def add_bookmark(slack: Slack, arguments: Arguments) -> JSON:
    channel = _channel(slack, arguments, "channel_id")
    title, link = arguments.required("title"), arguments.text("link")
    if arguments.required("type") != "link":
        raise SlackError("invalid_bookmark_type")
    _check_link(link)
    if len(channel.bookmarks) >= BOOKMARKS:
        raise SlackError("too_many_bookmarks")
    bookmark = Bookmark(slack.new_id("Bk"), channel.id, title, link, arguments.text("emoji"), int(slack.now()))
    channel.bookmarks.append(bookmark)
    slack.changed()
    return {"bookmark": _shape(slack, bookmark)}


def edit_bookmark(slack: Slack, arguments: Arguments) -> JSON:
    bookmark = _bookmark(_channel(slack, arguments, "channel_id"), arguments)
    if "link" in arguments:
        _check_link(arguments.text("link"))
    for name in ("title", "link", "emoji"):
        if name in arguments:
            setattr(bookmark, name, arguments.text(name))
    bookmark.date_updated = int(slack.now())
    slack.changed()
    return {"bookmark": _shape(slack, bookmark)}


def remove_bookmark(slack: Slack, arguments: Arguments) -> JSON:
    channel = _channel(slack, arguments, "channel_id")
    channel.bookmarks.remove(_bookmark(channel, arguments))
    slack.changed()
    return {}


def list_bookmarks(slack: Slack, arguments: Arguments) -> JSON:
    channel = _channel(slack, arguments, "channel_id")
    return {"bookmarks": [_shape(slack, bookmark) for bookmark in channel.bookmarks]}


def add_pin(slack: Slack, arguments: Arguments) -> JSON:
    channel, ts = _pinnable(slack, arguments)
    if ts in channel.pins:
        raise SlackError("already_pinned")
    if len(channel.pins) >= PINS:
        raise SlackError("too_many_pins")
    channel.pins.append(ts)
    slack.changed()
    return {}


def remove_pin(slack: Slack, arguments: Arguments) -> JSON:
    channel, ts = _pinnable(slack, arguments)
    if ts not in channel.pins:
        raise SlackError("no_pin")
    channel.pins.remove(ts)
    slack.changed()
    return {}


def list_pins(slack: Slack, arguments: Arguments) -> JSON:
    channel = _channel(slack, arguments, "channel")
    items = [
        {
            "type": "message",
            "channel": channel.id,
            "message": message_json(slack, channel.messages[ts]),
            "created": channel.created,
            "created_by": slack.bot_user.id,
        }
        for ts in channel.pins
        if ts in channel.messages
    ]
    return {"items": items}


def _channel(slack: Slack, arguments: Arguments, name: str) -> Channel:
    channel = channel_of(slack, arguments, name)
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    if channel.is_archived:
        raise SlackError("is_archived")
    return channel


def _pinnable(slack: Slack, arguments: Arguments) -> tuple[Channel, str]:
    channel = _channel(slack, arguments, "channel")
    ts = arguments.text("timestamp")
    if not ts:
        raise SlackError("no_item_specified")
    if ts not in channel.messages or channel.messages[ts].ephemeral_to:
        raise SlackError("message_not_found")
    return channel, ts


def _bookmark(channel: Channel, arguments: Arguments) -> Bookmark:
    id = arguments.required("bookmark_id")
    for bookmark in channel.bookmarks:
        if bookmark.id == id:
            return bookmark
    raise SlackError("not_found")


def _check_link(link: str) -> None:
    if not re.fullmatch(r"https?://\S+", link):
        raise SlackError("invalid_link")


def _shape(slack: Slack, bookmark: Bookmark) -> JSON:
    workspace = slack.company.workspace
    return bookmark.as_json(workspace.app_id, workspace.bot_user_id, workspace.team_id)


METHODS = {
    "bookmarks.add": add_bookmark,
    "bookmarks.edit": edit_bookmark,
    "bookmarks.list": list_bookmarks,
    "bookmarks.remove": remove_bookmark,
    "pins.add": add_pin,
    "pins.list": list_pins,
    "pins.remove": remove_pin,
}
