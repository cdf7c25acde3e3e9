"""Health, readiness and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from bot.domain.errors import BotError
from bot.domain.incident import Severity, Status
from bot.metrics import CONTENT_TYPE
from bot.services.bot import Bot
from bot.store.maintenance import count_rows
from bot.workflows.engine.engine import EngineState

PROBE_TIMEOUT_SECONDS = 2.0


class Health:
    """What Kubernetes and Prometheus ask. `socket` says whether Socket Mode's websocket is open; None without it."""

    def __init__(self, bot: Bot, socket: Callable[[], Awaitable[bool]] | None = None) -> None:
        self._bot = bot
        self._socket = socket

    async def livez(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(self, request: Request) -> Response:
        """200 if this process can do its job; the body says what is missing.

        The database can be written, the engine runs workflows or stands by, Slack takes the token now, and the
        websocket is open where Socket Mode is on.
        """
        checks = await self._checks()
        body = {check: said for check, (_, said) in checks.items()}
        ready = all(good for good, _ in checks.values())
        return JSONResponse(body, status_code=200 if ready else 503)

    async def is_ready(self) -> bool:
        """Return whether this process can do its job."""
        return all(good for good, _ in (await self._checks()).values())

    async def _checks(self) -> dict[str, tuple[bool, str]]:
        """Return whether each check is good, and what there is to say about it. Sets their metrics."""
        deps, state = self._bot.deps, self._bot.engine.state
        database, slack = await asyncio.gather(
            _result(deps.store.database.writable()), _result(deps.slack.check_token())
        )
        checks = {
            "database": (database == "ok", database),
            "slack": (slack == "ok", slack),
            "engine": (state in (EngineState.RUNS, EngineState.STANDS_BY), state.value),
        }
        if self._socket:
            connected = await self._socket()
            checks["socket_mode"] = (connected, "ok" if connected else "no websocket")
        for check, (good, _) in checks.items():
            deps.metrics.ready.labels(check).set(good)
        return checks

    async def metrics(self, request: Request) -> Response:
        """Without the database, only this process's counters, and `tamv_bot_database_up 0`."""
        deps, metrics = self._bot.deps, self._bot.deps.metrics
        metrics.runs_workflows.set(self._bot.engine.runs_workflows)
        metrics.slack_waiting.set(deps.waiting.count)
        metrics.slack_waiting_seconds.set(deps.waiting.oldest_seconds)
        await self._checks()
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
        reason = problem.facts.get("error") or problem.facts.get("why")
        return f"{problem.key}: {reason}" if reason else problem.key
    except TimeoutError:
        return "timed_out"
    return "ok"
