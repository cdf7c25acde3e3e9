"""Measuring a change: the figures before and after, whether they hold, and whether it helped."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.actions.boards import board, query_board
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.run import Run, StepState
from bot.domain.runbook import Step
from bot.domain.snapshot import Snapshot, Verdict, assess, compare
from bot.team import PRODUCTION
from bot.workflows.engine.engine import durable_step, sleep_until
from bot.workflows.runs.presentation import schedule_run_message
from bot.workflows.runs.step import step_environment

QUERY_TIMEOUT = timedelta(minutes=2)
# A change is looked at after that long when the runbook does not say what must hold: rates need a minute or two.
DEFAULT_VERIFY_WITHIN = timedelta(minutes=2)
VERIFY_SAMPLES = 10


async def verify_step(deps: Deps, run: Run, step: Step) -> None:
    """Look at the figures until they hold, or until the time is up; then say what the change did to them.

    A change of no service (a branch, an issue), or not in production, moves no figures; nobody waits for them unless
    the runbook says so.
    """
    if deps.prometheus is None:
        return
    began = await durable_step(f"{step.id}: verify", partial(_start_verifying, deps, run, step), QUERY_TIMEOUT)
    if not began.ok or began.value is None:
        return
    since = datetime.fromisoformat(began.value)
    holding_since: datetime | None = None
    for number in range(VERIFY_SAMPLES * 4):
        looked = await durable_step(
            f"{step.id}: figures {number}", partial(_sample, deps, run, step, since, holding_since), QUERY_TIMEOUT
        )
        if not looked.ok or looked.value["ended"]:
            break
        holding_since = datetime.fromisoformat(looked.value["holding_since"]) if looked.value["holding_since"] else None
        await sleep_until(deps, datetime.fromisoformat(looked.value["again"]))
    await durable_step(f"{step.id}: verdict", partial(_record_verdict, deps, run, step, since), QUERY_TIMEOUT)


async def _start_verifying(deps: Deps, run: Run, step: Step) -> str | None:
    """When it began (ISO 8601); None when there is nothing to measure."""
    step_run = (await deps.store.runs.get(run.id)).step(step.id)
    elsewhere = step_environment(deps, run, step.id, step_run.parameters) != PRODUCTION
    if step.verify is None and (elsewhere or await _changed_service(deps, run, step) is None):
        return None
    await deps.store.runs.set_step(run.id, step.id, state=StepState.VERIFYING)
    schedule_run_message(deps, run.id)
    return deps.clock.now().isoformat()


async def _sample(deps: Deps, run: Run, step: Step, since: datetime, holding_since: datetime | None) -> dict[str, Any]:
    now = deps.clock.now()
    verify = step.verify
    within = verify.within if verify else DEFAULT_VERIFY_WITHIN
    over = now - since >= within or await deps.store.runs.cancelled(run.id)
    again = min(now + within / VERIFY_SAMPLES, since + within)
    if verify is None:
        return {"ended": over, "again": (since + within).isoformat(), "holding_since": None}
    holds = _within_thresholds(await _query_metrics(deps, run, step, now))
    holding_since = (holding_since or now) if holds else None
    long_enough = holding_since is not None and now - holding_since >= verify.for_
    if over or long_enough:
        await deps.store.runs.set_step(run.id, step.id, verified=bool(holds and long_enough))
    return {
        "ended": over or long_enough,
        "again": again.isoformat(),
        "holding_since": holding_since.isoformat() if holding_since else None,
    }


def _within_thresholds(snapshot: Snapshot) -> bool:
    """A figure without a threshold is for looking at; one that could not be had is not known to be well."""
    well = (Verdict.OK, Verdict.NO_THRESHOLD)
    return not snapshot.missing and all(figure.verdict in well for figure in snapshot.figures)


async def _record_verdict(deps: Deps, run: Run, step: Step, since: datetime) -> None:
    """Compare the figures of before the change with those of now, and keep both as evidence."""
    now = deps.clock.now()
    before = await _query_metrics(deps, run, step, since)
    after = await _query_metrics(deps, run, step, now)
    for when, snapshot in (("before", before), ("after", after)):
        await deps.store.snapshots.add(f"{run.id}/{step.id}/{when}", run.incident_id, snapshot.at, snapshot.to_json())
    await deps.store.runs.set_step(run.id, step.id, verdict=assess(compare(before, after)))


async def _query_metrics(deps: Deps, run: Run, step: Step, at: datetime) -> Snapshot:
    if deps.prometheus is None:
        raise BotError("prometheus_off")
    service = await _changed_service(deps, run, step) or deps.team.default_service
    wanted = board(deps.team, step.verify.board if step.verify else None, service)
    return await query_board(deps.prometheus, wanted, at)


async def _changed_service(deps: Deps, run: Run, step: Step) -> str | None:
    """The service that the step changes, by its parameters."""
    parameters = (await deps.store.runs.get(run.id)).step(step.id).parameters or {}
    named = (str(parameters[name]) for name in ("service", "deployment", "release") if parameters.get(name))
    return next((name for name in named if name in deps.team.services), None)
