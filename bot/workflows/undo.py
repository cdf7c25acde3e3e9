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
from bot.workflows.engine import Outcome, durable_step
from bot.workflows.filling import DEFAULT_STEP_TIMEOUT, action_context, parse_parameters, step_environment, step_timeout
from bot.workflows.guards import Deadline, raise_if_frozen, run_until_interrupted
from bot.workflows.note import undone
from bot.workflows.perform import WAITS_FOR, acquire_target
from bot.workflows.show_run import schedule_run_message, update_run_message

IN_THE_END = timedelta(hours=1)
NOT_UNDONE = "not_undone"
TARGETS_RELEASED = "let go"  # the step by which all that could be undone is


def undo_workflow_id(cause: str) -> str:
    """The id of the workflow by which a call has a run undone."""
    return f"{cause}/undo"


async def undo_run(parts: Parts, run_id: str, by: dict[str, Any] | None = None) -> None:
    """Undo a run that has ended, when somebody (a Person as JSON) asks for it (as the workflow `undoing`)."""
    run = await parts.store.runs.get(run_id)
    await undo_steps(parts, run, Runbook.model_validate(run.book), Person(**by) if by else None)
    await durable_step(TARGETS_RELEASED, partial(_release_targets, parts, run_id))
    await durable_step("show", partial(update_run_message, parts, run_id), IN_THE_END)


async def undo_steps(parts: Parts, run: Run, runbook: Runbook, by: Person | None = None) -> bool:
    """Undo what was done, the last first; the half-done step by what its rehearsal saw.

    True when something was undone and nothing that should have been is left. What cannot be undone is said in the
    run's message, with why. A step that the runbook says to `keep` is left as it is.
    """
    worked, undone = True, False
    for step in reversed(runbook.steps):
        if step.keep:
            continue
        undoing_it = partial(_undo_step, parts, run, step, by)
        outcome = await durable_step(f"{step.id}: undo", undoing_it, step.timeout or DEFAULT_STEP_TIMEOUT)
        worked, undone = worked and outcome.ok, undone or bool(outcome.value)
        if not outcome.ok:
            await durable_step(f"{step.id}: not undone", partial(_record_not_undone, parts, run.id, step.id, outcome))
        if not outcome.ok or outcome.value:
            schedule_run_message(parts, run.id)
    return worked and undone


async def _undo_step(parts: Parts, run: Run, step: Step, by: Person | None) -> bool:
    """Undo one step, if it changed anything and can be undone. Raises what the undo raises, and WrongState."""
    current = await parts.store.runs.refresh(run)
    step_run = current.step(step.id)
    if step_run.state is StepState.UNDONE:
        return True
    if step_run.uses not in ACTIONS or not step_run.may_have_changed:
        return False
    action = ACTIONS.get(step_run.uses)
    if action.undo is None:
        return False
    await raise_if_frozen(parts)
    environment = step_environment(parts, current, step.id, step_run.parameters)
    if target := action.lock_key(dict(step_run.parameters or {}), environment=environment):
        await acquire_target(parts, current, step.id, target)
    facts = step_run.result if step_run.result is not None else step_run.rehearsed
    context = action_context(parts, current, step.id, step_run.parameters, undoing=True)
    may_take = step_timeout(step, parse_parameters(action, step_run.parameters or {}), parts.clock.now())
    until = Deadline.starting(parts.clock, may_take)
    await run_until_interrupted(action.undo(context, action.result.validate_python(facts)), until.passed())
    kept = {name: fact for name, fact in step_run.facts.items() if name not in (WAITS_FOR, NOT_UNDONE)}
    now, entry = parts.clock.now(), undone(parts, current, step_run, by)
    await parts.store.runs.set_step(current.id, step.id, entry, state=StepState.UNDONE, facts=kept, ended_at=now)
    return True


async def _record_not_undone(parts: Parts, run_id: str, step_id: str, outcome: Outcome) -> None:
    step_run = (await parts.store.runs.get(run_id)).step(step_id)
    if step_run.state is not StepState.UNDONE:
        why = {"error": outcome.error, "facts": dict(outcome.facts)}
        kept = {name: fact for name, fact in step_run.facts.items() if name != WAITS_FOR}
        await parts.store.runs.set_step(run_id, step_id, facts={**kept, NOT_UNDONE: why})


async def _release_targets(parts: Parts, run_id: str) -> None:
    await parts.store.locks.release(run_id, parts.clock.now() + policy_of(parts.team).cool_down)
