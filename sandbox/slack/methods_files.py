"""files.*: the three steps of an upload, and info. https://docs.slack.dev/messaging/working-with-files"""

from __future__ import annotations

import mimetypes
from typing import Any

from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.blocks import check_message, with_ids
from sandbox.slack.errors import SlackError
from sandbox.slack.shapes import file_json
from sandbox.slack.state import JSON, Channel, File


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


def receive(slack: Slack, file_id: str, content: bytes) -> File:
    """The bytes that came to the upload URL. SlackError file_not_found, length_mismatch."""
    file = slack.files.get(file_id)
    if file is None or file.completed:
        raise SlackError("file_not_found")
    if len(content) != file.size:
        raise SlackError("length_mismatch")
    file.content = content
    return file


def complete_upload(slack: Slack, arguments: Arguments) -> JSON:
    """Share the uploaded files as one message. As with Slack, the answer does not yet tell where: see files.info."""
    files = _uploaded(slack, arguments)
    channels = [_channel(slack, id) for id in _channel_ids(arguments)]
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


def info(slack: Slack, arguments: Arguments) -> JSON:
    file = slack.files.get(arguments.text("file"))
    if file is None or not file.completed:
        raise SlackError("file_not_found")
    return {"file": file_json(slack, file), "comments": [], "response_metadata": {"next_cursor": ""}}


def _uploaded(slack: Slack, arguments: Arguments) -> list[tuple[File, str]]:
    wanted: Any = arguments.structure("files")
    if not isinstance(wanted, list) or not wanted:
        raise SlackError("invalid_arguments", "[ERROR] missing required field: files")
    found = []
    for each in wanted:
        file = slack.files.get(str(each.get("id"))) if isinstance(each, dict) else None
        if file is None or file.content is None or file.completed:
            raise SlackError("file_not_found")
        found.append((file, str(each.get("title") or "")))
    return found


def _channel_ids(arguments: Arguments) -> list[str]:
    if "channel_id" in arguments:
        return [arguments.text("channel_id")]
    return arguments.names("channels")


def _channel(slack: Slack, id: str) -> Channel:
    channel = slack.channels.get(id)
    if channel is None:
        raise SlackError("channel_not_found")
    if channel.is_archived:
        raise SlackError("is_archived")
    if slack.bot_user.id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


METHODS = {
    "files.completeUploadExternal": complete_upload,
    "files.getUploadURLExternal": get_upload_url,
    "files.info": info,
}
