"""Slack's confirmation dialogs: a tap on what ends or changes something is asked back, with the facts of now."""

from __future__ import annotations

from typing import Any

from slack_sdk.models.blocks import PlainTextObject
from slack_sdk.models.blocks.basic_components import ConfirmObject

from bot.messages.message import fit
from bot.messages.translations import Mrkdwn, Translations

# https://docs.slack.dev/reference/block-kit/composition-objects/confirmation-dialog-object
TITLE_LIMIT = 100
TEXT_LIMIT = 300
BUTTON_LIMIT = 30


def _plain(text: str) -> Mrkdwn:
    """Return mrkdwn as plain text, which has no markup and no escapes."""
    for escaped, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"), ("`", ""), ("*", "")):
        text = text.replace(escaped, sign)
    return Mrkdwn(text)  # not escaped again


def confirm(words: Translations, name: str, *, danger: bool = False, **facts: Any) -> ConfirmObject:
    """Return the dialog `confirm.<name>` of the labels: title, text, accept, deny. They are plain text."""

    plain = {key: _plain(fact) if isinstance(fact, str) else fact for key, fact in facts.items()}

    def plain_text(key: str, limit: int) -> PlainTextObject:
        text = words.label(f"confirm.{name}.{key}", name=name, **plain)
        return PlainTextObject(text=fit(text, limit), emoji=True)

    return ConfirmObject(
        title=plain_text("title", TITLE_LIMIT),
        text=plain_text("text", TEXT_LIMIT),
        confirm=plain_text("accept", BUTTON_LIMIT),
        deny=plain_text("deny", BUTTON_LIMIT),
        style="danger" if danger else None,
    )
