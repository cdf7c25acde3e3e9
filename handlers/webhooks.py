"""Webhooks: checked, kept, answered with 202; the work comes afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bot.domain.errors import BadInput, BotError, Unavailable
from bot.integrations.base import retry
from bot.integrations.github.github import verify_signature as github_signed
from bot.integrations.pagerduty import verify_signature as pagerduty_signed
from bot.services.alerts import Alerts
from bot.services.bot import Bot
from bot.services.followups import FollowUps
from bot.services.pagerduty import PagerDutyEvents
from bot.store.deliveries import Delivery
from handlers.body import read_body, read_json, refused

log = logging.getLogger(__name__)

WEBHOOK_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What each sender proves itself by; a path without its secret is off (404)."""

    alertmanager: SecretStr | None
    pagerduty: list[SecretStr]
    github: SecretStr | None


class Webhooks:
    def __init__(self, bot: Bot, secrets: Secrets) -> None:
        self._bot = bot
        self._secrets = secrets
        self._tasks: set[asyncio.Task[None]] = set()

    async def alertmanager(self, request: Request) -> Response:
        """Version 4; `Authorization: Bearer`."""
        secret = self._secrets.alertmanager
        if secret is None:
            return _off("ALERTMANAGER_WEBHOOK_TOKEN")
        wanted = f"Bearer {secret.get_secret_value()}"
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted.encode()):
            return refused("alertmanager", 401, "wrong token")
        body = await read_body(request)
        # Each counts, though Alertmanager repeats an identical body: whether it is news depends on the incident by now.
        return await self._accept("alertmanager", f"alertmanager:{uuid.uuid4().hex}", body, Alerts.read)

    async def pagerduty(self, request: Request) -> Response:
        """V3; any of the secrets may have signed."""
        if not self._secrets.pagerduty:
            return _off("PAGERDUTY_WEBHOOK_SECRETS")
        body = await read_body(request)
        secrets = [secret.get_secret_value() for secret in self._secrets.pagerduty]
        if not pagerduty_signed(request.headers.get("x-pagerduty-signature", ""), body, secrets):
            return refused("pagerduty", 401, "wrong signature")
        id = request.headers.get("x-webhook-id") or hashlib.sha256(body).hexdigest()[:40]
        return await self._accept("pagerduty", f"pagerduty:{id}"[:128], body, PagerDutyEvents.read)

    async def github(self, request: Request) -> Response:
        """Issues closed and reopened; `X-Hub-Signature-256`."""
        secret = self._secrets.github
        if secret is None:
            return _off("GITHUB_WEBHOOK_SECRET")
        body = await read_body(request)
        if not github_signed(request.headers.get("x-hub-signature-256", ""), body, secret.get_secret_value()):
            return refused("github", 401, "wrong signature")
        event = request.headers.get("x-github-event", "")
        # The delivery's id is not signed, the body is: sent again under another id it is still the same.
        id = hashlib.sha256(body).hexdigest()[:40]
        return await self._accept(f"github/{event}"[:32], f"github:{id}", body, partial(FollowUps.read, event))

    async def handle(self, delivery: Delivery) -> None:
        """Do what a kept delivery asks for; also after a crash."""
        body = json.loads(delivery.body)
        source, _, event = delivery.source.partition("/")
        if source == "alertmanager":
            await self._bot.alerts.handle(Alerts.read(body))
        elif source == "pagerduty" and (news := PagerDutyEvents.read(body)):
            await self._bot.pagerduty.handle(news)
        elif source == "github":
            await self._bot.followups.github(event, body, delivery.key)

    async def drain(self, seconds: float = 10.0) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def _accept(self, source: str, key: str, body: bytes, read: Callable[[Any], object]) -> Response:
        try:
            read(read_json(body))
        except (BadInput, ValueError, RecursionError) as problem:
            return refused(source, 400, str(problem)[:200])
        deps = self._bot.deps
        delivery = Delivery(key, source, body.decode("utf-8"))
        try:
            new = await deps.store.deliveries.accept(delivery, deps.clock.now())
        except Unavailable:
            return JSONResponse({"error": "the database is away; send it again"}, status_code=503)
        if new:
            self.start(delivery)
        return JSONResponse({"accepted": True}, status_code=202)

    def start(self, delivery: Delivery) -> None:
        """Handle a kept delivery, in a task of its own."""
        task = asyncio.create_task(self._process(delivery), name=f"webhook:{delivery.source}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, delivery: Delivery) -> None:
        """Handle a delivery and mark it; what is refused for too long is taken up by the next look at the inbox."""
        deps = self._bot.deps
        try:
            await retry(lambda: self.handle(delivery), WEBHOOK_TIMEOUT)
        except Unavailable as problem:
            log.warning("a webhook of %s waits: %s", delivery.source, problem)
            deps.store.deliveries.release(delivery.key)
            return
        except BotError as problem:
            log.warning("a webhook of %s came to nothing: %s", delivery.source, problem)
        except Exception:
            log.exception("a webhook of %s broke", delivery.source)
        try:
            await deps.store.deliveries.mark_done(delivery.key, deps.clock.now())
        except Unavailable as problem:
            log.warning("a webhook of %s could not be marked: %s", delivery.source, problem)


def _off(variable: str) -> Response:
    return JSONResponse({"error": f"{variable} is not set"}, status_code=404)
