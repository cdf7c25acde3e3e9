"""Health, readiness and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from bot.domain.errors import BotError
from bot.domain.incident import Severity, Status
from bot.metrics import CONTENT_TYPE
from bot.services.bot import Bot
from bot.store.maintenance import count_rows

PROBE_TIMEOUT_SECONDS = 2.0


class Health:
    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def livez(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(self, request: Request) -> Response:
        """200 if the database answers, the engine leads or stands by, and Slack has confirmed the bot's identity."""
        deps = self._bot.deps
        database, slack = await asyncio.gather(_result(deps.store.database.ready()), _result(deps.slack.identity()))
        engine = "leads" if self._bot.engine.leads else "stands by"
        ready = database == slack == "ok"
        checks = {"database": database, "slack": slack, "engine": engine}
        return JSONResponse(checks, status_code=200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Without the database, only this process's counters, and `tamv_bot_database_up 0`."""
        deps, metrics = self._bot.deps, self._bot.deps.metrics
        metrics.leads.set(self._bot.engine.leads)
        metrics.slack_waiting.set(deps.waiting.count)
        metrics.slack_waiting_seconds.set(deps.waiting.oldest_seconds)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                store_counts = await count_rows(deps.store.database)
        except (BotError, TimeoutError):
            metrics.database_up.set(0)
        else:
            metrics.database_up.set(1)
            metrics.outbox.set(store_counts.outbox)
            metrics.deliveries_waiting.set(store_counts.deliveries_waiting)
            for status in Status:
                for severity in Severity:
                    count = store_counts.incidents.get((status.value, severity.value), 0)
                    metrics.incidents.labels(status.value, severity.value).set(count)
        return Response(metrics.text(), media_type=CONTENT_TYPE)


async def _result(check: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await check
    except BotError as problem:
        return problem.key
    except TimeoutError:
        return "timed_out"
    return "ok"
