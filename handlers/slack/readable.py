"""What a person can read of a Slack message: text, blocks, attachments and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.signature import unescape_slack

_INLINE = {"link": "url", "emoji": "name", "user": "user_id", "usergroup": "usergroup_id", "channel": "channel_id"}


def readable_text(message: Mapping[str, Any]) -> str:
    """Return the text, or that of the blocks, then attachments and the titles of files, one a line, each once.

    Integrations such as Alertmanager and PagerDuty post attachments without a text.
    """
    lines = list(_own_text(message))
    for attachment in message.get("attachments") or []:
        lines += _of_attachment(attachment)
    for file in message.get("files") or []:
        lines.append(str(file.get("title") or file.get("name") or ""))
    return unescape_slack("\n".join(dict.fromkeys(line.strip() for line in lines if line.strip())))


def author(message: Mapping[str, Any]) -> str:
    """Return the user id of who wrote the message, or the name of the app."""
    profile = message.get("bot_profile") or {}
    return str(message.get("user") or message.get("username") or profile.get("name") or "bot")


def _own_text(message: Mapping[str, Any]) -> Iterator[str]:
    if text := str(message.get("text") or ""):
        yield text
    else:
        yield from _of_blocks(message.get("blocks") or [])


def _of_attachment(attachment: Mapping[str, Any]) -> Iterator[str]:
    texts = [str(attachment.get(name) or "") for name in ("pretext", "author_name", "title", "text")]
    for field in attachment.get("fields") or []:
        texts.append(": ".join(filter(None, (str(field.get("title") or ""), str(field.get("value") or "")))))
    texts += _of_blocks(attachment.get("blocks") or [])
    yield from texts if any(texts) else [str(attachment.get("fallback") or "")]


def _of_blocks(node: Any) -> Iterator[str]:
    """Yield the texts in reading order; a rich text's parts of a line together."""
    if isinstance(node, list):
        for child in node:
            yield from _of_blocks(child)
    elif isinstance(node, dict):
        if node.get("type") == "button":
            return
        if str(node.get("type", "")).startswith("rich_text_") and node.get("type") != "rich_text_list":
            yield "".join(str(part.get("text") or part.get(_INLINE.get(part.get("type"), "text")) or "")
                          for part in node.get("elements") or [])  # fmt: skip
        elif isinstance(node.get("text"), str):
            yield node["text"]
        else:
            for child in node.values():
                yield from _of_blocks(child)
