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
    known = await parts.store.runs.get(run_id)  # its book and inputs never change
    book = Runbook.model_validate(known.book)
    with parts.subscribed(run_id):
        state = await _play_steps(parts, known, book)
    await durable_step("end", partial(_end, parts, known, state))
    await durable_step("show the end", partial(update_run_message, parts, run_id), FINAL_MESSAGE_TIMEOUT)
    return state.value


async def _play_steps(parts: Parts, known: Run, book: Runbook) -> RunState:
    state = RunState.SUCCEEDED
    for each in book.steps:
        ended = await _play_step(parts, known, each)
        if ended in (StepState.DONE, StepState.SKIPPED):
            continue
        if ended is StepState.FAILED and (each.continue_on_error or known.dry_run):
            continue
        state = RunState.CANCELLED if ended is StepState.CANCELLED else RunState.FAILED
        break
    if state is not RunState.SUCCEEDED and not known.dry_run:
        if book.on_failure == "undo":
            undone = await undo_steps(parts, known, book)
            state = RunState.UNDONE if undone and state is RunState.FAILED else state
        elif isinstance(book.on_failure, Runbook) and state is RunState.FAILED:
            await durable_step("go on with another", partial(_start_on_failure, parts, known, book.on_failure))
    return state


async def _play_step(parts: Parts, known: Run, each: Step) -> StepState:
    begun = await durable_step(f"{each.id}: rehearse", partial(_plan, parts, known, each))
    if not begun.ok:
        return await _record_failed(parts, known, each, begun)
    todo = StepPlan(**begun.value)
    schedule_run_message(parts, known.id)
    if todo.skip or todo.done:
        return StepState.SKIPPED if todo.skip else StepState.DONE
    performed = await durable_step(f"{each.id}: perform", partial(execute_approved, parts, known, each, todo))
    if not performed.ok:
        return await _record_failed(parts, known, each, performed)
    if each.verify or todo.changes:
        await verify_step(parts, known, each)
        await durable_step(f"{each.id}: done", partial(_record_done, parts, known, each, todo))
    schedule_run_message(parts, known.id)
    return StepState.DONE


async def _plan(parts: Parts, known: Run, each: Step) -> Outcome:
    """Rehearse a step, and show who must agree what it would do; what only looks is done in one go."""
    prepared = await run_with_retries(f"{each.id}: prepare", partial(plan_step, parts, known, each), PLAN_TIMEOUT)
    if not prepared.ok:
        return prepared
    todo, stored = prepared.value
    if known.dry_run:
        if todo.only_looks:
            await run_with_retries(
                f"{each.id}: show", partial(post_result, parts, known, each, stored), REFRESH_TIMEOUT
            )
        todo = replace(todo, done=True)
    elif todo.approvals:
        todo = replace(todo, shown=bool((await show_approvers(parts, known, each)).value))
    elif todo.only_looks and each.verify is None:
        performed = await execute_step(parts, known, each, todo, stored)
        if not performed.ok:
            return performed
        todo = replace(todo, done=True)
    return Outcome(asdict(todo))


async def _record_done(parts: Parts, run: Run, each: Step, todo: StepPlan) -> Outcome:
    """What the step came to is told in the transaction that records it."""
    known = await parts.store.runs.refresh(run)
    stored = known.step(each.id)
    told = changed(parts, known, stored) if todo.changes else None
    await _end_step(parts, known.id, each.id, StepState.DONE, told)
    if not todo.changes:
        await run_with_retries(f"{each.id}: show", partial(post_result, parts, known, each, stored), REFRESH_TIMEOUT)
    return Outcome()


async def _record_failed(parts: Parts, known: Run, each: Step, outcome: Outcome) -> StepState:
    cancelled = outcome.error == "run_cancelled"
    state = StepState.CANCELLED if cancelled else StepState.FAILED
    facts = dict(outcome.facts)
    await durable_step(
        f"{each.id}: failed", partial(_end_step, parts, known.id, each.id, state, error=outcome.error, facts=facts)
    )
    schedule_run_message(parts, known.id)
    return state


async def _end_step(
    parts: Parts, run_id: str, step_id: str, state: StepState, told: TimelineEntry | None = None, **values: Any
) -> None:
    await parts.store.runs.set_step(run_id, step_id, told, state=state, ended_at=parts.clock.now(), **values)


async def _start_on_failure(parts: Parts, known: Run, book: Runbook) -> None:
    """Begin the runbook that is to follow a failure: for the same incident, with the inputs of the same name.

    It takes over what this run was changing, so that it does not wait until that has cooled down.
    """
    given = {name: str(known.inputs[name]) for name in book.inputs if known.inputs.get(name) is not None}
    incident = await parts.store.incidents.get(known.incident_id) if known.incident_id else None
    begun = await start_run(
        parts,
        book,
        read_inputs(parts, book, given, incident),
        by=known.by,
        cause=on_failure_key(known.id),
        incident=incident,
        channel=known.channel,
        environment=known.environment,
    )
    await parts.store.locks.transfer(known.id, begun.id)


async def _end(parts: Parts, known: Run, state: RunState) -> None:
    now = parts.clock.now()
    settles = now + policy_of(parts.team).cool_down
    await parts.store.runs.end(known.id, state, now, settles=settles, told=ended(parts, known, state))
