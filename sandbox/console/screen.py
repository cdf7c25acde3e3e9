"""What one person sees of Slack, as flat records: the page gets all of them once, then only those that changed."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from sandbox.console import markdown, mrkdwn
from sandbox.slack.shapes import channel_json, message_json, view_json
from sandbox.slack.state import JSON, Channel, File, Message, View, walk

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

NEWEST = 400  # messages of a channel that are shown

Records = dict[str, JSON]


def screen(slack: Slack, me: str) -> Records:
    """The records by key: `team`, `user/U…`, `group/S…`, `channel/C…`, `message/C…/ts`, `view`, `home`."""
    workspace = slack.company.workspace
    records: Records = {"team": {"name": workspace.name, "domain": workspace.domain, "bot": slack.bot_user.id}}
    for place, user in enumerate(slack.users.values()):
        records[f"user/{user.id}"] = {
            "id": user.id,
            "name": user.name,
            "real_name": user.real_name,
            "title": user.title,
            "is_bot": user.is_bot or user.id == "USLACKBOT",
            "place": place,
        }
    for group in slack.usergroups.values():
        records[f"group/{group.id}"] = {"id": group.id, "handle": group.handle, "users": list(group.users)}
    for channel in slack.channels.values():
        if _visible(channel, me):
            records[f"channel/{channel.id}"] = _channel(slack, channel, me)
            for message in channel.visible_to(me)[-NEWEST:]:
                records[f"message/{channel.id}/{message.ts}"] = _message(slack, message, me)
    if stack := slack.modals.get(me):
        records["view"] = _view(slack, stack[-1])
    if home := slack.homes.get(me):
        records["home"] = _view(slack, home)
    return records


def changes(before: dict[str, str], records: Records) -> tuple[JSON | None, dict[str, str]]:
    """What to tell somebody who has `before` (record texts by key): the patch (None: nothing), and the new texts."""
    after = {key: json.dumps(record, ensure_ascii=False) for key, record in records.items()}
    changed = {key: records[key] for key, text in after.items() if before.get(key) != text}
    gone = [key for key in before if key not in after]
    return ({"set": changed, "gone": gone} if changed or gone else None), after


def _visible(channel: Channel, me: str) -> bool:
    return me in channel.members or not (channel.is_im or channel.is_private)


def _channel(slack: Slack, channel: Channel, me: str) -> JSON:
    shape = channel_json(slack, channel)
    return {
        "id": channel.id,
        "name": channel.name,
        "is_im": channel.is_im,
        "is_private": channel.is_private,
        "is_archived": channel.is_archived,
        "is_member": me in channel.members,
        "topic": mrkdwn.parse(channel.topic.value),
        "purpose": mrkdwn.parse(channel.purpose.value),
        "creator": channel.creator,
        "created": shape["created"],
        "members": list(channel.members),
        "pins": list(channel.pins),
        "bookmarks": [{"title": mark.title, "link": mark.link, "emoji": mark.emoji} for mark in channel.bookmarks],
    }


def _message(slack: Slack, message: Message, me: str) -> JSON:
    shape = message_json(slack, message, metadata=False)
    groups = {f"!subteam^{group.id}" for group in slack.usergroups.values() if me in group.users}
    rings = message.mentions() & ({f"@{me}", "!here", "!channel", "!everyone"} | groups)
    return {
        "channel": message.channel,
        "ts": message.ts,
        "user": message.user,
        "username": message.username,
        "subtype": message.subtype,
        "thread_ts": message.thread_ts,
        "is_reply": message.is_reply,
        "broadcast": message.reply_broadcast,
        "text": mrkdwn.parse(message.text),
        "blocks": readable(message.blocks),
        "attachments": [_attachment(each) for each in message.attachments],
        "files": [_file(slack.files[id]) for id in message.files],
        "reactions": shape.get("reactions", []),
        "edited": bool(message.edited),
        "ephemeral": message.ephemeral_to is not None,
        "rings": bool(rings) and message.user != me,
        "state": message.entered.get(me, {}),
        **{key: shape[key] for key in ("reply_count", "reply_users", "latest_reply") if key in shape},
        **{key: message.extra[key] for key in ("topic", "purpose") if key in message.extra},
    }


def _attachment(attachment: JSON) -> JSON:
    made = copy.deepcopy(attachment)
    for key in ("text", "pretext"):
        if isinstance(made.get(key), str):
            made[key] = mrkdwn.parse(made[key])
    made["fields"] = [field | {"value": mrkdwn.parse(str(field.get("value", "")))} for field in made.get("fields", [])]
    made["blocks"] = readable(made.get("blocks", []))
    return made


def _view(slack: Slack, view: View) -> JSON:
    shape = view_json(slack, view)
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
    """The blocks with what the page would have to parse already parsed: `rich` of mrkdwn, `tree` of Markdown."""
    made = copy.deepcopy(blocks)
    for node in walk(made):
        if node.get("type") == "mrkdwn" and isinstance(node.get("text"), str):
            node["rich"] = mrkdwn.parse(node["text"], verbatim=bool(node.get("verbatim")))
        elif node.get("type") == "markdown" and isinstance(node.get("text"), str):
            node["tree"] = markdown.tree(node["text"])
    return made
