"""What a run has changed is put back: the last change first, and only what nobody else has changed since."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.deps import Deps
from bot.domain.people import Person
from bot.domain.run import Run, StepState
from bot.domain.runbook import Runbook, Step
from bot.team import policy_of
from bot.workflows.engine.durable import Outcome, durable_step
from bot.workflows.runs.interrupts import Deadline, raise_if_frozen, run_until_interrupted
from bot.workflows.runs.presentation import schedule_run_message, undone, update_run_message
from bot.workflows.runs.step import (
    DEFAULT_STEP_TIMEOUT,
    WAITS_FOR,
    acquire_target,
    action_context,
    parse_parameters,
    step_environment,
    step_timeout,
)

IN_THE_END = timedelta(hours=1)
NOT_UNDONE = "not_undone"
TARGETS_RELEASED = "let go"  # the step by which all that could be undone is


def undo_workflow_id(idempotency_key: str) -> str:
    """The id of the workflow by which a call has a run undone."""
    return f"{idempotency_key}/undo"


async def undo_run(deps: Deps, run_id: str, by: dict[str, Any] | None = None) -> None:
    """Undo a run that has ended, when somebody (a Person as JSON) asks for it (as the workflow `undoing`)."""
    run = await deps.store.runs.get(run_id)
    await undo_steps(deps, run, Runbook.model_validate(run.definition), Person(**by) if by else None)
    await durable_step(TARGETS_RELEASED, partial(_release_targets, deps, run_id))
    await durable_step("show", partial(update_run_message, deps, run_id), IN_THE_END)


async def undo_steps(deps: Deps, run: Run, runbook: Runbook, by: Person | None = None) -> bool:
    """Undo what was done, the last first; the half-done step by what its rehearsal saw.

    True when something was undone and nothing that should have been is left. What cannot be undone is said in the
    run's message, with why. A step that the runbook says to `keep` is left as it is.
    """
    worked, undone = True, False
    for step in reversed(runbook.steps):
        if step.keep:
            continue
        undoing_it = partial(_undo_step, deps, run, step, by)
        outcome = await durable_step(f"{step.id}: undo", undoing_it, step.timeout or DEFAULT_STEP_TIMEOUT)
        worked, undone = worked and outcome.ok, undone or bool(outcome.value)
        if not outcome.ok:
            await durable_step(f"{step.id}: not undone", partial(_record_not_undone, deps, run.id, step.id, outcome))
        if not outcome.ok or outcome.value:
            schedule_run_message(deps, run.id)
    return worked and undone


async def _undo_step(deps: Deps, run: Run, step: Step, by: Person | None) -> bool:
    """Undo one step, if it changed anything and can be undone. Raises what the undo raises, and WrongState."""
    current = await deps.store.runs.refresh(run)
    step_run = current.step(step.id)
    if step_run.state is StepState.UNDONE:
        return True
    if step_run.uses not in ACTIONS or not step_run.may_have_changed:
        return False
    action = ACTIONS.get(step_run.uses)
    if action.undo is None:
        return False
    await raise_if_frozen(deps)
    environment = step_environment(deps, current, step.id, step_run.parameters)
    if target := action.lock_key(dict(step_run.parameters or {}), environment=environment):
        await acquire_target(deps, current, step.id, target)
    facts = step_run.result if step_run.result is not None else step_run.rehearsed
    context = action_context(deps, current, step_run, undoing=True)
    may_take = step_timeout(step, parse_parameters(action, step_run.parameters or {}), deps.clock.now())
    until = Deadline.starting(deps.clock, may_take)
    await run_until_interrupted(action.undo(context, action.result.validate_python(facts)), until.passed())
    kept = {name: fact for name, fact in step_run.facts.items() if name not in (WAITS_FOR, NOT_UNDONE)}
    now, entry = deps.clock.now(), undone(deps, current, step_run, by)
    await deps.store.runs.set_step(current.id, step.id, entry, state=StepState.UNDONE, facts=kept, ended_at=now)
    return True


async def _record_not_undone(deps: Deps, run_id: str, step_id: str, outcome: Outcome) -> None:
    step_run = (await deps.store.runs.get(run_id)).step(step_id)
    if step_run.state is not StepState.UNDONE:
        why = {"error": outcome.error, "facts": dict(outcome.facts)}
        kept = {name: fact for name, fact in step_run.facts.items() if name != WAITS_FOR}
        await deps.store.runs.set_step(run_id, step_id, facts={**kept, NOT_UNDONE: why})


async def _release_targets(deps: Deps, run_id: str) -> None:
    await deps.store.locks.release(run_id, deps.clock.now() + policy_of(deps.team).cool_down)
