"""People and programs that act."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """A person or a program that acts.

    `id` is a Slack user id (`U…`), or `<source>:<name>` outside Slack (`pagerduty:Ana Torres`, `alertmanager`,
    `terminal:ana`). `locale` is `es` or `en`.
    """

    id: str
    name: str = ""
    locale: str = "es"

    @property
    def in_slack(self) -> bool:
        return self.id[:1] in ("U", "W") and ":" not in self.id


BOT = Person("bot", "tamv-bot")
