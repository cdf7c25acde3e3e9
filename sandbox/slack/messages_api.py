"""chat.*, reactions.*, files.* and views.*"""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from sandbox.slack.backend import Slack
from sandbox.slack.block_kit import BLOCKS_LENGTH, check_message, check_view, with_ids
from sandbox.slack.endpoint import Arguments, Method, channel_of, writable
from sandbox.slack.shapes import file_json, message_json, permalink, view_json
from sandbox.slack.state import JSON, Channel, File, Message, SlackError, View

MAX_MARKDOWN = 12_000


# Messages and reactions.


def post_message(slack: Slack, arguments: Arguments) -> JSON:
    channel = _destination(slack, arguments)
    body = _message_arguments(arguments)
    check_message(body, limit=BLOCKS_LENGTH)
    thread_ts = arguments.text("thread_ts") or None
    if thread_ts:
        _start_thread(channel, thread_ts)
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


def update_message(slack: Slack, arguments: Arguments) -> JSON:
    """Edit a message. A text without blocks removes the blocks; blocks without a text keep the text.

    https://docs.slack.dev/reference/methods/chat.update
    """
    channel = writable(slack, channel_of(slack, arguments))
    message = _own_message(slack, channel, arguments, "cant_update_message")
    if slack.now() - float(message.ts) > slack.edit_window:
        raise SlackError("edit_window_closed")
    body = _message_arguments(arguments)
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


def delete_message(slack: Slack, arguments: Arguments) -> JSON:
    channel = writable(slack, channel_of(slack, arguments))
    message = _own_message(slack, channel, arguments, "cant_delete_message")
    slack.delete(message)
    return {"channel": channel.id, "ts": message.ts}


