"""Remove old data, in small batches, so that it delays no request. Each process does it; the second finds nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from dbos import DBOS

from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.store.maintenance import prune_assignments, prune_charts, prune_runs

log = logging.getLogger(__name__)

CLEANUP_INTERVAL = timedelta(hours=6)
CHART_RETENTION = timedelta(days=7)
DELIVERY_RETENTION = timedelta(days=30)  # later, a repeated delivery counts as new
# Nobody reads a workflow that has ended. Its id only keeps a second one from starting, as a delivery's key does.
WORKFLOW_RETENTION = DELIVERY_RETENTION
ENDED = ["SUCCESS", "ERROR"]
BATCH_SIZE = 20
BATCH_PAUSE_SECONDS = 0.1  # between two transactions, so that requests can use the database


async def cleanup_loop(deps: Deps, may_run: asyncio.Event) -> None:
    """Clean up every CLEANUP_INTERVAL while this process runs workflows."""
    while True:
        await asyncio.sleep(CLEANUP_INTERVAL.total_seconds() / deps.clock.speed)
        await may_run.wait()
        try:
            await cleanup(deps)
        except Unavailable as problem:
            log.warning("cleanup postponed: %s", problem)
        except Exception:
            log.exception("cleanup failed; next attempt in %s", CLEANUP_INTERVAL)


async def cleanup(deps: Deps) -> None:
    """Delete old handled deliveries, workflows, charts, expired target locks, and the details of old runs."""
    now, database = deps.clock.now(), deps.store.database
    await deps.store.deliveries.prune(now - DELIVERY_RETENTION)
    await deps.store.locks.prune(now)
    before = now - deps.keep_runs
    await prune_assignments(database, before)
    await deps.store.alerts.prune(before)
    being_undone = await _runs_being_undone(deps)
    await _in_batches("runs' details", lambda: prune_runs(database, before, but=being_undone, limit=BATCH_SIZE))
    await _in_batches("charts", lambda: prune_charts(database, now - CHART_RETENTION, limit=BATCH_SIZE))
    await _in_batches("workflows", lambda: _prune_workflows(deps, now - WORKFLOW_RETENTION))


async def _in_batches(what: str, prune: Callable[[], Awaitable[int]]) -> None:
    """Prune until nothing is left, with a pause after each batch."""
    total = 0
    while pruned := await prune():
        total += pruned
        await asyncio.sleep(BATCH_PAUSE_SECONDS)
    if total:
        log.info("removed %s old %s", total, what)


async def _runs_being_undone(deps: Deps) -> set[str]:
    enqueued = [entry.arguments for entry in await deps.store.outbox.pending() if entry.workflow == "undo"]
    pending = await DBOS.list_workflows_async(status="PENDING", name="undo", load_output=False)
    return {
        str(arguments[0])
        for arguments in [*enqueued, *(workflow.input["args"] for workflow in pending if workflow.input)]
    }


async def _prune_workflows(deps: Deps, before: datetime) -> int:
    """Delete up to BATCH_SIZE workflows that ended before then, with what DBOS recorded of them. Returns their number.

    Those that the outbox still has are kept: they were started, but this was not noted, and will be started again.
    """
    waiting = {entry.workflow_id for entry in await deps.store.outbox.pending()}
    old = await DBOS.list_workflows_async(
        status=ENDED,
        completed_before=before.isoformat(),
        limit=BATCH_SIZE + len(waiting),
        load_input=False,
        load_output=False,
    )
    if ids := [workflow.workflow_id for workflow in old if workflow.workflow_id not in waiting][:BATCH_SIZE]:
        await DBOS.delete_workflows_async(ids)
    return len(ids)
