"""chat.* and reactions.*"""

from __future__ import annotations

import re

from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.blocks import BLOCKS_LENGTH, check_message, with_ids
from sandbox.slack.errors import SlackError
from sandbox.slack.methods_conversations import channel_of
from sandbox.slack.shapes import message_json, permalink
from sandbox.slack.state import JSON, Channel, Message

MARKDOWN_LENGTH = 12_000


def post_message(slack: Slack, arguments: Arguments) -> JSON:
    channel = _destination(slack, arguments)
    body = _body(arguments)
    check_message(body, limit=BLOCKS_LENGTH)
    thread_ts = arguments.text("thread_ts") or None
    if thread_ts:
        _begin_thread(channel, thread_ts)
    message = slack.post(
        channel,
        slack.bot_user,
        text=body["text"],
        blocks=with_ids(body["blocks"] or []),
        attachments=body["attachments"] or [],
        metadata=body["metadata"] or None,
        thread_ts=thread_ts,
        reply_broadcast=arguments.boolean("reply_broadcast"),
        username=arguments.text("username") or None,
    )
    return {"channel": channel.id, "ts": message.ts, "message": message_json(slack, message)}


def update(slack: Slack, arguments: Arguments) -> JSON:
    """A text without blocks takes the blocks away; blocks without a text leave the text as it is.

    https://docs.slack.dev/reference/methods/chat.update
    """
    channel = _writable(slack, channel_of(slack, arguments))
    message = _own(slack, channel, arguments, "cant_update_message")
    body = _body(arguments)
    if not (body["text"] or body["blocks"] is not None or body["attachments"] is not None):
        raise SlackError("no_text")
    changes: JSON = {
        "text": body["text"] or message.text,
        "blocks": body["blocks"] if body["blocks"] is not None or body["text"] else message.blocks,
        "attachments": body["attachments"] if body["attachments"] is not None else message.attachments,
    }
    if body["metadata"] is not None:
        changes["metadata"] = body["metadata"] or None
    check_message(changes, limit=BLOCKS_LENGTH)
    slack.update(message, slack.bot_user, **{**changes, "blocks": with_ids(changes["blocks"] or [])})
    shape = message_json(slack, message)
    return {"channel": channel.id, "ts": message.ts, "text": message.text, "message": shape}


def delete(slack: Slack, arguments: Arguments) -> JSON:
    channel = _writable(slack, channel_of(slack, arguments))
    message = _own(slack, channel, arguments, "cant_delete_message")
    slack.delete(message)
    return {"channel": channel.id, "ts": message.ts}


def post_ephemeral(slack: Slack, arguments: Arguments) -> JSON:
    channel = _writable(slack, channel_of(slack, arguments))
    user = arguments.text("user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    body = _body(arguments)
    check_message(body)
    message = slack.post(
        channel,
        slack.bot_user,
        text=body["text"],
        blocks=with_ids(body["blocks"] or []),
        attachments=body["attachments"] or [],
        thread_ts=arguments.text("thread_ts") or None,
        ephemeral_to=user,
    )
    return {"message_ts": message.ts}


def get_permalink(slack: Slack, arguments: Arguments) -> JSON:
    channel = channel_of(slack, arguments)
    message = _public_message(channel, arguments.required("message_ts"))
    return {"channel": channel.id, "permalink": permalink(slack, message)}


def add_reaction(slack: Slack, arguments: Arguments) -> JSON:
    name = arguments.text("name").strip(":")
    if not re.fullmatch(r"[a-z0-9_+'-]+(::skin-tone-[2-6])?", name):
        raise SlackError("invalid_name")
    if "timestamp" not in arguments:
        raise SlackError("no_item_specified")
    channel = _writable(slack, channel_of(slack, arguments))
    slack.react(_public_message(channel, arguments.text("timestamp")), name, slack.bot_user)
    return {}


def _destination(slack: Slack, arguments: Arguments) -> Channel:
    """By id, by name, or the direct messages of a user."""
    name = arguments.text("channel")
    if not name:
        raise SlackError("channel_not_found")
    if name in slack.users:
        return slack.open_im(slack.users[name])
    return _writable(slack, slack.channel(name))


def _writable(slack: Slack, channel: Channel) -> Channel:
    if channel.is_archived:
        raise SlackError("is_archived")
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


def _public_message(channel: Channel, ts: str) -> Message:
    message = channel.messages.get(ts)
    if message is None or message.ephemeral_to:
        raise SlackError("message_not_found")
    return message


def _own(slack: Slack, channel: Channel, arguments: Arguments, refusal: str) -> Message:
    message = _public_message(channel, arguments.text("ts"))
    if message.user != slack.bot_user.id:
        raise SlackError(refusal)
    return message


def _begin_thread(channel: Channel, ts: str) -> None:
    root = channel.messages.get(ts)
    if root is None or root.ephemeral_to:
        raise SlackError("thread_not_found")
    if root.is_reply:
        raise SlackError("cannot_reply_to_message")
    root.thread_ts = root.ts


def _body(arguments: Arguments) -> JSON:
    markdown = arguments.text("markdown_text")
    if markdown and ("text" in arguments or "blocks" in arguments):
        raise SlackError("markdown_text_conflict")
    if len(markdown) > MARKDOWN_LENGTH:
        raise SlackError("msg_too_long")
    return {
        "text": arguments.text("text") or markdown,
        "blocks": arguments.structure("blocks"),
        "attachments": arguments.structure("attachments"),
        "metadata": arguments.structure("metadata"),
    }


METHODS = {
    "chat.delete": delete,
    "chat.getPermalink": get_permalink,
    "chat.postEphemeral": post_ephemeral,
    "chat.postMessage": post_message,
    "chat.update": update,
    "reactions.add": add_reaction,
}
