"""What every source of webhooks has in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from bot.domain.errors import BadInput
from bot.services.bot import Bot
from bot.settings import Settings

Model = TypeVar("Model", bound=BaseModel)


class Payload(BaseModel):
    """A part of a webhook's body. Keys that newer versions add are ignored."""

    model_config = ConfigDict(extra="ignore")


class Source(ABC):
    """One sender of webhooks, at `POST /webhooks/<name>`: how it proves itself, and what its bodies mean.

    `setting` names the setting with its secret; without it the path is off (404). To add a source: one module here with
    one subclass, its place in `SOURCES`, its setting, its test.
    """

    name: ClassVar[str]
    setting: ClassVar[str]
    signs_body: ClassVar[bool] = True  # else the headers alone prove who sends, and a stranger's body is not read

    def __init__(self, settings: Settings) -> None:
        secrets: SecretStr | list[SecretStr] | None = getattr(settings, self.setting)
        given = secrets if isinstance(secrets, list) else [secrets] if secrets else []
        self.secrets = [secret.get_secret_value() for secret in given]

    @abstractmethod
    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return True if the sender knows one of the secrets."""

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """The same for the same delivery, however often it is sent."""
        return hashlib.sha256(body).hexdigest()[:40]

    def event(self, headers: Mapping[str, str]) -> str:
        """The kind of event where it is in a header and not in the body; else empty."""
        return ""

    @abstractmethod
    def read(self, event: str, body: Any) -> Any:
        """The event in a body's JSON, or None for one that the bot has no use for. Raises BadInput."""

    @abstractmethod
    async def handle(self, bot: Bot, event: Any, key: str) -> None:
        """Do what follows from what `read` returned for the delivery `key`; a crash may call it again."""


def validate(model: type[Model], body: Any) -> Model:
    """The body as `model`. Raises BadInput that names the first thing that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as mistakes:
        first = mistakes.errors(include_input=False, include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        raise BadInput("webhook_wrong", where=location or "body", why=first["msg"]) from None
