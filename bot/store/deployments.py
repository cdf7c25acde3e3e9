"""Which steps of runs changed the version that runs, for the team's figures."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import or_, select

from bot.domain.deployments import Attempt
from bot.domain.run import RunState, StepState
from bot.store.database import Database
from bot.store.tables import incidents, run_steps, runs


async def attempts(
    database: Database, actions: Collection[str], environment: str, since: datetime | None
) -> list[Attempt]:
    """What was performed by these actions in ended runs; rehearsals and drills left out. Raises Unavailable."""
    query = (
        select(runs.c.id, runs.c.state, run_steps.c.uses, run_steps.c.state)
        .join(run_steps, run_steps.c.run_id == runs.c.id)
        .outerjoin(incidents, incidents.c.id == runs.c.incident_id)
        .where(
            runs.c.environment == environment,
            runs.c.dry_run.is_(False),
            runs.c.ended_at.is_not(None),
            run_steps.c.uses.in_(actions),
            run_steps.c.began_at.is_not(None),
            or_(incidents.c.id.is_(None), incidents.c.drill.is_(False)),
        )
    )
    if since:
        query = query.where(runs.c.started_at >= since)
    async with database.read() as connection:
        return [
            Attempt(run, RunState(ended), uses, StepState(state))
            for run, ended, uses, state in await connection.execute(query)
        ]
