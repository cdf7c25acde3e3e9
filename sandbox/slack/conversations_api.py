"""conversations.*, bookmarks.* and pins.*"""

from __future__ import annotations

import re

from sandbox.slack.backend import Slack
from sandbox.slack.endpoint import Arguments, Method, channel_of, paginate
from sandbox.slack.shapes import channel_json, message_json
from sandbox.slack.state import JSON, Bookmark, Channel, Message, SlackError

MAX_CAPTION = 250
MAX_BOOKMARKS = 100
MAX_PINS = 100
_CANNOT_BE_INVITED = {"guest": "user_is_restricted", "deactivated": "cant_invite", "stranger": "org_user_not_in_team"}


# Reading conversations.


def list_conversations(slack: Slack, arguments: Arguments) -> JSON:
    types = arguments.names("types") or ["public_channel"]
    selected = [
        channel
        for channel in slack.channels.values()
        if _type(channel) in types and not (channel.is_archived and arguments.boolean("exclude_archived"))
    ]
    page, cursor = paginate(selected, arguments, default=100, most=1000)
    return {
        "channels": [channel_json(slack, channel, num_members=not channel.is_im) for channel in page],
        "response_metadata": {"next_cursor": cursor},
    }


def get_conversation(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    body = channel_json(slack, channel, num_members=arguments.boolean("include_num_members"))
    if arguments.boolean("include_locale"):
        body["locale"] = "es-MX"
    return {"channel": body}


def list_members(slack: Slack, arguments: Arguments) -> JSON:
    page, cursor = paginate(channel_of(slack, arguments).members, arguments, default=100, most=1000)
    return {"members": page, "response_metadata": {"next_cursor": cursor}}


def get_history(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    selected = [
        message
        for message in reversed(channel.messages.values())
        if message.ephemeral_to is None
        and (not message.is_reply or message.reply_broadcast)
        and _between(message, arguments)
    ]
    page, cursor = paginate(selected, arguments, default=100, most=999)
    return _messages(slack, page, arguments, cursor) | {"pin_count": len(channel.pins)}


def get_replies(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    root = channel.messages.get(arguments.required("ts"))
    if root is None or root.ephemeral_to:
        raise SlackError("thread_not_found")
    thread = root.thread_ts or root.ts
    selected = [
        message
        for message in channel.messages.values()
        if message.ephemeral_to is None
        and (message.ts == thread or (message.thread_ts == thread and _between(message, arguments)))
    ]
    page, cursor = paginate(selected, arguments, default=1000, most=1000)
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
    ts = _microseconds(message.ts)
    if arguments.boolean("inclusive"):
        return _microseconds(oldest) <= ts and (not latest or ts <= _microseconds(latest))
    return _microseconds(oldest) < ts and (not latest or ts < _microseconds(latest))


def _microseconds(ts: str) -> int:
    """Convert a ts to microseconds; a float would lose the last digits."""
    seconds, _, rest = ts.partition(".")
    try:
        return int(seconds or 0) * 1_000_000 + int(f"{rest:0<6}"[:6])
    except ValueError:
        raise SlackError("invalid_ts_oldest") from None


def _type(channel: Channel) -> str:
    if channel.is_im:
        return "im"
    return "private_channel" if channel.is_private else "public_channel"


# Changing conversations.


def create_conversation(slack: Slack, arguments: Arguments) -> JSON:
    name = _valid_name(slack, arguments.text("name"))
    bot = slack.bot_user.id
    channel = Channel(slack.new_id("C"), name, bot, int(slack.now()), [bot])
    channel.is_private = arguments.boolean("is_private")
    slack.channels[channel.id] = channel
    slack.changed()
    return {"channel": channel_json(slack, channel)}


def rename_conversation(slack: Slack, arguments: Arguments) -> JSON:
    channel = _own_channel(slack, arguments)
    slack.rename(channel, _valid_name(slack, arguments.text("name")), slack.bot_user)
    return {"channel": channel_json(slack, channel)}


def _valid_name(slack: Slack, name: str) -> str:
    """Check a new name: https://docs.slack.dev/reference/methods/conversations.create#naming"""
    if not name:
        raise SlackError("invalid_name_required")
    if len(name) > 80:
        raise SlackError("invalid_name_maxlength")
    if not re.search(r"\w", name.replace("_", "")):
        raise SlackError("invalid_name_punctuation")
    if name != name.lower() or not re.fullmatch(r"[\w-]+", name):
        raise SlackError("invalid_name_specials")
    if any(channel.name == name for channel in slack.channels.values()):
        raise SlackError("name_taken")
    return name


def invite_users(slack: Slack, arguments: Arguments) -> JSON:
    channel = _own_channel(slack, arguments)
    ids = arguments.names("users")
    if not ids:
        raise SlackError("no_user")
    if len(ids) > 100:
        raise SlackError("too_many_users")
    errors = [error for id in ids if (error := _invite_error(slack, channel, id))]
    invited = [id for id in ids if id not in {error["user"] for error in errors}]
    if errors and not (arguments.boolean("force") and invited):
        raise SlackError(errors[0]["error"], errors=errors)
    for id in invited:
        slack.join(channel, slack.users[id], slack.bot_user)
    body: JSON = {"channel": channel_json(slack, channel)}
    return body | ({"errors": errors} if errors else {})


def _invite_error(slack: Slack, channel: Channel, id: str) -> JSON | None:
    if id == slack.bot_user.id:
        code = "cant_invite_self"
    elif id not in slack.users:
        code = "user_not_found"
    elif id in channel.members:
        code = "already_in_channel"
    elif slack.users[id].kind in _CANNOT_BE_INVITED:
        code = _CANNOT_BE_INVITED[slack.users[id].kind]
    else:
        return None
    return {"user": id, "ok": False, "error": code}


def join_conversation(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if channel.is_archived:
        raise SlackError("is_archived")
    if channel.is_im or channel.is_private:
        raise SlackError("method_not_supported_for_channel_type")
    is_member = slack.bot_user.id in channel.members
    slack.join(channel, slack.bot_user)
    body: JSON = {"channel": channel_json(slack, channel)}
    if is_member:
        body |= {"warning": "already_in_channel", "response_metadata": {"warnings": ["already_in_channel"]}}
    return body


def archive_conversation(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if channel.is_archived:
        raise SlackError("already_archived")
    if channel.is_general:
        raise SlackError("cant_archive_general")
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    slack.archive(channel, slack.bot_user)
    return {}


def unarchive_conversation(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if not channel.is_archived:
        raise SlackError("not_archived")
    slack.unarchive(channel, slack.bot_user)
    return {}


def set_topic(slack: Slack, arguments: Arguments) -> JSON:
    return _set_caption(slack, arguments, "topic")


def set_purpose(slack: Slack, arguments: Arguments) -> JSON:
    return _set_caption(slack, arguments, "purpose")


def _set_caption(slack: Slack, arguments: Arguments, kind: str) -> JSON:
    channel = _own_channel(slack, arguments)
    value = arguments.text(kind)
    if len(value) > MAX_CAPTION:
        raise SlackError("too_long")
    slack.set_caption(channel, kind, value, slack.bot_user)
    return {"channel": channel_json(slack, channel)}


def open_conversation(slack: Slack, arguments: Arguments) -> JSON:
    ids = arguments.names("users")
    if "channel" in arguments:
        return {"channel": {"id": channel_of(slack, arguments).id}}
    if len(ids) != 1:
        raise SlackError("not_enough_users" if not ids else "too_many_users")
    if ids[0] not in slack.users or ids[0] == slack.bot_user.id:
        raise SlackError("user_not_found")
    exists = any(channel.im_user == ids[0] for channel in slack.channels.values())
    channel = slack.open_im(slack.users[ids[0]])
    body = channel_json(slack, channel) if arguments.boolean("return_im") else {"id": channel.id}
    return {"channel": body} | ({"no_op": True, "already_open": True} if exists else {})


def _own_channel(slack: Slack, arguments: Arguments) -> Channel:
    channel = channel_of(slack, arguments)
    if channel.is_archived:
        raise SlackError("is_archived")
    if channel.is_im:
        raise SlackError("method_not_supported_for_channel_type")
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


# Bookmarks and pins.


def add_bookmark(slack: Slack, arguments: Arguments) -> JSON:
    channel = _joined_channel(slack, arguments, "channel_id")
    title, link = arguments.required("title"), arguments.text("link")
    if arguments.required("type") != "link":
        raise SlackError("invalid_bookmark_type")
    _check_link(link)
    if len(channel.bookmarks) >= MAX_BOOKMARKS:
        raise SlackError("too_many_bookmarks")
    bookmark = Bookmark(slack.new_id("Bk"), channel.id, title, link, arguments.text("emoji"), int(slack.now()))
    channel.bookmarks.append(bookmark)
    slack.changed()
    return {"bookmark": _bookmark_json(slack, bookmark)}


def edit_bookmark(slack: Slack, arguments: Arguments) -> JSON:
    bookmark = _find_bookmark(_joined_channel(slack, arguments, "channel_id"), arguments)
    if "link" in arguments:
        _check_link(arguments.text("link"))
    for name in ("title", "link", "emoji"):
        if name in arguments:
            setattr(bookmark, name, arguments.text(name))
    bookmark.date_updated = int(slack.now())
    slack.changed()
    return {"bookmark": _bookmark_json(slack, bookmark)}


def remove_bookmark(slack: Slack, arguments: Arguments) -> JSON:
    channel = _joined_channel(slack, arguments, "channel_id")
    channel.bookmarks.remove(_find_bookmark(channel, arguments))
    slack.changed()
    return {}


def list_bookmarks(slack: Slack, arguments: Arguments) -> JSON:
    channel = _joined_channel(slack, arguments, "channel_id")
    return {"bookmarks": [_bookmark_json(slack, bookmark) for bookmark in channel.bookmarks]}


def add_pin(slack: Slack, arguments: Arguments) -> JSON:
    channel, ts = _pinnable(slack, arguments)
    if ts in channel.pins:
        raise SlackError("already_pinned")
    if len(channel.pins) >= MAX_PINS:
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
    channel = _joined_channel(slack, arguments, "channel")
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


def _joined_channel(slack: Slack, arguments: Arguments, name: str) -> Channel:
    channel = channel_of(slack, arguments, name)
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    if channel.is_archived:
        raise SlackError("is_archived")
    return channel


def _pinnable(slack: Slack, arguments: Arguments) -> tuple[Channel, str]:
    channel = _joined_channel(slack, arguments, "channel")
    ts = arguments.text("timestamp")
    if not ts:
        raise SlackError("no_item_specified")
    if ts not in channel.messages or channel.messages[ts].ephemeral_to:
        raise SlackError("message_not_found")
    return channel, ts


def _find_bookmark(channel: Channel, arguments: Arguments) -> Bookmark:
    id = arguments.required("bookmark_id")
    for bookmark in channel.bookmarks:
        if bookmark.id == id:
            return bookmark
    raise SlackError("not_found")


def _check_link(link: str) -> None:
    if not re.fullmatch(r"https?://\S+", link):
        raise SlackError("invalid_link")


def _bookmark_json(slack: Slack, bookmark: Bookmark) -> JSON:
    workspace = slack.company.workspace
    return bookmark.as_json(workspace.app_id, workspace.bot_user_id, workspace.team_id)


CONVERSATIONS: dict[str, Method] = {
    "bookmarks.add": add_bookmark,
    "bookmarks.edit": edit_bookmark,
    "bookmarks.list": list_bookmarks,
    "bookmarks.remove": remove_bookmark,
    "conversations.archive": archive_conversation,
    "conversations.create": create_conversation,
    "conversations.history": get_history,
    "conversations.info": get_conversation,
    "conversations.invite": invite_users,
    "conversations.join": join_conversation,
    "conversations.list": list_conversations,
    "conversations.members": list_members,
    "conversations.open": open_conversation,
    "conversations.rename": rename_conversation,
    "conversations.replies": get_replies,
    "conversations.setPurpose": set_purpose,
    "conversations.setTopic": set_topic,
    "conversations.unarchive": unarchive_conversation,
    "pins.add": add_pin,
    "pins.list": list_pins,
    "pins.remove": remove_pin,
}
