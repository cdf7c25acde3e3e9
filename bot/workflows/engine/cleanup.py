"""Remove old data, in small batches, so that it delays no request. Each process does it; the second finds nothing."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from dbos import DBOS

from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.store.maintenance import prune_assignments, prune_runs, runs_with_steps

log = logging.getLogger(__name__)

CLEANUP_INTERVAL = timedelta(hours=6)
DELIVERY_RETENTION = timedelta(days=30)  # later, a repeated delivery counts as new
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
    """Delete old handled deliveries, expired target locks, and the details of old runs."""
    now = deps.clock.now()
    await deps.store.deliveries.prune(now - DELIVERY_RETENTION)
    await deps.store.locks.prune(now)
    before = now - deps.keep_runs
    await prune_assignments(deps.store.database, before)
    await deps.store.alerts.prune(before)
    runs_being_undone = await _runs_being_undone(deps)
    while pruned := await prune_runs(deps.store.database, before, but=runs_being_undone, limit=BATCH_SIZE):
        log.info("removed the details of %s runs that ended before %s", pruned, before)
        await asyncio.sleep(BATCH_PAUSE_SECONDS)
    await _prune_workflows(deps, before)


async def _runs_being_undone(deps: Deps) -> set[str]:
    enqueued = [entry.arguments for entry in await deps.store.outbox.pending() if entry.workflow == "undo"]
    pending = await DBOS.list_workflows_async(status="PENDING", name="undo", load_output=False)
    return {
        str(arguments[0])
        for arguments in [*enqueued, *(workflow.input["args"] for workflow in pending if workflow.input)]
    }


async def _prune_workflows(deps: Deps, before: datetime) -> None:
    """Delete DBOS's records of workflows that ended before then, except of runs whose details are kept."""
    offset = 0
    while old := await DBOS.list_workflows_async(
        status=ENDED,
        completed_before=before.isoformat(),
        limit=BATCH_SIZE,
        offset=offset,
        load_input=False,
        load_output=False,
    ):
        ids = {workflow.workflow_id for workflow in old}
        kept_ids = await runs_with_steps(deps.store.database, ids)
        if ids - kept_ids:
            await DBOS.delete_workflows_async(sorted(ids - kept_ids))
        offset += len(kept_ids)