def post_ephemeral(slack: Slack, arguments: Arguments) -> JSON:
    channel = writable(slack, channel_of(slack, arguments))
    user = arguments.text("user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    body = _message_arguments(arguments)
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
    channel = writable(slack, channel_of(slack, arguments))
    slack.react(_public_message(channel, arguments.text("timestamp")), name, slack.bot_user)
    return {}


def _destination(slack: Slack, arguments: Arguments) -> Channel:
    """Return the channel by id or name, or the direct messages of a user by id."""
    name = arguments.text("channel")
    if not name:
        raise SlackError("channel_not_found")
    if name in slack.users:
        return slack.open_im(slack.users[name])
    channel = slack.channel(name)
    if channel.is_archived:
        raise SlackError("is_archived")
    may_write = "chat:write.public" in slack.scopes
    if slack.bot_user.id not in channel.members and (channel.is_private or channel.is_im or not may_write):
        raise SlackError("channel_not_found" if channel.is_private else "not_in_channel")
    return channel


def _public_message(channel: Channel, ts: str) -> Message:
    message = channel.messages.get(ts)
    if message is None or message.ephemeral_to:
        raise SlackError("message_not_found")
    return message


def _own_message(slack: Slack, channel: Channel, arguments: Arguments, error: str) -> Message:
    message = _public_message(channel, arguments.text("ts"))
    if message.user != slack.bot_user.id:
        raise SlackError(error)
    return message


def _start_thread(channel: Channel, ts: str) -> None:
    root = channel.messages.get(ts)
    if root is None or root.ephemeral_to:
        raise SlackError("thread_not_found")
    if root.is_reply:
        raise SlackError("cannot_reply_to_message")
    root.thread_ts = root.ts


def _message_arguments(arguments: Arguments) -> JSON:
    markdown = arguments.text("markdown_text")
    if markdown and ("text" in arguments or "blocks" in arguments):
        raise SlackError("markdown_text_conflict")
    if len(markdown) > MAX_MARKDOWN:
        raise SlackError("msg_too_long")
    return {
        "text": arguments.text("text") or markdown,
        "blocks": arguments.structure("blocks"),
        "attachments": arguments.structure("attachments"),
        "metadata": arguments.structure("metadata"),
    }


# Files: the three steps of an upload, and info. https://docs.slack.dev/messaging/working-with-files


def get_upload_url(slack: Slack, arguments: Arguments) -> JSON:
    name, length = arguments.required("filename"), arguments.integer("length", 0)
    if length <= 0:
        raise SlackError("invalid_arguments", "[ERROR] must be greater than 0 [json-pointer:/length]")
    mimetype = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if mimetype.startswith("text/") or arguments.text("snippet_type"):
        mimetype = "text/plain"
    file = File(
        id=slack.new_id("F"),
        name=name,
        size=length,
        created=int(slack.now()),
        alt_text=arguments.text("alt_txt"),
        mimetype=mimetype,
        user=slack.bot_user.id,
    )
    slack.files[file.id] = file
    return {"upload_url": f"{slack.base_url}/upload/v1/{file.id}", "file_id": file.id}


def receive_upload(slack: Slack, file_id: str, content: bytes) -> File:
    """Store the bytes sent to the upload URL. Raises SlackError file_not_found, length_mismatch."""
    file = slack.files.get(file_id)
    if file is None or file.completed:
        raise SlackError("file_not_found")
    if len(content) != file.size:
        raise SlackError("length_mismatch")
    file.content = content
    return file


def complete_upload(slack: Slack, arguments: Arguments) -> JSON:
    """Share the uploaded files as one message. As at Slack the response has no `shares` yet: see files.info."""
    files = _uploaded(slack, arguments)
    channels = [_upload_channel(slack, id) for id in _channel_ids(arguments)]
    comment = arguments.text("initial_comment")
    blocks = arguments.structure("blocks") or []
    if blocks:
        check_message({"blocks": blocks})
    thread_ts = arguments.text("thread_ts") or None
    if thread_ts and any(thread_ts not in channel.messages for channel in channels):
        raise SlackError("thread_not_found")
    for file, title in files:
        file.title, file.completed = title or file.name, True
    answer = {"files": [file_json(slack, file) for file, _ in files]}
    for channel in channels:
        if thread_ts:
            channel.messages[thread_ts].thread_ts = thread_ts
        message = slack.post(
            channel,
            slack.bot_user,
            text="" if blocks else comment,
            blocks=with_ids(blocks),
            files=[file.id for file, _ in files],
            thread_ts=thread_ts,
        )
        for file, _ in files:
            file.shares.setdefault(channel.id, []).append(message.ts)
    slack.changed()
    return answer


def get_file(slack: Slack, arguments: Arguments) -> JSON:
    file = slack.files.get(arguments.text("file"))
    if file is None or not file.completed:
        raise SlackError("file_not_found")
    return {"file": file_json(slack, file), "comments": [], "response_metadata": {"next_cursor": ""}}


def _uploaded(slack: Slack, arguments: Arguments) -> list[tuple[File, str]]:
    entries: Any = arguments.structure("files")
    if not isinstance(entries, list) or not entries:
        raise SlackError("invalid_arguments", "[ERROR] missing required field: files")
    uploaded = []
    for entry in entries:
        file = slack.files.get(str(entry.get("id"))) if isinstance(entry, dict) else None
        if file is None or file.content is None or file.completed:
            raise SlackError("file_not_found")
        uploaded.append((file, str(entry.get("title") or "")))
    return uploaded


def _channel_ids(arguments: Arguments) -> list[str]:
    if "channel_id" in arguments:
        return [arguments.text("channel_id")]
    return arguments.names("channels")


def _upload_channel(slack: Slack, id: str) -> Channel:
    channel = slack.channels.get(id)
    if channel is None:
        raise SlackError("channel_not_found")
    return writable(slack, channel)


# Views: modals and the App Home. https://docs.slack.dev/surfaces/modals


def open_view(slack: Slack, arguments: Arguments) -> JSON:
    body = _view_argument(arguments, "modal")
    _check_external_id(slack, body)
    trigger = slack.triggers.exchange(arguments.required("trigger_id"))
    view = slack.new_view(trigger.user, body)
    slack.modals[trigger.user] = [view]
    trigger.opened = view
    slack.changed()
    return {"view": view_json(slack, view)}


def push_view(slack: Slack, arguments: Arguments) -> JSON:
    body = _view_argument(arguments, "modal")
    _check_external_id(slack, body)
    trigger = slack.triggers.exchange(arguments.required("trigger_id"))
    stack = slack.modals.get(trigger.user, [])
    if trigger.view is None or trigger.view not in stack:
        raise SlackError("not_found")
    view = trigger.opened = slack.push_view(trigger.user, body)
    return {"view": view_json(slack, view)}


def update_view(slack: Slack, arguments: Arguments) -> JSON:
    view = _find_view(slack, arguments)
    body = _view_argument(arguments, view.type)
    _check_external_id(slack, body, view)
    _check_hash(view, arguments)
    slack.replace_view(view, body)
    return {"view": view_json(slack, view)}


def publish_view(slack: Slack, arguments: Arguments) -> JSON:
    body = _view_argument(arguments, "home")
    user = arguments.required("user_id")
    if user not in slack.users:
        raise SlackError("user_not_found")
    home = slack.homes.get(user)
    if home is None:
        home = slack.homes[user] = slack.new_view(user, body)
    else:
        _check_hash(home, arguments)
        slack.replace_view(home, body)
    slack.changed()
    return {"view": view_json(slack, home)}


def _view_argument(arguments: Arguments, kind: str) -> JSON:
    view = arguments.structure("view")
    if view is None:
        raise SlackError("invalid_arguments", "[ERROR] missing required field: view")
    check_view(view, kind)
    return dict(view)


def _find_view(slack: Slack, arguments: Arguments) -> View:
    id, external_id = arguments.text("view_id"), arguments.text("external_id")
    if not id and not external_id:
        raise SlackError("invalid_arguments", "[ERROR] missing required field: view_id")
    for view in slack.views():
        if view.id == id or (external_id and view.body.get("external_id") == external_id):
            return view
    raise SlackError("not_found")


def _check_hash(view: View, arguments: Arguments) -> None:
    if "hash" in arguments and arguments.text("hash") != view.hash:
        raise SlackError("hash_conflict")


def _check_external_id(slack: Slack, body: JSON, own: View | None = None) -> None:
    id = body.get("external_id")
    if id and any(view is not own and view.body.get("external_id") == id for view in slack.views()):
        raise SlackError("duplicate_external_id")


MESSAGES: dict[str, Method] = {
    "chat.delete": delete_message,
    "chat.getPermalink": get_permalink,
    "chat.postEphemeral": post_ephemeral,
    "chat.postMessage": post_message,
    "chat.update": update_message,
    "files.completeUploadExternal": complete_upload,
    "files.getUploadURLExternal": get_upload_url,
    "files.info": get_file,
    "reactions.add": add_reaction,
    "views.open": open_view,
    "views.publish": publish_view,
    "views.push": push_view,
    "views.update": update_view,
}
