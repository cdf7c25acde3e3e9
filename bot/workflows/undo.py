"""What a run has changed is put back: the last change first, and only what nobody else has changed since."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.domain.people import Person
from bot.domain.run import Run, StepState
from bot.domain.runbook import Runbook, Step
from bot.parts import Parts
from bot.policy import policy_of
from bot.workflows.engine import Outcome, step
from bot.workflows.filling import WITHOUT_TIMEOUT, context, environment, limit, typed
from bot.workflows.guards import Deadline, guarded, must_not_be_frozen
from bot.workflows.note import told_undo
from bot.workflows.perform import WAITS_FOR, take
from bot.workflows.show_run import show, show_soon

IN_THE_END = timedelta(hours=1)
NOT_UNDONE = "not_undone"
LET_GO = "let go"  # the step by which all that could be undone is


def undoing(cause: str) -> str:
    """The id of the workflow by which a call has a run undone."""
    return f"{cause}/undo"


async def undo_run(parts: Parts, run_id: str, by: dict[str, Any] | None = None) -> None:
    """Undo a run that has ended, when somebody (a Person as JSON) asks for it (as the workflow `undoing`)."""
    known = await parts.store.runs.get(run_id)
    await undo_all(parts, known, Runbook.model_validate(known.book), Person(**by) if by else None)
    await step(LET_GO, partial(_let_go, parts, run_id))
    await step("show", partial(show, parts, run_id), IN_THE_END)


async def undo_all(parts: Parts, known: Run, book: Runbook, by: Person | None = None) -> bool:
    """Undo what was done, the last first; the half-done step by what its rehearsal saw.

    True when something was undone and nothing that should have been is left. What cannot be undone is said in the
    run's message, with why. A step that the runbook says to `keep` is left as it is.
    """
    worked, undone = True, False
    for each in reversed(book.steps):
        if each.keep:
            continue
        undoing_it = partial(_undo, parts, known, each, by)
        outcome = await step(f"{each.id}: undo", undoing_it, each.timeout or WITHOUT_TIMEOUT)
        worked, undone = worked and outcome.ok, undone or bool(outcome.value)
        if not outcome.ok:
            await step(f"{each.id}: not undone", partial(_not_undone, parts, known.id, each.id, outcome))
        if not outcome.ok or outcome.value:
            show_soon(parts, known.id)
    return worked and undone


async def _undo(parts: Parts, run: Run, each: Step, by: Person | None) -> bool:
    """Undo one step, if it changed anything and can be undone. Raises what the undo raises, and WrongState."""
    known = await parts.store.runs.renewed(run)
    stored = known.step(each.id)
    if stored.state is StepState.UNDONE:
        return True
    if stored.uses not in ACTIONS or not stored.touched:
        return False
    action = ACTIONS.get(stored.uses)
    if action.undo is None:
        return False
    await must_not_be_frozen(parts)
    where = environment(parts, known, each.id, stored.parameters)
    if target := action.locks(dict(stored.parameters or {}), environment=where):
        await take(parts, known, each.id, target)
    facts = stored.result if stored.result is not None else stored.rehearsed
    asked = context(parts, known, each.id, stored.parameters, undoing=True)
    may_take = limit(each, typed(action, stored.parameters or {}), parts.clock.now())
    until = Deadline.begun(parts.clock, may_take)
    await guarded(action.undo(asked, action.result.validate_python(facts)), until.passed())
    kept = {name: fact for name, fact in stored.facts.items() if name not in (WAITS_FOR, NOT_UNDONE)}
    now, told = parts.clock.now(), told_undo(parts, known, stored, by)
    await parts.store.runs.set_step(known.id, each.id, told, state=StepState.UNDONE, facts=kept, ended_at=now)
    return True


async def _not_undone(parts: Parts, run_id: str, step_id: str, outcome: Outcome) -> None:
    stored = (await parts.store.runs.get(run_id)).step(step_id)
    if stored.state is not StepState.UNDONE:
        why = {"error": outcome.error, "facts": dict(outcome.facts)}
        kept = {name: fact for name, fact in stored.facts.items() if name != WAITS_FOR}
        await parts.store.runs.set_step(run_id, step_id, facts={**kept, NOT_UNDONE: why})


async def _let_go(parts: Parts, run_id: str) -> None:
    await parts.store.targets.let_go(run_id, parts.clock.now() + policy_of(parts.team).cool_down)
