"""Webhooks of every source: verified, saved as a delivery, acknowledged with 202, then handled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bot.domain.errors import BadInput, BotError, Unavailable
from bot.integrations.base import retry
from bot.services.bot import Bot
from bot.settings import Settings
from bot.store.deliveries import Delivery
from bot.tasks import continue_in_background
from handlers.body import WEBHOOK_LIMIT, printable, read_body, read_json, refused
from handlers.sources import SOURCES
from handlers.sources.source import Source

log = logging.getLogger(__name__)

REFUSED_LINES = 10  # of one request
WEBHOOK_TIMEOUT = timedelta(minutes=10)


class Webhooks:
    def __init__(self, bot: Bot, settings: Settings) -> None:
        self._bot = bot
        self._sources = {source.name: source(settings) for source in SOURCES}
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[BaseRoute]:
        return [
            Route(f"/webhooks/{name}", self._endpoint(source), methods=["POST"])
            for name, source in self._sources.items()
        ]

    def start(self, delivery: Delivery) -> None:
        """Handle a saved delivery in a task."""
        task = asyncio.create_task(self._process(delivery), name=f"webhook:{delivery.source}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float = 10.0) -> None:
        """Wait for running handlers; unfinished ones continue after the next start."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def _endpoint(self, source: Source) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                response = await self._accept(source, request)
            except HTTPException as problem:
                response = refused(source.name, problem.status_code, problem.detail, problem.headers)
            self._bot.deps.metrics.webhook(source.name, response.status_code)
            return response

        return answer

    async def _accept(self, source: Source, request: Request) -> Response:
        if not source.secrets:
            return JSONResponse({"error": f"{source.setting.upper()} is not set"}, status_code=404)
        body = await read_body(request, WEBHOOK_LIMIT) if source.signs_body else b""
        if not source.is_authentic(request.headers, body):
            return refused(source.name, 401, "wrong signature or token")
        if not source.signs_body:
            body = await read_body(request, WEBHOOK_LIMIT)
        event = source.event(request.headers)
        try:
            content = read_json(source.content(request.headers, body))
            parts = source.refused_parts(source.read(event, content))
        except (BadInput, ValueError, RecursionError) as problem:
            return refused(source.name, 400, str(problem) if isinstance(problem, BadInput) else type(problem).__name__)
        key = f"{source.name}:{source.delivery_id(request.headers, body)}"[:128]
        delivery = Delivery(
            key, f"{source.name}/{event}"[:32] if event else source.name, json.dumps(content, ensure_ascii=False)
        )
        deps = self._bot.deps
        try:
            new = await deps.store.deliveries.accept(delivery, deps.clock.now())
        except Unavailable:
            return JSONResponse({"error": "the database is down; send it again"}, status_code=503)
        for part in parts[:REFUSED_LINES]:
            log.warning("refused a part of a request of %s: %s", source.name, printable(str(part)))
        deps.metrics.webhook_parts_refused(source.name, len(parts))
        if new:
            self.start(delivery)
        return JSONResponse({"accepted": True}, status_code=202)

    async def _process(self, delivery: Delivery) -> None:
        """Handle a delivery and mark it as done; one that fails for too long is left to the next recovery pass."""
        deps = self._bot.deps
        await continue_in_background()
        try:
            await retry(lambda: self._handle(delivery), WEBHOOK_TIMEOUT)
        except Unavailable as problem:
            log.warning("webhook of %s postponed: %s", delivery.source, problem)
            deps.store.deliveries.release(delivery.key)
            return
        except BotError as problem:
            log.warning("webhook of %s failed: %s", delivery.source, problem)
        except Exception:
            log.exception("webhook of %s failed unexpectedly", delivery.source)
            deps.metrics.delivery_failed(delivery.source)
        try:
            await deps.store.deliveries.mark_done(delivery.key, deps.clock.now())
        except Unavailable as problem:
            log.warning("webhook of %s could not be marked as done: %s", delivery.source, problem)

    async def _handle(self, delivery: Delivery) -> None:
        name, _, event = delivery.source.partition("/")
        source = self._sources[name]
        parsed = source.read(event, json.loads(delivery.body))
        if parsed is not None:
            await source.handle(self._bot, parsed, delivery.key)
