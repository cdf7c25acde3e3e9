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
from bot.drawings import BRIEFLY
from bot.integrations.effects import rehearsal
from bot.parts import Parts
from bot.workflows.approve import agreed, show_who
from bot.workflows.engine import Outcome, attempt
from bot.workflows.filling import context, typed
from bot.workflows.guards import Deadline, guarded, must_not_be_cancelled, must_not_be_frozen, until_told_to_stop
from bot.workflows.prepare import Prepared
from bot.workflows.show_run import show_result, show_soon

LOOK_AGAIN = 1.0
WAITS_FOR = "waits_for"
A_MOMENT = 0.5  # seconds; what takes longer is seen to go on


async def perform(parts: Parts, known: Run, each: Step, todo: Prepared) -> Outcome:
    """Wait for people, take what the step changes, do it, and show what was found.

    All of it may be done again after a crash: what people said and how far it has come stands in the store.
    """
    if not todo.approvals:
        return await do(parts, known, each, todo)
    waited = await attempt(f"{each.id}: decided?", partial(agreed, parts, known, each, shown=todo.shown))
    if not waited.ok:
        await show_who(parts, known, each)
        return waited
    performed, _ = await asyncio.gather(do(parts, known, each, todo), show_who(parts, known, each))
    return performed


async def do(parts: Parts, known: Run, each: Step, todo: Prepared, ready: StepRun | None = None) -> Outcome:
    """Take what the step changes, do it, and show what was found.

    `ready` is the step as it stands in the store, when it has begun already.
    """
    if todo.locks:
        taking = partial(_take, parts, known, each.id, todo.locks)
        taken = await attempt(f"{each.id}: take", taking, todo.limit)
        if not taken.ok:
            return taken
    performed = await attempt(f"{each.id}: perform", _performing(parts, known, each, todo, ready), todo.limit)
    if not performed.ok:
        return performed
    if performed.value.state is StepState.DONE:
        await attempt(f"{each.id}: show", partial(show_result, parts, known, each, performed.value), BRIEFLY)
    return Outcome()


async def _take(parts: Parts, known: Run, step_id: str, target: str) -> None:
    try:
        await take(parts, known, step_id, target)
    except Unavailable:
        await must_not_be_cancelled(parts, known.id)
        raise


async def take(parts: Parts, known: Run, step_id: str, target: str) -> None:
    """Take what the step changes, or say in the run's message who has it.

    Raises Unavailable while another run has it or it still cools down, and WrongState when everything is frozen.
    """
    await must_not_be_frozen(parts)
    holder = await parts.store.targets.take(target, known.id, parts.clock.now())
    if holder is None:
        return
    facts = {
        "target": target.rpartition("/")[2],
        "run": holder.run_id,
        "by": (await parts.store.runs.get(holder.run_id)).by.id,
        "until": holder.until.timestamp() if holder.until else None,
    }
    before = (await parts.store.runs.renewed(known)).step(step_id).facts
    if before.get(WAITS_FOR) != facts:
        await parts.store.runs.set_step(known.id, step_id, facts={**before, WAITS_FOR: facts})
        show_soon(parts, known.id)
    raise Unavailable("target_busy", retry_after=LOOK_AGAIN, **facts)


def _performing(
    parts: Parts, known: Run, each: Step, todo: Prepared, ready: StepRun | None
) -> Callable[[], Awaitable[StepRun]]:
    """Perform the stored parameters within the step's time, however often it is tried; gives the step as it is then.

    What is found half-done, and was not begun by this process, was cut off by a restart: the message says so.
    """
    until: Deadline | None = None

    async def performing() -> StepRun:
        nonlocal until
        stored = ready or await _begun(parts, known, each, todo, again=until is not None)
        if stored.result is not None:  # it was done, and only the record of that was lost
            return stored
        until = until or Deadline.begun(parts.clock, todo.limit)
        facts = await _performed(parts, known, each, todo, stored, until)
        values: dict[str, Any] = {"result": facts if facts is not None else {}}
        if not todo.changes and each.verify is None:
            values |= {"state": StepState.DONE, "ended_at": parts.clock.now()}
        await parts.store.runs.set_step(known.id, each.id, **values)
        return replace(stored, **values)

    return performing


async def _begun(parts: Parts, run: Run, each: Step, todo: Prepared, *, again: bool) -> StepRun:
    parts.woken(run.id).clear()
    known = await parts.store.runs.renewed(run)
    stored = known.step(each.id)
    if stored.result is not None:
        return stored
    if known.cancel_by:
        raise WrongState("run_cancelled", run=known.id)
    if todo.changes:
        await must_not_be_frozen(parts)
        if stored.state is StepState.PERFORMING and not again:
            await _say_what_is_left(parts, known, each, stored)
    if stored.state is StepState.PERFORMING:
        return stored
    values: dict[str, Any] = {
        "state": StepState.PERFORMING,
        "began_at": stored.began_at or parts.clock.now(),
        "facts": {},
    }
    await parts.store.runs.set_step(known.id, each.id, **values)
    return replace(stored, **values)


async def _performed(parts: Parts, known: Run, each: Step, todo: Prepared, stored: StepRun, until: Deadline) -> Any:
    """The facts that the action gives, as plain JSON."""
    action = ACTIONS.get(each.uses)
    asked = context(parts, known, each.id, stored.parameters, stored.rehearsed, began=stored.began_at)
    seen = asyncio.get_running_loop().call_later(A_MOMENT, show_soon, parts, known.id)
    try:
        facts: Any = await guarded(
            action.perform(asked, **typed(action, stored.parameters or {})),
            until_told_to_stop(parts, known.id, changes=todo.changes),
            until.passed(),
        )
    finally:
        seen.cancel()
    return action.result.dump_python(facts, mode="json")


async def _say_what_is_left(parts: Parts, known: Run, each: Step, stored: StepRun) -> None:
    """Look, changing nothing, what the cut-off step has still to do, and say it in the run's message."""
    action = ACTIONS.get(each.uses)
    left: list[dict[str, Any]] | None = None  # nobody can tell
    asked = context(parts, known, each.id, stored.parameters, stored.rehearsed)
    with contextlib.suppress(BotError), rehearsal() as recorder:
        await action.perform(asked, **typed(action, stored.parameters or {}))
        left = [effect.to_json() for effect in recorder.effects]
    await parts.store.runs.set_step(known.id, each.id, facts={"interrupted": True, "left": left})
    show_soon(parts, known.id)
