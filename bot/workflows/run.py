"""A run of a runbook: each step is filled, rehearsed, approved, performed as rehearsed, measured and recorded.

The rows of the store are the truth; who waits for a decision is only woken: a lost or doubled wake does no harm.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import Any

from bot.domain.run import Run, RunState, StepState, on_failure_key
from bot.domain.runbook import Runbook, Step
from bot.drawings import REFRESH_TIMEOUT
from bot.parts import Parts
from bot.policy import policy_of
from bot.store.incidents import TimelineEntry
from bot.workflows.approve import show_approvers
from bot.workflows.begin import read_inputs, start_run
from bot.workflows.engine import Outcome, durable_step, run_with_retries
from bot.workflows.note import changed, ended
from bot.workflows.perform import execute_approved, execute_step
from bot.workflows.prepare import StepPlan, plan_step
from bot.workflows.show_run import post_result, schedule_run_message, update_run_message
from bot.workflows.undo import undo_steps
from bot.workflows.verify import verify_step

PLAN_TIMEOUT = timedelta(minutes=2)
FINAL_MESSAGE_TIMEOUT = timedelta(hours=1)


async def play_runbook(parts: Parts, run_id: str) -> str:
    """Play a run to its end; gives the state it ended in."""
    run = await parts.store.runs.get(run_id)  # its book and inputs never change
    runbook = Runbook.model_validate(run.book)
    with parts.subscribed(run_id):
        state = await _play_steps(parts, run, runbook)
    await durable_step("end", partial(_end, parts, run, state))
    await durable_step("show the end", partial(update_run_message, parts, run_id), FINAL_MESSAGE_TIMEOUT)
    return state.value


async def _play_steps(parts: Parts, run: Run, runbook: Runbook) -> RunState:
    state = RunState.SUCCEEDED
    for step in runbook.steps:
        ended = await _play_step(parts, run, step)
        if ended in (StepState.DONE, StepState.SKIPPED):
            continue
        if ended is StepState.FAILED and (step.continue_on_error or run.dry_run):
            continue
        state = RunState.CANCELLED if ended is StepState.CANCELLED else RunState.FAILED
        break
    if state is not RunState.SUCCEEDED and not run.dry_run:
        if runbook.on_failure == "undo":
            undone = await undo_steps(parts, run, runbook)
            state = RunState.UNDONE if undone and state is RunState.FAILED else state
        elif isinstance(runbook.on_failure, Runbook) and state is RunState.FAILED:
            await durable_step("go on with another", partial(_start_on_failure, parts, run, runbook.on_failure))
    return state


async def _play_step(parts: Parts, run: Run, step: Step) -> StepState:
    outcome = await durable_step(f"{step.id}: rehearse", partial(_plan, parts, run, step))
    if not outcome.ok:
        return await _record_failed(parts, run, step, outcome)
    step_plan = StepPlan(**outcome.value)
    schedule_run_message(parts, run.id)
    if step_plan.skip or step_plan.done:
        return StepState.SKIPPED if step_plan.skip else StepState.DONE
    performed = await durable_step(f"{step.id}: perform", partial(execute_approved, parts, run, step, step_plan))
    if not performed.ok:
        return await _record_failed(parts, run, step, performed)
    if step.verify or step_plan.changes:
        await verify_step(parts, run, step)
        await durable_step(f"{step.id}: done", partial(_record_done, parts, run, step, step_plan))
    schedule_run_message(parts, run.id)
    return StepState.DONE


async def _plan(parts: Parts, run: Run, step: Step) -> Outcome:
    """Rehearse a step, and show who must agree what it would do; what only looks is done in one go."""
    prepared = await run_with_retries(f"{step.id}: prepare", partial(plan_step, parts, run, step), PLAN_TIMEOUT)
    if not prepared.ok:
        return prepared
    plan, step_run = prepared.value
    if run.dry_run:
        if plan.only_looks:
            await run_with_retries(
                f"{step.id}: show", partial(post_result, parts, run, step, step_run), REFRESH_TIMEOUT
            )
        plan = replace(plan, done=True)
    elif plan.approvals:
        plan = replace(plan, shown=bool((await show_approvers(parts, run, step)).value))
    elif plan.only_looks and step.verify is None:
        performed = await execute_step(parts, run, step, plan, step_run)
        if not performed.ok:
            return performed
        plan = replace(plan, done=True)
    return Outcome(asdict(plan))


async def _record_done(parts: Parts, run: Run, step: Step, step_plan: StepPlan) -> Outcome:
    """What the step came to is told in the transaction that records it."""
    current = await parts.store.runs.refresh(run)
    step_run = current.step(step.id)
    entry = changed(parts, current, step_run) if step_plan.changes else None
    await _end_step(parts, current.id, step.id, StepState.DONE, entry)
    if not step_plan.changes:
        await run_with_retries(
            f"{step.id}: show", partial(post_result, parts, current, step, step_run), REFRESH_TIMEOUT
        )
    return Outcome()


async def _record_failed(parts: Parts, run: Run, step: Step, outcome: Outcome) -> StepState:
    cancelled = outcome.error == "run_cancelled"
    state = StepState.CANCELLED if cancelled else StepState.FAILED
    facts = dict(outcome.facts)
    await durable_step(
        f"{step.id}: failed", partial(_end_step, parts, run.id, step.id, state, error=outcome.error, facts=facts)
    )
    schedule_run_message(parts, run.id)
    return state


async def _end_step(
    parts: Parts, run_id: str, step_id: str, state: StepState, entry: TimelineEntry | None = None, **values: Any
) -> None:
    await parts.store.runs.set_step(run_id, step_id, entry, state=state, ended_at=parts.clock.now(), **values)


async def _start_on_failure(parts: Parts, run: Run, runbook: Runbook) -> None:
    """Begin the runbook that is to follow a failure: for the same incident, with the inputs of the same name.

    It takes over what this run was changing, so that it does not wait until that has cooled down.
    """
    given = {name: str(run.inputs[name]) for name in runbook.inputs if run.inputs.get(name) is not None}
    incident = await parts.store.incidents.get(run.incident_id) if run.incident_id else None
    started = await start_run(
        parts,
        runbook,
        read_inputs(parts, runbook, given, incident),
        by=run.by,
        cause=on_failure_key(run.id),
        incident=incident,
        channel=run.channel,
        environment=run.environment,
    )
    await parts.store.locks.transfer(run.id, started.id)


async def _end(parts: Parts, run: Run, state: RunState) -> None:
    now = parts.clock.now()
    settles = now + policy_of(parts.team).cool_down
    await parts.store.runs.end(run.id, state, now, settles=settles, entry=ended(parts, run, state))
