"""Catch up: what has happened in an incident so far, for one person who comes late."""

from __future__ import annotations

from bot.deps import Deps
from bot.domain.catchup import CatchUp, Tried, Waiting
from bot.domain.incident import Incident
from bot.domain.run import ApprovalState, Run, StepState
from bot.domain.timeline import Kind
from bot.workflows.incidents.messages import out_of_bounds


async def catch_up_on(deps: Deps, incident: Incident) -> CatchUp:
    """Return what has happened, what was tried and whether it helped, what waits, and what is next."""
    store = deps.store
    runs = [run for run in await store.runs.list_by_incident(incident.id) if not run.dry_run and not run.forgotten]
    running = [run for run in runs if not run.state.ended]
    return CatchUp(
        incident,
        firing=await store.alerts.count_firing(incident.id),
        out=await out_of_bounds(deps, incident) if incident.status.is_open else None,
        tried=tuple(Tried(run, step) for run in runs for step in run.steps if step.may_have_changed),
        waiting=tuple([waiting for run in running for waiting in await _waiting(deps, run)]),
        running=tuple(running),
        update=await store.incidents.newest(incident.id, Kind.UPDATE),
    )


async def _waiting(deps: Deps, run: Run) -> list[Waiting]:
    result = []
    for step in run.steps:
        approval = await deps.store.runs.approval(run.id, step.id) if step.state is StepState.WAITING else None
        if approval and approval.state is ApprovalState.WAITING:
            result.append(Waiting(run, step, approval))
    return result
