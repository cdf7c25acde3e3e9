"""A run of a runbook: each step is filled, rehearsed, approved, performed as rehearsed, measured and recorded.

The rows of the store are the truth; who waits for a decision is only woken: a lost or doubled wake does no harm.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import Any

from bot.domain.run import Run, RunState, StepState, following
from bot.domain.runbook import Runbook, Step
from bot.drawings import BRIEFLY
from bot.parts import Parts
from bot.policy import policy_of
from bot.store.incidents import Told
from bot.workflows.approve import show_who
from bot.workflows.begin import begin, read_inputs
from bot.workflows.engine import Outcome, attempt, step
from bot.workflows.note import told_change, told_end
from bot.workflows.perform import do, perform
from bot.workflows.prepare import Prepared, prepare
from bot.workflows.show_run import show, show_result, show_soon
from bot.workflows.undo import undo_all
from bot.workflows.verify import verify

A_WHILE = timedelta(minutes=2)
IN_THE_END = timedelta(hours=1)


async def run(parts: Parts, run_id: str) -> str:
    """Play a run to its end; gives the state it ended in."""
    known = await parts.store.runs.get(run_id)  # its book and inputs never change
    book = Runbook.model_validate(known.book)
    with parts.listening(run_id):
        state = await _played(parts, known, book)
    await step("end", partial(_end, parts, known, state))
    await step("show the end", partial(show, parts, run_id), IN_THE_END)
    return state.value


async def _played(parts: Parts, known: Run, book: Runbook) -> RunState:
    state = RunState.SUCCEEDED
    for each in book.steps:
        ended = await _play(parts, known, each)
        if ended in (StepState.DONE, StepState.SKIPPED):
            continue
        if ended is StepState.FAILED and (each.continue_on_error or known.dry_run):
            continue
        state = RunState.CANCELLED if ended is StepState.CANCELLED else RunState.FAILED
        break
    if state is not RunState.SUCCEEDED and not known.dry_run:
        if book.on_failure == "undo":
            undone = await undo_all(parts, known, book)
            state = RunState.UNDONE if undone and state is RunState.FAILED else state
        elif isinstance(book.on_failure, Runbook) and state is RunState.FAILED:
            await step("go on with another", partial(_go_on_with, parts, known, book.on_failure))
    return state


async def _play(parts: Parts, known: Run, each: Step) -> StepState:
    begun = await step(f"{each.id}: rehearse", partial(_rehearse, parts, known, each))
    if not begun.ok:
        return await _failed(parts, known, each, begun)
    todo = Prepared(**begun.value)
    show_soon(parts, known.id)
    if todo.skip or todo.done:
        return StepState.SKIPPED if todo.skip else StepState.DONE
    performed = await step(f"{each.id}: perform", partial(perform, parts, known, each, todo))
    if not performed.ok:
        return await _failed(parts, known, each, performed)
    if each.verify or todo.changes:
        await verify(parts, known, each)
        await step(f"{each.id}: done", partial(_done, parts, known, each, todo))
    show_soon(parts, known.id)
    return StepState.DONE


async def _rehearse(parts: Parts, known: Run, each: Step) -> Outcome:
    """Rehearse a step, and show who must agree what it would do; what only looks is done in one go."""
    prepared = await attempt(f"{each.id}: prepare", partial(prepare, parts, known, each), A_WHILE)
    if not prepared.ok:
        return prepared
    todo, stored = prepared.value
    if known.dry_run:
        if todo.only_looks:
            await attempt(f"{each.id}: show", partial(show_result, parts, known, each, stored), BRIEFLY)
        todo = replace(todo, done=True)
    elif todo.approvals:
        todo = replace(todo, shown=bool((await show_who(parts, known, each)).value))
    elif todo.only_looks and each.verify is None:
        performed = await do(parts, known, each, todo, stored)
        if not performed.ok:
            return performed
        todo = replace(todo, done=True)
    return Outcome(asdict(todo))


async def _done(parts: Parts, run: Run, each: Step, todo: Prepared) -> Outcome:
    """What the step came to is told in the transaction that records it."""
    known = await parts.store.runs.renewed(run)
    stored = known.step(each.id)
    told = told_change(parts, known, stored) if todo.changes else None
    await _set(parts, known.id, each.id, StepState.DONE, told)
    if not todo.changes:
        await attempt(f"{each.id}: show", partial(show_result, parts, known, each, stored), BRIEFLY)
    return Outcome()


async def _failed(parts: Parts, known: Run, each: Step, outcome: Outcome) -> StepState:
    cancelled = outcome.error == "run_cancelled"
    state = StepState.CANCELLED if cancelled else StepState.FAILED
    facts = dict(outcome.facts)
    await step(f"{each.id}: failed", partial(_set, parts, known.id, each.id, state, error=outcome.error, facts=facts))
    show_soon(parts, known.id)
    return state


async def _set(
    parts: Parts, run_id: str, step_id: str, state: StepState, told: Told | None = None, **values: Any
) -> None:
    await parts.store.runs.set_step(run_id, step_id, told, state=state, ended_at=parts.clock.now(), **values)


async def _go_on_with(parts: Parts, known: Run, book: Runbook) -> None:
    """Begin the runbook that is to follow a failure: for the same incident, with the inputs of the same name.

    It takes over what this run was changing, so that it does not wait until that has cooled down.
    """
    given = {name: str(known.inputs[name]) for name in book.inputs if known.inputs.get(name) is not None}
    incident = await parts.store.incidents.get(known.incident_id) if known.incident_id else None
    begun = await begin(
        parts,
        book,
        read_inputs(parts, book, given, incident),
        by=known.by,
        cause=following(known.id),
        incident=incident,
        channel=known.channel,
        environment=known.environment,
    )
    await parts.store.targets.hand_over(known.id, begun.id)


async def _end(parts: Parts, known: Run, state: RunState) -> None:
    now = parts.clock.now()
    settles = now + policy_of(parts.team).cool_down
    await parts.store.runs.end(known.id, state, now, settles=settles, told=told_end(parts, known, state))
