"""A message for Slack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.models.blocks import Block

from bot.messages.blocks import section


@dataclass(frozen=True, slots=True)
class Message:
    """What Slack shows: `blocks`, and `text` where blocks cannot be (notifications, screen readers)."""

    text: str
    blocks: Sequence[Block]

    @classmethod
    def of(cls, text: str) -> Message:
        """A message of nothing but this mrkdwn."""
        return cls(text, [section(text)])

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "blocks": [block.to_dict() for block in self.blocks]}

    @property
    def digest(self) -> str:
        """The same for two messages that look the same."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()
