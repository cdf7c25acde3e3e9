"""Undo a run: its changes in reverse order, except where something else was changed since."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.deps import Deps
from bot.domain.errors import WrongState
from bot.domain.people import Person
from bot.domain.run import OUTCOME, ChangeOutcome, Run, StepState
from bot.domain.runbook import Runbook, Step
from bot.domain.snapshot import Assessment as Verdict
from bot.integrations.effects import Execution
from bot.team import policy_of
from bot.workflows.engine.durable import Outcome, durable_step
from bot.workflows.runs.interrupts import Deadline, raise_if_frozen, run_until_interrupted
from bot.workflows.runs.outcome import find_outcome, remaining_effects
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

FINAL_MESSAGE_TIMEOUT = timedelta(hours=1)
NOT_UNDONE = "not_undone"
TARGETS_RELEASED = "let go"  # the last durable step: everything that can be undone is


def undo_workflow_id(idempotency_key: str) -> str:
    """Return the id of the workflow that undoes a run for this idempotency key."""
    return f"{idempotency_key}/undo"


async def undo_run(deps: Deps, run_id: str, by: dict[str, Any] | None = None) -> None:
    """Undo a run that has ended; `by` is the requester (a Person as JSON)."""
    run = await deps.store.runs.get(run_id)
    await undo_steps(deps, run, Runbook.model_validate(run.definition), Person(**by) if by else None)
    await durable_step(TARGETS_RELEASED, partial(_release_targets, deps, run_id))
    await durable_step("show", partial(update_run_message, deps, run_id), FINAL_MESSAGE_TIMEOUT)


async def undo_steps(
    deps: Deps, run: Run, runbook: Runbook, by: Person | None = None, *, keep_helpful: bool = False
) -> bool:
    """Undo the run's changes, the last first; a half-done step by the result of its dry run.

    Returns True if something was undone and nothing is left that should be. Failures are shown in the run's message
    with the reason. Steps with `keep` are not undone, nor, with `keep_helpful`, those whose measurement says that they
    helped.
    """
    all_undone, any_undone = True, False
    for step in reversed(runbook.steps):
        if step.keep or (keep_helpful and (await _verdict(deps, run, step)) is Verdict.HELPED):
            continue
        undo_step = partial(_undo_step, deps, run, step, by)
        outcome = await durable_step(f"{step.id}: undo", undo_step, step.timeout or DEFAULT_STEP_TIMEOUT)
        all_undone, any_undone = all_undone and outcome.ok, any_undone or bool(outcome.value)
        if not outcome.ok:
            await durable_step(f"{step.id}: not undone", partial(_record_not_undone, deps, run.id, step.id, outcome))
        if not outcome.ok or outcome.value:
            schedule_run_message(deps, run.id)
    return all_undone and any_undone


async def _verdict(deps: Deps, run: Run, step: Step) -> Verdict | None:
    return (await deps.store.runs.refresh(run)).step(step.id).verdict  # it does not change any more


async def _undo_step(deps: Deps, run: Run, step: Step, by: Person | None) -> bool:
    """Undo one step if it changed something and has an undo. Raises what the undo raises, and WrongState."""
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
    timeout = step_timeout(step, parse_parameters(action, step_run.parameters or {}), deps.clock.now())
    undo = partial(action.undo, context, action.result.validate_python(facts))
    execution, deadline = Execution(), Deadline.starting(deps.clock, timeout)
    try:
        await run_until_interrupted(undo(), deadline.passed(), execution=execution)
    except WrongState as stopped:
        outcome = await find_outcome(step_run, execution, partial(remaining_effects, undo))
        if outcome[OUTCOME] != ChangeOutcome.DONE:
            raise WrongState(stopped.key, **stopped.facts | outcome) from stopped
    other_facts = {name: fact for name, fact in step_run.facts.items() if name not in (WAITS_FOR, NOT_UNDONE)}
    now, entry = deps.clock.now(), undone(deps, current, step_run, by)
    await deps.store.runs.set_step(current.id, step.id, entry, state=StepState.UNDONE, facts=other_facts, ended_at=now)
    return True


async def _record_not_undone(deps: Deps, run_id: str, step_id: str, outcome: Outcome) -> None:
    step_run = (await deps.store.runs.get(run_id)).step(step_id)
    if step_run.state is not StepState.UNDONE:
        why = {"error": outcome.error, "facts": dict(outcome.facts)}
        other_facts = {name: fact for name, fact in step_run.facts.items() if name != WAITS_FOR}
        await deps.store.runs.set_step(run_id, step_id, facts={**other_facts, NOT_UNDONE: why})


async def _release_targets(deps: Deps, run_id: str) -> None:
    await deps.store.locks.release(run_id, deps.clock.now() + policy_of(deps.team).cool_down)
