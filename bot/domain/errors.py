"""The mistakes that the bot can name. Words for them stand in `templates/<language>/labels.yaml`, under `errors`."""

from __future__ import annotations


class BotError(Exception):
    """Something went wrong in a way that has a name.

    `key` names the words under `errors` in the labels; `facts` fill them in. No secret may be among the facts:
    they are shown to people and logged.
    """

    def __init__(self, key: str, **facts: object) -> None:
        super().__init__(f"{key} {facts}" if facts else key)
        self.key = key
        self.facts = facts


class BadInput(BotError):
    """What a person or a program sent cannot be used; the facts say what was wrong and what would be right."""


class NotFound(BotError):
    """What was asked for does not exist."""


class WrongState(BotError):
    """The thing exists but is not in a state in which this can be done."""


class NotAllowed(BotError):
    """This person may not do this; the facts say who can."""


class Unavailable(BotError):
    """A remote did not answer, or asked for patience: trying again may help.

    The fact `retry_after`, in seconds, is there when the remote said how long to wait. The fact `uncertain` is
    true when the request may have been carried out although its answer was lost.
    """

    @property
    def retry_after(self) -> float | None:
        wait = self.facts.get("retry_after")
        return float(wait) if isinstance(wait, int | float) else None

    @property
    def uncertain(self) -> bool:
        return bool(self.facts.get("uncertain"))


class Refused(BotError):
    """A remote understood and said no: trying again does not help."""


class NotConfigured(BotError):
    """An integration that was not configured was asked for."""
