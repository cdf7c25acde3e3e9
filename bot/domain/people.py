"""People and programs that act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Person:
    """A person or a program that acts.

    `id` is a Slack user id (`U…`), or `<source>:<name>` outside Slack (`pagerduty:Ana Torres`, `alertmanager`,
    `terminal:ana`). `locale` is `es` or `en`. `terminal` says from which terminal, as the operating system knows it
    (`uid 1000, ana@host`); it is empty for who acts in Slack.
    """

    id: str
    name: str = ""
    locale: str = "es"
    terminal: str = ""

    @property
    def in_slack(self) -> bool:
        return self.id[:1] in ("U", "W") and ":" not in self.id

    def to_json(self) -> dict[str, str]:
        person = {"id": self.id, "name": self.name, "locale": self.locale}
        return person | {"terminal": self.terminal} if self.terminal else person

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Person:
        """Parse a stored person; what another version of the bot has stored beside it is ignored."""
        return cls(**{name: raw[name] for name in ("id", "name", "locale", "terminal") if name in raw})


BOT = Person("bot", "tamv-bot")
