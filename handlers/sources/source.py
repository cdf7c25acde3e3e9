"""What all sources of webhooks share."""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError

from bot.domain.errors import BadInput
from bot.services.bot import Bot
from bot.settings import Settings

Model = TypeVar("Model", bound=BaseModel)


class Payload(BaseModel):
    """A part of a webhook's body. Unknown keys of newer versions are ignored."""

    model_config = ConfigDict(extra="ignore")


# What only describes something, and what senders leave empty in one way or another.
Text = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else "")]


class Source(ABC):
    """A sender of webhooks at `POST /webhooks/<name>`: its authentication and its events.

    `setting` names the setting with its secret; without it the path returns 404. To add a source: one module with one
    subclass here, an entry in `SOURCES`, a setting, a test.
    """

    name: ClassVar[str]
    setting: ClassVar[str]
    signs_body: ClassVar[bool] = True  # if False, headers authenticate, and unauthenticated bodies are not read

    def __init__(self, settings: Settings) -> None:
        secrets: SecretStr | list[SecretStr] | None = getattr(settings, self.setting)
        configured = secrets if isinstance(secrets, list) else [secrets] if secrets else []
        self.secrets = [secret.get_secret_value() for secret in configured]

    @abstractmethod
    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return True if the sender knows one of the secrets."""

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the same id for repeated deliveries."""
        return hashlib.sha256(body).hexdigest()[:40]

    def event(self, headers: Mapping[str, str]) -> str:
        """Return the kind of event if it is in a header, else an empty text."""
        return ""

    def content(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the JSON that a body holds. Raises ValueError if it holds none."""
        return body

    @abstractmethod
    def read(self, event: str, body: Any) -> Any:
        """Return the event in a body's JSON, or None if the bot does not use it. Raises BadInput."""

    def refused_parts(self, event: Any) -> Sequence[str]:
        """Return what of the body could not be read, one line each, while the rest is handled."""
        return ()

    @abstractmethod
    async def handle(self, bot: Bot, event: Any, key: str) -> None:
        """Handle what `read` returned, for the delivery `key`; may be called again after a crash."""


def bearer(headers: Mapping[str, str], secrets: Sequence[str]) -> bool:
    """Return True if `Authorization` has one of the secrets; the case of the scheme does not count (RFC 9110)."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    recorded = [hmac.compare_digest(token.strip().encode(), secret.encode()) for secret in secrets]
    return scheme.lower() == "bearer" and any(recorded)


def validate(model: type[Model], body: Any, where: str = "") -> Model:
    """Return the body as `model`. Raises BadInput with the first invalid field, in `where` of the whole."""
    try:
        return model.model_validate(body)
    except ValidationError as mistakes:
        first = mistakes.errors(include_input=False, include_url=False)[0]
        location = ".".join(filter(None, [where, *(str(part) for part in first["loc"])]))
        raise BadInput("webhook_wrong", where=location or "body", why=first["msg"]) from None
