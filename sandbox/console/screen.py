"""What one person sees of Slack, as flat records: the page gets all of them once, then those that changed.

The live connection is server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator

from sandbox.console.text import parse_markdown, parse_mrkdwn
from sandbox.slack.shapes import channel_json, message_json, view_json
from sandbox.slack.state import JSON, Channel, File, Message, View, Workspace, walk

MAX_MESSAGES = 400  # shown of a channel
ALIVE_SECONDS = 15.0  # without a change a comment is sent, so that a dead connection is noticed
GATHER_SECONDS = 0.03  # changes within this time are sent as one
Records = dict[str, JSON]


def screen(workspace: Workspace, me: str) -> Records:
    """Return the records by key: `team`, `user/U…`, `group/S…`, `channel/C…`, `message/C…/ts`, `view`, `home`."""
    company = workspace.company.workspace
    records: Records = {"team": {"name": company.name, "domain": company.domain, "bot": workspace.bot_user.id}}
    for place, user in enumerate(workspace.users.values()):
        records[f"user/{user.id}"] = {
            "id": user.id,
            "name": user.name,
            "real_name": user.real_name,
            "title": user.title,
            "is_bot": user.is_bot or user.id == "USLACKBOT",
            "place": place,
        }
    for group in workspace.usergroups.values():
        records[f"group/{group.id}"] = {"id": group.id, "handle": group.handle, "users": list(group.users)}
    for channel in workspace.channels.values():
        if _visible(channel, me):
            records[f"channel/{channel.id}"] = _channel(workspace, channel, me)
            for message in channel.visible_to(me)[-MAX_MESSAGES:]:
                records[f"message/{channel.id}/{message.ts}"] = _message(workspace, message, me)
    if stack := workspace.modals.get(me):
        records["view"] = _view(workspace, stack[-1])
    if home := workspace.homes.get(me):
        records["home"] = _view(workspace, home)
    return records


def _visible(channel: Channel, me: str) -> bool:
    return me in channel.members or not (channel.is_im or channel.is_private)


def _channel(workspace: Workspace, channel: Channel, me: str) -> JSON:
    shape = channel_json(workspace, channel)
    return {
        "id": channel.id,
        "name": channel.name,
        "is_im": channel.is_im,
        "is_private": channel.is_private,
        "is_archived": channel.is_archived,
        "is_member": me in channel.members,
        "topic": parse_mrkdwn(channel.topic.value),
        "purpose": parse_mrkdwn(channel.purpose.value),
        "creator": channel.creator,
        "created": shape["created"],
        "members": list(channel.members),
        "pins": list(channel.pins),
        "bookmarks": [{"title": mark.title, "link": mark.link, "emoji": mark.emoji} for mark in channel.bookmarks],
    }


def _message(workspace: Workspace, message: Message, me: str) -> JSON:
    shape = message_json(workspace, message, metadata=False)
    groups = {f"!subteam^{group.id}" for group in workspace.usergroups.values() if me in group.users}
    mentions = message.mentions() & ({f"@{me}", "!here", "!channel", "!everyone"} | groups)
    return {
        "channel": message.channel,
        "ts": message.ts,
        "user": message.user,
        "username": message.username,
        "subtype": message.subtype,
        "thread_ts": message.thread_ts,
        "is_reply": message.is_reply,
        "broadcast": message.reply_broadcast,
        "text": parse_mrkdwn(message.text),
        "blocks": readable(message.blocks),
        "attachments": [_attachment(attachment) for attachment in message.attachments],
        "files": [_file(workspace.files[id]) for id in message.files],
        "reactions": shape.get("reactions", []),
        "edited": bool(message.edited),
        "ephemeral": message.ephemeral_to is not None,
        "rings": bool(mentions) and message.user != me,
        "state": message.entered.get(me, {}),
        **{key: shape[key] for key in ("reply_count", "reply_users", "latest_reply") if key in shape},
        **{key: message.extra[key] for key in ("topic", "purpose") if key in message.extra},
    }


def _attachment(attachment: JSON) -> JSON:
    result = copy.deepcopy(attachment)
    for key in ("text", "pretext"):
        if isinstance(result.get(key), str):
            result[key] = parse_mrkdwn(result[key])
    result["fields"] = [
        field | {"value": parse_mrkdwn(str(field.get("value", "")))} for field in result.get("fields", [])
    ]
    result["blocks"] = readable(result.get("blocks", []))
    return result


def _view(workspace: Workspace, view: View) -> JSON:
    shape = view_json(workspace, view)
    keys = ("id", "hash", "type", "title", "close", "submit", "previous_view_id", "root_view_id")
    return {key: shape[key] for key in keys} | {"blocks": readable(view.blocks), "state": view.values}


def _file(file: File) -> JSON:
    return {
        "id": file.id,
        "name": file.name,
        "title": file.title or file.name,
        "mimetype": file.mimetype,
        "size": file.size,
        "alt": file.alt_text,
    }


def readable(blocks: list[JSON]) -> list[JSON]:
    """Return the blocks with their texts parsed: `rich` of mrkdwn, `tree` of Markdown."""
    result = copy.deepcopy(blocks)
    for node in walk(result):
        if node.get("type") == "mrkdwn" and isinstance(node.get("text"), str):
            node["rich"] = parse_mrkdwn(node["text"], verbatim=bool(node.get("verbatim")))
        elif node.get("type") == "markdown" and isinstance(node.get("text"), str):
            node["tree"] = parse_markdown(node["text"])
    return result


def changes(before: dict[str, str], records: Records) -> tuple[JSON | None, dict[str, str]]:
    """Return the patch from `before` (record texts by key), None if nothing changed, and the new texts."""
    after = {key: json.dumps(record, ensure_ascii=False) for key, record in records.items()}
    changed = {key: records[key] for key, text in after.items() if before.get(key) != text}
    removed = [key for key in before if key not in after]
    return ({"set": changed, "gone": removed} if changed or removed else None), after


async def stream(workspace: Workspace, me: str) -> AsyncIterator[str]:
    """Yield events `all` (the first) and `change`, each `{"set": {key: record}, "gone": [key]}`. Never ends."""
    shown: dict[str, str] = {}

    def find_changes() -> tuple[JSON, dict[str, str]] | None:
        patch, texts = changes(shown, screen(workspace, me))
        return (patch, texts) if patch else None

    event = "all"
    while True:
        try:
            result = await workspace.wait_for(find_changes, ALIVE_SECONDS)
        except TimeoutError:
            yield ": alive\n\n"
            continue
        if result:
            patch, shown = result
            yield f"event: {event}\ndata: {json.dumps(patch, ensure_ascii=False)}\n\n"
            event = "change"
            await asyncio.sleep(GATHER_SECONDS)
