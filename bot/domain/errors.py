"""Errors of the bot. Their texts are in `templates/<language>/labels.yaml`, under `errors`."""

from __future__ import annotations


class BotError(Exception):
    """An expected error.

    `key` names its text under `errors` in the labels; `facts` fill it in. Facts are shown to people and logged, so they
    must not contain secrets.
    """

    def __init__(self, key: str, **facts: object) -> None:
        super().__init__(f"{key} {facts}" if facts else key)
        self.key = key
        self.facts = facts


class BadInput(BotError):
    """Input of a person or a program is not valid; the facts say what is wrong and what is valid."""


class NotFound(BotError):
    """The requested thing does not exist."""


class WrongState(BotError):
    """The thing exists, but its state does not allow the request."""


class NotAllowed(BotError):
    """The person lacks permission; the facts say who has it."""


class Unavailable(BotError):
    """A remote service did not answer or is rate limiting: trying again may help.

    `retry_after` is the number of seconds that the remote service asked to wait, if it did. `uncertain` is True if the
    request may have been carried out although its response was lost.
    """

    @property
    def retry_after(self) -> float | None:
        wait = self.facts.get("retry_after")
        return float(wait) if isinstance(wait, int | float) else None

    @property
    def uncertain(self) -> bool:
        return bool(self.facts.get("uncertain"))


class Blocked(Unavailable):
    """A remote service refuses until an administrator fixes something there: trying again helps after that."""


class Refused(BotError):
    """A remote service rejected the request: trying again does not help."""


class NotConfigured(BotError):
    """The integration has no settings."""
