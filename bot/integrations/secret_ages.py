"""When each secret was written last, by Vault: asked in the background for those who look, and remembered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bot.clock import Clock
from bot.domain.errors import BotError
from bot.tasks import cancel_and_wait
from bot.team import VaultSecret

if TYPE_CHECKING:
    from bot.integrations.vault import Vault

log = logging.getLogger(__name__)

CACHE_TTL = timedelta(minutes=5)
QUERY_TIMEOUT_SECONDS = 1.0  # seconds that somebody who looks waits for the answer

Place = tuple[str, str]  # a secret of the team's file, an environment


class SecretAges:
    """Vault's answers for the secrets of the team's file, fresh for five minutes and kept for when it is away."""

    def __init__(self, vault: Vault, secrets: Mapping[str, VaultSecret], clock: Clock) -> None:
        self._vault = vault
        self._secrets = secrets
        self._clock = clock
        self._known: dict[Place, datetime] = {}
        self._fresh_until: datetime | None = None
        self._asking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._asking:
            await cancel_and_wait([self._asking])

    async def cached(self) -> Mapping[Place, datetime]:
        """When each was written; what Vault does not say, or has not said yet, is not among them."""
        if self._asking is None and not (self._fresh_until and self._clock.now() < self._fresh_until):
            self._asking = asyncio.create_task(self._ask(), name="ages of secrets")
        if self._asking:
            await asyncio.wait({self._asking}, timeout=QUERY_TIMEOUT_SECONDS)
        return dict(self._known)

    async def _ask(self) -> None:
        try:
            places = [(name, environment) for name, secret in self._secrets.items() for environment in secret.paths]
            answered = await asyncio.gather(*(self._ask_for(*secret) for secret in places))
            if all(answered):
                self._fresh_until = self._clock.now() + CACHE_TTL
        finally:
            self._asking = None

    async def _ask_for(self, name: str, environment: str) -> bool:
        secret = self._secrets[name]
        try:
            written = await self._vault.updated_at(secret.mount, secret.paths[environment])
        except BotError as problem:
            log.warning("how old %s in %s is: %s", name, environment, problem)
            return False
        self._known[name, environment] = written
        return True
