"""conversations.* that change: create, invite, join, rename, archive, topic, purpose, open."""

from __future__ import annotations

import re

from sandbox.slack import events
from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.errors import SlackError
from sandbox.slack.methods_conversations import channel_of
from sandbox.slack.shapes import channel_json
from sandbox.slack.state import JSON, Channel

CAPTION_LENGTH = 250


def create(slack: Slack, arguments: Arguments) -> JSON:
    name = _name(slack, arguments.text("name"))
    bot = slack.bot_user.id
    channel = Channel(slack.new_id("C"), name, bot, int(slack.now()), [bot])
    channel.is_private = arguments.boolean("is_private")
    slack.channels[channel.id] = channel
    slack.changed()
    return {"channel": channel_json(slack, channel)}


def rename(slack: Slack, arguments: Arguments) -> JSON:
    channel = _mine(slack, arguments)
    old, channel.name = channel.name, _name(slack, arguments.text("name"))
    channel.previous_names.append(old)
    events.channel_changed(slack, channel, "channel_rename", slack.bot_user)
    slack.changed()
    return {"channel": channel_json(slack, channel)}


def _name(slack: Slack, name: str) -> str:
    """https://docs.slack.dev/reference/methods/conversations.create#naming"""
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


def invite(slack: Slack, arguments: Arguments) -> JSON:
    channel = _mine(slack, arguments)
    ids = arguments.names("users")
    if not ids:
        raise SlackError("no_user")
    if len(ids) > 100:
        raise SlackError("too_many_users")
    refused = [refusal for id in ids if (refusal := _refusal(slack, channel, id))]
    welcome = [id for id in ids if id not in {refusal["user"] for refusal in refused}]
    if refused and not (arguments.boolean("force") and welcome):
        raise SlackError(refused[0]["error"], errors=refused)
    for id in welcome:
        slack.join(channel, slack.users[id], slack.bot_user)
    body: JSON = {"channel": channel_json(slack, channel)}
    return body | ({"errors": refused} if refused else {})


def _refusal(slack: Slack, channel: Channel, id: str) -> JSON | None:
    if id == slack.bot_user.id:
        code = "cant_invite_self"
    elif id not in slack.users:
        code = "user_not_found"
    elif id in channel.members:
        code = "already_in_channel"
    else:
        return None
    return {"user": id, "ok": False, "error": code}


def join(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if channel.is_archived:
        raise SlackError("is_archived")
    if channel.is_im or channel.is_private:
        raise SlackError("method_not_supported_for_channel_type")
    already = slack.bot_user.id in channel.members
    slack.join(channel, slack.bot_user)
    body: JSON = {"channel": channel_json(slack, channel)}
    if already:
        body |= {"warning": "already_in_channel", "response_metadata": {"warnings": ["already_in_channel"]}}
    return body


def archive(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if channel.is_archived:
        raise SlackError("already_archived")
    if channel.is_general:
        raise SlackError("cant_archive_general")
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    channel.is_archived = True
    events.channel_changed(slack, channel, "channel_archive", slack.bot_user)
    slack.changed()
    return {}


def unarchive(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    if not channel.is_archived:
        raise SlackError("not_archived")
    channel.is_archived = False
    events.channel_changed(slack, channel, "channel_unarchive", slack.bot_user)
    slack.changed()
    return {}


def set_topic(slack: Slack, arguments: Arguments) -> JSON:
    return _caption(slack, arguments, "topic")


def set_purpose(slack: Slack, arguments: Arguments) -> JSON:
    return _caption(slack, arguments, "purpose")


def _caption(slack: Slack, arguments: Arguments, which: str) -> JSON:
    channel = _mine(slack, arguments)
    value = arguments.text(which)
    if len(value) > CAPTION_LENGTH:
        raise SlackError("too_long")
    slack.caption(channel, which, value, slack.bot_user)
    return {"channel": channel_json(slack, channel)}


def open_(slack: Slack, arguments: Arguments) -> JSON:
    ids = arguments.names("users")
    if "channel" in arguments:
        return {"channel": {"id": channel_of(slack, arguments).id}}
    if len(ids) != 1:
        raise SlackError("not_enough_users" if not ids else "too_many_users")
    if ids[0] not in slack.users or ids[0] == slack.bot_user.id:
        raise SlackError("user_not_found")
    known = any(channel.im_user == ids[0] for channel in slack.channels.values())
    channel = slack.open_im(slack.users[ids[0]])
    body = channel_json(slack, channel) if arguments.boolean("return_im") else {"id": channel.id}
    return {"channel": body} | ({"no_op": True, "already_open": True} if known else {})


def _mine(slack: Slack, arguments: Arguments) -> Channel:
    channel = channel_of(slack, arguments)
    if channel.is_archived:
        raise SlackError("is_archived")
    if channel.is_im:
        raise SlackError("method_not_supported_for_channel_type")
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


METHODS = {
    "conversations.archive": archive,
    "conversations.create": create,
    "conversations.invite": invite,
    "conversations.join": join,
    "conversations.open": open_,
    "conversations.rename": rename,
    "conversations.setPurpose": set_purpose,
    "conversations.setTopic": set_topic,
    "conversations.unarchive": unarchive,
}
