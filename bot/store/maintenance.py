"""Row counts for the bot's metrics, and pruning of charts and of old runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, or_, select, tuple_, update

from bot.domain.incident import Status
from bot.domain.run import RunState
from bot.store.database import Database
from bot.store.tables import (
    assignments,
    deliveries,
    documents,
    executors,
    incidents,
    outbox,
    posts,
    run_steps,
    runs,
    snapshots,
)

ENDED_STATUSES = [status.value for status in Status if not status.is_open]


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """`incidents` by (status, severity), without drills."""

    incidents: Mapping[tuple[str, str], int]
    deliveries_waiting: int
    outbox: int


async def count_rows(database: Database) -> StoreCounts:
    """Count in one consistent view. Raises Unavailable."""
    by_status = (
        select(incidents.c.status, incidents.c.severity, func.count())
        .where(incidents.c.drill.is_(False))
        .group_by(incidents.c.status, incidents.c.severity)
    )
    pending_deliveries = select(func.count()).select_from(deliveries).where(deliveries.c.done_at.is_(None))
    async with database.read() as connection:
        incident_counts = {(row[0], row[1]): int(row[2]) for row in await connection.execute(by_status)}
        return StoreCounts(
            incident_counts,
            (await connection.execute(pending_deliveries)).scalar_one(),
            (await connection.execute(select(func.count()).select_from(outbox))).scalar_one(),
        )


async def count_executors(database: Database) -> int | None:
    """Return how many processes run workflows on PostgreSQL; None on SQLite, where it is one at most."""
    if database.is_sqlite:
        return None
    living = select(func.count()).select_from(executors).where(executors.c.expires_at > func.clock_timestamp())
    async with database.read() as connection:
        return int((await connection.execute(living)).scalar_one())


async def prune_assignments(database: Database, before: datetime) -> None:
    """Forget which executors incidents and runs from before then were assigned to."""
    await database.execute(delete(assignments).where(assignments.c.since < before))


async def prune_charts(database: Database, before: datetime, *, limit: int = 20) -> int:
    """Remove up to `limit` charts that were drawn before then, and return their number.

    Slack has them, and a report draws its own from the snapshot. Those of an incident that has charts which Slack has
    not taken yet are kept.
    """
    waiting = exists().where(posts.c.ts.is_(None), posts.c.key.like(documents.c.incident_id + "/%/chart%"))
    old = (
        select(documents.c.incident_id, documents.c.name)
        .where(documents.c.media_type == "image/png", documents.c.written_at < before, ~waiting)
        .limit(limit)
    )
    async with database.write() as connection:
        charts = [tuple(row) for row in await connection.execute(old)]
        key = tuple_(documents.c.incident_id, documents.c.name)
        await connection.execute(delete(documents).where(key.in_(charts)))
    return len(charts)


async def prune_runs(database: Database, before: datetime, *, but: Collection[str] = (), limit: int = 20) -> int:
    """Remove steps, runbook copies and metrics of up to `limit` runs that ended before then. Returns their number.

    The run's row and its approvals stay, and so does everything on its incident's timeline, which is the audit trail.
    Runs of an incident are kept until the incident was resolved before then; runs in `but` are kept.
    """
    ended_incidents = select(incidents.c.id).where(
        incidents.c.status.in_(ENDED_STATUSES), incidents.c.resolved_at < before
    )
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
        snapshot_ids = [f"{step.run_id}/{step.id}/{when}" for step in steps for when in ("before", "after")]
        await connection.execute(
            delete(snapshots).where(snapshots.c.id.in_(snapshot_ids), snapshots.c.incident_id.is_(None))
        )
        await connection.execute(update(runs).where(runs.c.id.in_(ids)).values(book={}))
    return len(ids)
