"""The rich_text block that Slack makes of what a person types."""

from __future__ import annotations

import re
import secrets

from sandbox.slack.state import JSON

_TOKEN = re.compile(r"<([@#!]|https?://)([^>|]+)(?:\|([^>]*))?>")


def rich_text(text: str) -> JSON:
    """`text` is escaped as Slack passes it on: `<@U…>`, `<#C…>`, `<!here>`, `<https://…>` and entities."""
    elements: list[JSON] = []
    end = 0
    for match in _TOKEN.finditer(text):
        elements += _text(text[end : match.start()])
        elements.append(_element(match[1], match[2], match[3]))
        end = match.end()
    elements += _text(text[end:])
    section = {"type": "rich_text_section", "elements": elements}
    return {"type": "rich_text", "block_id": secrets.token_urlsafe(3), "elements": [section]}


def _text(text: str) -> list[JSON]:
    plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return [{"type": "text", "text": plain}] if plain else []


def _element(sigil: str, target: str, label: str | None) -> JSON:
    if sigil == "@":
        return {"type": "user", "user_id": target}
    if sigil == "#":
        return {"type": "channel", "channel_id": target}
    if sigil == "!" and target.startswith("subteam^"):
        return {"type": "usergroup", "usergroup_id": target.removeprefix("subteam^")}
    if sigil == "!":
        return {"type": "broadcast", "range": target}
    link = {"type": "link", "url": sigil + target}
    return link | ({"text": label} if label else {})
