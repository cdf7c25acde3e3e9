"""How much of everything there is, for the bot's own figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, or_, select, update

from bot.domain.incident import Status
from bot.domain.run import RunState
from bot.store.database import Database
from bot.store.tables import deliveries, incidents, outbox, run_steps, runs, snapshots

OVER = [status.value for status in Status if not status.is_open]


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """`incidents` by (status, severity), drills left out."""

    incidents: Mapping[tuple[str, str], int]
    deliveries_waiting: int
    outbox: int


async def count_rows(database: Database) -> StoreCounts:
    """One consistent view. Raises Unavailable."""
    by_status = (
        select(incidents.c.status, incidents.c.severity, func.count())
        .where(incidents.c.drill.is_(False))
        .group_by(incidents.c.status, incidents.c.severity)
    )
    waiting = select(func.count()).select_from(deliveries).where(deliveries.c.done_at.is_(None))
    async with database.read() as connection:
        counted = {(row[0], row[1]): int(row[2]) for row in await connection.execute(by_status)}
        return StoreCounts(
            counted,
            (await connection.execute(waiting)).scalar_one(),
            (await connection.execute(select(func.count()).select_from(outbox))).scalar_one(),
        )


async def prune_runs(database: Database, before: datetime, *, but: Collection[str] = (), limit: int = 20) -> int:
    """Remove the steps, the copy of the runbook and the figures of some runs that ended before; gives how many.

    The row of the run stays with its approvals, and all of its incident: the timeline and its figures, which are the
    audit. A run of an incident is left alone until that is over as long, and so are the runs `but`.
    """
    ended_incidents = select(incidents.c.id).where(incidents.c.status.in_(OVER), incidents.c.resolved_at < before)
    old = (
        select(runs.c.id)
        .where(
            runs.c.state != RunState.RUNNING.value,
            runs.c.ended_at < before,
            runs.c.id.not_in(but),
            or_(runs.c.incident_id.is_(None), runs.c.incident_id.in_(ended_incidents)),
            exists().where(run_steps.c.run_id == runs.c.id),
        )
        .limit(limit)
    )
    async with database.write() as connection:
        ids = list((await connection.execute(old)).scalars())
        steps = await connection.execute(
            delete(run_steps).where(run_steps.c.run_id.in_(ids)).returning(run_steps.c.run_id, run_steps.c.id)
        )
        measured = [f"{step.run_id}/{step.id}/{when}" for step in steps for when in ("before", "after")]
        await connection.execute(
            delete(snapshots).where(snapshots.c.id.in_(measured), snapshots.c.incident_id.is_(None))
        )
        await connection.execute(update(runs).where(runs.c.id.in_(ids)).values(book={}))
    return len(ids)


async def runs_with_steps(database: Database, ids: Collection[str]) -> set[str]:
    """Those of these runs whose steps are still there."""
    async with database.read() as connection:
        cursor_result = await connection.execute(
            select(run_steps.c.run_id).where(run_steps.c.run_id.in_(ids)).distinct()
        )
        return set(cursor_result.scalars())
