"""Slack's mrkdwn as plain text, for a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

_MARKUP = re.compile(r"<(?P<sign>[@#!]?)(?P<what>[^<>|]+)(?:\|(?P<shown>[^<>]*))?>")
_BOLD = re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])")


def as_text(mrkdwn: str, names: Mapping[str, str]) -> str:
    """Return mrkdwn as plain text: names for mentions (`names`: user id → name), link texts, no markup."""

    def shown(match: re.Match[str]) -> str:
        what, text = match["what"], match["shown"]
        if match["sign"] == "@":
            return names.get(what) or text or what
        return text or (f"#{what}" if match["sign"] == "#" else what)

    return html.unescape(_BOLD.sub(r"\1", _MARKUP.sub(shown, mrkdwn)))
