"""Slack messages and their building blocks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ContextBlock,
    HeaderBlock,
    InteractiveElement,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)
from slack_sdk.models.blocks.basic_components import ConfirmObject

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
BUTTON_LIMIT = 75
TEXT_LIMIT = 4000
SHORT_BLOCKS = 12
SHORT_SECTION = 500
PLAIN_LIMIT = 3500
_MARKUP = re.compile(r"&(?:amp|lt|gt);|<[^<>]*>|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """A message: `blocks`, and `text` for places without blocks (notifications, screen readers)."""

    text: str
    blocks: Sequence[Block]

    @classmethod
    def of(cls, text: str) -> Message:
        """Return a message with a single section of mrkdwn."""
        return cls(text, [section(text)])

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "blocks": [block.to_dict() for block in self.blocks]}

    def forms(self) -> list[Message]:
        """Return the message, and simpler forms for when Slack does not accept it: shorter, then text alone."""
        shorter = [block for block in (_shorter(block) for block in self.blocks[:SHORT_BLOCKS]) if block]
        return [self, Message(fit(self.text, SECTION_LIMIT), shorter), Message(fit(self.plain_text, PLAIN_LIMIT), [])]

    @property
    def plain_text(self) -> str:
        """All that can be read in the message."""
        texts = [text for block in self.blocks for text in _texts(block.to_dict())]
        return "\n".join(texts) or self.text

    @property
    def digest(self) -> str:
        """A hash that is equal for messages with equal content."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _shorter(block: Block) -> Block | None:
    """Return the block with less text; None for kinds that Slack may not accept."""
    if isinstance(block, SectionBlock):
        return section("\n".join(fit(text, SHORT_SECTION) for text in _texts(block.to_dict())[:2]))
    return block if isinstance(block, HeaderBlock | ContextBlock | ActionsBlock) else None


def _texts(node: Any) -> list[str]:
    """Return the texts of a block in reading order, without those of buttons."""
    if isinstance(node, list):
        return [text for child in node for text in _texts(child)]
    if not isinstance(node, dict) or node.get("type") == "button":
        return []
    text = node.get("text")
    return [text] if isinstance(text, str) else [nested for child in node.values() for nested in _texts(child)]


def fit(text: str, limit: int) -> str:
    """Cut `text` at `limit` characters with an ellipsis, never inside an escape or a link."""
    if len(text) <= limit:
        return text
    kept, length = [], 0
    for piece in _MARKUP.findall(text):
        if length + len(piece) > limit - 1:
            break
        kept.append(piece)
        length += len(piece)
    return "".join(kept).rstrip() + "…"


def mrkdwn(text: str, limit: int = SECTION_LIMIT) -> MarkdownTextObject:
    # verbatim: Slack must not turn people's text (#general, @here, URLs) into links or mentions
    return MarkdownTextObject(text=fit(text, limit) or " ", verbatim=True)


def header(text: str) -> HeaderBlock:
    return HeaderBlock(text=PlainTextObject(text=fit(text, HEADER_LIMIT), emoji=False))


def section(
    text: str, fields: Sequence[str] = (), block_id: str | None = None, accessory: ButtonElement | None = None
) -> SectionBlock:
    shown = [mrkdwn(field, FIELD_LIMIT) for field in fields[:10]]
    return SectionBlock(
        text=mrkdwn(text) if text else None, fields=shown or None, block_id=block_id, accessory=accessory
    )


def context(*texts: str) -> ContextBlock:
    return ContextBlock(elements=[mrkdwn(text) for text in texts if text][:10])


def button(
    text: str,
    action_id: str,
    value: str,
    *,
    style: str | None = None,
    url: str | None = None,
    confirm: ConfirmObject | None = None,
) -> ButtonElement:
    label = PlainTextObject(text=fit(text, BUTTON_LIMIT), emoji=True)
    return ButtonElement(text=label, action_id=action_id, value=value, style=style, url=url, confirm=confirm)


def actions(elements: Sequence[InteractiveElement], block_id: str | None = None) -> list[Block]:
    """Return a row of buttons; empty without buttons."""
    return [ActionsBlock(elements=list(elements), block_id=block_id)] if elements else []
