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


async def execute_approved(parts: Parts, known: Run, each: Step, todo: StepPlan) -> Outcome:
    """Wait for people, take what the step changes, do it, and show what was found.

    All of it may be done again after a crash: what people said and how far it has come stands in the store.
    """
    if not todo.approvals:
        return await execute_step(parts, known, each, todo)
    waited = await run_with_retries(
        f"{each.id}: decided?", partial(wait_for_approval, parts, known, each, shown=todo.shown)
    )
    if not waited.ok:
        await show_approvers(parts, known, each)
        return waited
    performed, _ = await asyncio.gather(execute_step(parts, known, each, todo), show_approvers(parts, known, each))
    return performed


async def execute_step(parts: Parts, known: Run, each: Step, todo: StepPlan, ready: StepRun | None = None) -> Outcome:
    """Take what the step changes, do it, and show what was found.

    `ready` is the step as it stands in the store, when it has begun already.
    """
    if todo.lock_key:
        taking = partial(_acquire_unless_cancelled, parts, known, each.id, todo.lock_key)
        taken = await run_with_retries(f"{each.id}: take", taking, todo.limit)
        if not taken.ok:
            return taken
    performed = await run_with_retries(f"{each.id}: perform", _execution(parts, known, each, todo, ready), todo.limit)
    if not performed.ok:
        return performed
    if performed.value.state is StepState.DONE:
        await run_with_retries(
            f"{each.id}: show", partial(post_result, parts, known, each, performed.value), REFRESH_TIMEOUT
        )
    return Outcome()


async def _acquire_unless_cancelled(parts: Parts, known: Run, step_id: str, target: str) -> None:
    try:
        await acquire_target(parts, known, step_id, target)
    except Unavailable:
        await raise_if_cancelled(parts, known.id)
        raise


async def acquire_target(parts: Parts, known: Run, step_id: str, target: str) -> None:
    """Take what the step changes, or say in the run's message who has it.

    Raises Unavailable while another run has it or it still cools down, and WrongState when everything is frozen.
    """
    await raise_if_frozen(parts)
    holder = await parts.store.locks.acquire(target, known.id, parts.clock.now())
    if holder is None:
        return
    facts = {
        "target": target.rpartition("/")[2],
        "run": holder.run_id,
        "by": (await parts.store.runs.get(holder.run_id)).by.id,
        "until": holder.until.timestamp() if holder.until else None,
    }
    before = (await parts.store.runs.refresh(known)).step(step_id).facts
    if before.get(WAITS_FOR) != facts:
        await parts.store.runs.set_step(known.id, step_id, facts={**before, WAITS_FOR: facts})
        schedule_run_message(parts, known.id)
    raise Unavailable("target_busy", retry_after=TARGET_POLL_SECONDS, **facts)


def _execution(
    parts: Parts, known: Run, each: Step, todo: StepPlan, ready: StepRun | None
) -> Callable[[], Awaitable[StepRun]]:
    """Perform the stored parameters within the step's time, however often it is tried; gives the step as it is then.

    What is found half-done, and was not begun by this process, was cut off by a restart: the message says so.
    """
    until: Deadline | None = None

    async def performing() -> StepRun:
        nonlocal until
        stored = ready or await _mark_started(parts, known, each, todo, again=until is not None)
        if stored.result is not None:  # it was done, and only the record of that was lost
            return stored
        until = until or Deadline.starting(parts.clock, todo.limit)
        facts = await _execute_once(parts, known, each, todo, stored, until)
        values: dict[str, Any] = {"result": facts if facts is not None else {}}
        if not todo.changes and each.verify is None:
            values |= {"state": StepState.DONE, "ended_at": parts.clock.now()}
        await parts.store.runs.set_step(known.id, each.id, **values)
        return replace(stored, **values)

    return performing


async def _mark_started(parts: Parts, run: Run, each: Step, todo: StepPlan, *, again: bool) -> StepRun:
    parts.event(run.id).clear()
    known = await parts.store.runs.refresh(run)
    stored = known.step(each.id)
    if stored.result is not None:
        return stored
    if known.cancel_by:
        raise WrongState("run_cancelled", run=known.id)
    if todo.changes:
        await raise_if_frozen(parts)
        if stored.state is StepState.PERFORMING and not again:
            await _report_remaining(parts, known, each, stored)
    if stored.state is StepState.PERFORMING:
        return stored
    values: dict[str, Any] = {
        "state": StepState.PERFORMING,
        "began_at": stored.began_at or parts.clock.now(),
        "facts": {},
    }
    await parts.store.runs.set_step(known.id, each.id, **values)
    return replace(stored, **values)


async def _execute_once(parts: Parts, known: Run, each: Step, todo: StepPlan, stored: StepRun, until: Deadline) -> Any:
    """The facts that the action gives, as plain JSON."""
    action = ACTIONS.get(each.uses)
    asked = action_context(parts, known, each.id, stored.parameters, stored.rehearsed, began=stored.began_at)
    seen = asyncio.get_running_loop().call_later(SHOW_PROGRESS_AFTER_SECONDS, schedule_run_message, parts, known.id)
    try:
        facts: Any = await run_until_interrupted(
            action.execute(asked, **parse_parameters(action, stored.parameters or {})),
            wait_for_stop(parts, known.id, changes=todo.changes),
            until.passed(),
        )
    finally:
        seen.cancel()
    return action.result.dump_python(facts, mode="json")


async def _report_remaining(parts: Parts, known: Run, each: Step, stored: StepRun) -> None:
    """Look, changing nothing, what the cut-off step has still to do, and say it in the run's message."""
    action = ACTIONS.get(each.uses)
    left: list[dict[str, Any]] | None = None  # nobody can tell
    asked = action_context(parts, known, each.id, stored.parameters, stored.rehearsed)
    with contextlib.suppress(BotError), dry_run() as recorder:
        await action.execute(asked, **parse_parameters(action, stored.parameters or {}))
        left = [effect.to_json() for effect in recorder.effects]
    await parts.store.runs.set_step(known.id, each.id, facts={"interrupted": True, "left": left})
    schedule_run_message(parts, known.id)
