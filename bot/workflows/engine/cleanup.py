"""What nobody will look at again is removed. The leader does it, a little at a time, so that nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from dbos import DBOS

from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.store.maintenance import prune_runs, runs_with_steps

log = logging.getLogger(__name__)

CLEANUP_INTERVAL = timedelta(hours=6)
DELIVERY_RETENTION = timedelta(days=30)  # a delivery that is sent again later than that is another matter
ENDED = ["SUCCESS", "ERROR"]
BATCH_SIZE = 20
BATCH_PAUSE_SECONDS = 0.1  # seconds between two transactions, for those who answer people


async def cleanup_loop(deps: Deps, held: asyncio.Event) -> None:
    """Tidy from time to time, while `held` says that this process leads."""
    while True:
        await asyncio.sleep(CLEANUP_INTERVAL.total_seconds() / deps.clock.speed)
        await held.wait()
        try:
            await cleanup(deps)
        except Unavailable as problem:
            log.warning("tidying is put off: %s", problem)
        except Exception:
            log.exception("tidying broke; it goes on in %s", CLEANUP_INTERVAL)


async def cleanup(deps: Deps) -> None:
    """Remove deliveries that were handled, targets that have cooled down, and the details of runs of long ago."""
    now = deps.clock.now()
    await deps.store.deliveries.prune(now - DELIVERY_RETENTION)
    await deps.store.locks.prune(now)
    before = now - deps.keep_runs
    being_undone = await _runs_being_undone(deps)
    while forgotten := await prune_runs(deps.store.database, before, but=being_undone, limit=BATCH_SIZE):
        log.info("removed the details of %s runs that ended before %s", forgotten, before)
        await asyncio.sleep(BATCH_PAUSE_SECONDS)
    await _prune_workflows(deps, before)


async def _runs_being_undone(deps: Deps) -> set[str]:
    owed = [work.arguments for work in await deps.store.outbox.pending() if work.workflow == "undo"]
    pending = await DBOS.list_workflows_async(status="PENDING", name="undo", load_output=False)
    return {
        str(arguments[0]) for arguments in [*owed, *(workflow.input["args"] for workflow in pending if workflow.input)]
    }


async def _prune_workflows(deps: Deps, before: datetime) -> None:
    """Remove what DBOS has written down of workflows that ended before, and of each of their steps."""
    stay = 0
    while old := await DBOS.list_workflows_async(
        status=ENDED,
        completed_before=before.isoformat(),
        limit=BATCH_SIZE,
        offset=stay,
        load_input=False,
        load_output=False,
    ):
        ids = {workflow.workflow_id for workflow in old}
        kept = await runs_with_steps(deps.store.database, ids)
        if ids - kept:
            await DBOS.delete_workflows_async(sorted(ids - kept))
        stay += len(kept)
