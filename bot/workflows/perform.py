"""A step does what was rehearsed: once its target is free, with the stored parameters, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BotError, Unavailable, WrongState
from bot.domain.run import Run, StepRun, StepState
from bot.domain.runbook import Step
from bot.drawings import REFRESH_TIMEOUT
from bot.integrations.effects import dry_run
from bot.parts import Parts
from bot.workflows.approve import show_approvers, wait_for_approval
from bot.workflows.engine import Outcome, run_with_retries
from bot.workflows.filling import action_context, parse_parameters
from bot.workflows.guards import Deadline, raise_if_cancelled, raise_if_frozen, run_until_interrupted, wait_for_stop
from bot.workflows.prepare import StepPlan
from bot.workflows.show_run import post_result, schedule_run_message

TARGET_POLL_SECONDS = 1.0
WAITS_FOR = "waits_for"
SHOW_PROGRESS_AFTER_SECONDS = 0.5  # seconds; what takes longer is seen to go on


async def execute_approved(parts: Parts, run: Run, step: Step, step_plan: StepPlan) -> Outcome:
    """Wait for people, take what the step changes, do it, and show what was found.

    All of it may be done again after a crash: what people said and how far it has come stands in the store.
    """
    if not step_plan.approvals:
        return await execute_step(parts, run, step, step_plan)
    waited = await run_with_retries(
        f"{step.id}: decided?", partial(wait_for_approval, parts, run, step, shown=step_plan.shown)
    )
    if not waited.ok:
        await show_approvers(parts, run, step)
        return waited
    performed, _ = await asyncio.gather(execute_step(parts, run, step, step_plan), show_approvers(parts, run, step))
    return performed


async def execute_step(
    parts: Parts, run: Run, step: Step, step_plan: StepPlan, ready: StepRun | None = None
) -> Outcome:
    """Take what the step changes, do it, and show what was found.

    `ready` is the step as it stands in the store, when it has begun already.
    """
    if step_plan.lock_key:
        taking = partial(_acquire_unless_cancelled, parts, run, step.id, step_plan.lock_key)
        taken = await run_with_retries(f"{step.id}: take", taking, step_plan.limit)
        if not taken.ok:
            return taken
    performed = await run_with_retries(
        f"{step.id}: perform", _execution(parts, run, step, step_plan, ready), step_plan.limit
    )
    if not performed.ok:
        return performed
    if performed.value.state is StepState.DONE:
        await run_with_retries(
            f"{step.id}: show", partial(post_result, parts, run, step, performed.value), REFRESH_TIMEOUT
        )
    return Outcome()


async def _acquire_unless_cancelled(parts: Parts, run: Run, step_id: str, target: str) -> None:
    try:
        await acquire_target(parts, run, step_id, target)
    except Unavailable:
        await raise_if_cancelled(parts, run.id)
        raise


async def acquire_target(parts: Parts, run: Run, step_id: str, target: str) -> None:
    """Take what the step changes, or say in the run's message who has it.

    Raises Unavailable while another run has it or it still cools down, and WrongState when everything is frozen.
    """
    await raise_if_frozen(parts)
    holder = await parts.store.locks.acquire(target, run.id, parts.clock.now())
    if holder is None:
        return
    facts = {
        "target": target.rpartition("/")[2],
        "run": holder.run_id,
        "by": (await parts.store.runs.get(holder.run_id)).by.id,
        "until": holder.until.timestamp() if holder.until else None,
    }
    before = (await parts.store.runs.refresh(run)).step(step_id).facts
    if before.get(WAITS_FOR) != facts:
        await parts.store.runs.set_step(run.id, step_id, facts={**before, WAITS_FOR: facts})
        schedule_run_message(parts, run.id)
    raise Unavailable("target_busy", retry_after=TARGET_POLL_SECONDS, **facts)


def _execution(
    parts: Parts, run: Run, step: Step, step_plan: StepPlan, ready: StepRun | None
) -> Callable[[], Awaitable[StepRun]]:
    """Perform the stored parameters within the step's time, however often it is tried; gives the step as it is then.

    What is found half-done, and was not begun by this process, was cut off by a restart: the message says so.
    """
    until: Deadline | None = None

    async def performing() -> StepRun:
        nonlocal until
        step_run = ready or await _mark_started(parts, run, step, step_plan, again=until is not None)
        if step_run.result is not None:  # it was done, and only the record of that was lost
            return step_run
        until = until or Deadline.starting(parts.clock, step_plan.limit)
        facts = await _execute_once(parts, run, step, step_plan, step_run, until)
        values: dict[str, Any] = {"result": facts if facts is not None else {}}
        if not step_plan.changes and step.verify is None:
            values |= {"state": StepState.DONE, "ended_at": parts.clock.now()}
        await parts.store.runs.set_step(run.id, step.id, **values)
        return replace(step_run, **values)

    return performing


async def _mark_started(parts: Parts, run: Run, step: Step, step_plan: StepPlan, *, again: bool) -> StepRun:
    parts.event(run.id).clear()
    current = await parts.store.runs.refresh(run)
    step_run = current.step(step.id)
    if step_run.result is not None:
        return step_run
    if current.cancel_by:
        raise WrongState("run_cancelled", run=current.id)
    if step_plan.changes:
        await raise_if_frozen(parts)
        if step_run.state is StepState.PERFORMING and not again:
            await _report_remaining(parts, current, step, step_run)
    if step_run.state is StepState.PERFORMING:
        return step_run
    values: dict[str, Any] = {
        "state": StepState.PERFORMING,
        "began_at": step_run.began_at or parts.clock.now(),
        "facts": {},
    }
    await parts.store.runs.set_step(current.id, step.id, **values)
    return replace(step_run, **values)


async def _execute_once(
    parts: Parts, run: Run, step: Step, step_plan: StepPlan, step_run: StepRun, until: Deadline
) -> Any:
    """The facts that the action gives, as plain JSON."""
    action = ACTIONS.get(step.uses)
    context = action_context(parts, run, step.id, step_run.parameters, step_run.rehearsed, began=step_run.began_at)
    timer_handle = asyncio.get_running_loop().call_later(
        SHOW_PROGRESS_AFTER_SECONDS, schedule_run_message, parts, run.id
    )
    try:
        facts: Any = await run_until_interrupted(
            action.execute(context, **parse_parameters(action, step_run.parameters or {})),
            wait_for_stop(parts, run.id, changes=step_plan.changes),
            until.passed(),
        )
    finally:
        timer_handle.cancel()
    return action.result.dump_python(facts, mode="json")


async def _report_remaining(parts: Parts, run: Run, step: Step, step_run: StepRun) -> None:
    """Look, changing nothing, what the cut-off step has still to do, and say it in the run's message."""
    action = ACTIONS.get(step.uses)
    left: list[dict[str, Any]] | None = None  # nobody can tell
    context = action_context(parts, run, step.id, step_run.parameters, step_run.rehearsed)
    with contextlib.suppress(BotError), dry_run() as recorder:
        await action.execute(context, **parse_parameters(action, step_run.parameters or {}))
        left = [effect.to_json() for effect in recorder.effects]
    await parts.store.runs.set_step(run.id, step.id, facts={"interrupted": True, "left": left})
    schedule_run_message(parts, run.id)
