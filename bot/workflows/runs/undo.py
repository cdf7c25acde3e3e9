"""Undo a run: its changes in reverse order, except where something else was changed since.

An undo is a change like any other: planned, shown, approved by its own risk under the same policy, and told.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.context import Context
from bot.actions.registry import Action, ActionFunction
from bot.actions.targets import lock_key
from bot.deps import Deps
from bot.domain.drill import PREFIX
from bot.domain.errors import WrongState
from bot.domain.people import Person
from bot.domain.policy import RequiredApprovals, Risk
from bot.domain.run import OUTCOME, UNDO, Approval, ChangeOutcome, Effect, Run, StepRun, StepState, digest, undo_step_id
from bot.domain.runbook import Runbook, Step
from bot.domain.snapshot import Assessment
from bot.integrations.effects import Execution, dry_run
from bot.message_refresher import REFRESH_TIMEOUT
from bot.redaction.shapes import HIDDEN
from bot.team import policy_of
from bot.workflows.engine.durable import Outcome, durable_step, run_with_retries
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT
from bot.workflows.runs.approval import show_approvers, wait_for_approval
from bot.workflows.runs.interrupts import Deadline, raise_if_frozen, run_until_interrupted
from bot.workflows.runs.outcome import find_outcome, remaining_effects
from bot.workflows.runs.presentation import schedule_run_message, undone, update_run_message
from bot.workflows.runs.second_call import end_second_call
from bot.workflows.runs.step import (
    DEFAULT_STEP_TIMEOUT,
    WAITS_FOR,
    acquire_target,
    action_context,
    parse_parameters,
    step_environment,
    step_rules,
    step_timeout,
)

FINAL_MESSAGE_TIMEOUT = MESSAGE_TIMEOUT
PLAN_TIMEOUT = timedelta(minutes=2)
NOT_UNDONE = "not_undone"
UNDONE, NOTHING, ASK, GO = "undone", "nothing", "ask", "go"  # what follows from the plan of an undo
TARGETS_RELEASED = "let go"  # the last durable step: everything that can be undone is
# The way back from what was measured as worse belongs to what was approved, for so long after the change.
MEASURED_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """Who asks for an undo: a person, or the run itself (`by` is None) because its step `failed`.

    `key` is the same for every attempt, and another one for another request.
    """

    key: str
    by: Person | None = None
    failed: str | None = None


def undo_workflow_id(idempotency_key: str) -> str:
    """Return the id of the workflow that undoes a run for this idempotency key."""
    return f"{idempotency_key}/undo"


async def undo_run(deps: Deps, run_id: str, by: dict[str, Any] | None = None, key: str = "") -> None:
    """Undo a run that has ended; `by` is the requester (a Person as JSON), `key` identifies the request."""
    run = await deps.store.runs.get(run_id)
    request = UndoRequest(key, Person.from_json(by) if by else run.by)
    with deps.subscribed(run_id):
        await undo_steps(deps, run, Runbook.model_validate(run.definition), request)
    await durable_step(TARGETS_RELEASED, partial(_release_targets, deps, run_id))
    await durable_step("show", partial(update_run_message, deps, run_id), FINAL_MESSAGE_TIMEOUT)


async def undo_steps(
    deps: Deps, run: Run, runbook: Runbook, request: UndoRequest, *, keep_helpful: bool = False
) -> bool:
    """Undo the run's changes, the last first; a half-done step by the result of its dry run.

    Returns True if something was undone and nothing is left that should be. Failures are shown in the run's message
    with the reason. Steps with `keep` are not undone, nor, with `keep_helpful`, those whose measurement says that they
    helped.
    """
    all_undone, any_undone = True, False
    for step in reversed(runbook.steps):
        if step.keep or (keep_helpful and (await _verdict(deps, run, step)) is Assessment.HELPED):
            continue
        undo = StepUndo(deps, run, step, request)
        outcome = await durable_step(f"{step.id}: undo", undo.play)
        all_undone, any_undone = all_undone and outcome.ok, any_undone or bool(outcome.value)
        if not outcome.ok:
            await durable_step(f"{step.id}: not undone", partial(_record_not_undone, deps, run.id, step.id, outcome))
        if not outcome.ok or outcome.value:
            schedule_run_message(deps, run.id)
    return all_undone and any_undone


async def _verdict(deps: Deps, run: Run, step: Step) -> Assessment | None:
    return (await deps.store.runs.refresh(run)).step(step.id).verdict  # it does not change any more


class StepUndo:
    """Undoes one step: plans it, waits for its approvals, does it. Every part may be repeated after a crash."""

    def __init__(self, deps: Deps, run: Run, step: Step, request: UndoRequest) -> None:
        self._deps = deps
        self._run = run
        self._step = step
        self._request = request
        self._id = undo_step_id(step.id)

    async def play(self) -> Outcome:
        """Undo the step if it changed something and has an undo; the outcome's value is True if it is undone."""
        planned = await self._part("plan the undo", self._plan, PLAN_TIMEOUT)
        if not planned.ok or planned.value in (UNDONE, NOTHING):
            return planned if not planned.ok else Outcome(planned.value == UNDONE)
        if planned.value == ASK:
            schedule_run_message(self._deps, self._run.id)
            decide = partial(wait_for_approval, self._deps, self._run, self._id, shown=False)
            decided = await self._part("decided?", decide, None)
            await show_approvers(self._deps, self._run, self._id)
            end_page = partial(end_second_call, self._deps, self._run, self._id)
            await self._part("end the second call", end_page, REFRESH_TIMEOUT)
            if not decided.ok:
                return decided
        return await self._part("undo", self._undo, self._step.timeout or DEFAULT_STEP_TIMEOUT)

    async def _part(self, name: str, call: Any, give_up_after: timedelta | None) -> Outcome:
        return await run_with_retries(f"{self._step.id}: {name}", call, give_up_after)

    async def _plan(self) -> str:
        """Do a dry run of the undo, save what it would change, and request its approvals.

        Returns what comes next: UNDONE already, NOTHING to undo, ASK for approval, GO. Raises what the undo raises.
        """
        deps, step = self._deps, self._step
        run, step_run = await self._current()
        if step_run.state is StepState.UNDONE:
            return UNDONE
        action = ACTIONS.get(step_run.uses) if step_run.uses in ACTIONS else None
        if action is None or action.undo is None or not step_run.may_have_changed:
            return NOTHING
        await raise_if_frozen(deps)
        if self._known_plan(step_run).get("began_at"):
            return GO  # it is being undone since before a restart, as it was planned
        with dry_run() as recorder:
            await run_until_interrupted(
                action.undo(action_context(deps, run, step_run, undoing=True), _facts(action, step_run)),
                Deadline.starting(deps.clock, PLAN_TIMEOUT).passed(),
            )
        effects = deps.redaction.of(tuple(recorder.effects))
        by = self._request.by
        planned = {
            "key": self._request.key,
            "by": by.to_json() if by else None,
            "effects": [effect.to_json() for effect in effects],
            "digest": digest(f"undo {step_run.uses} {self._request.key}", step_run.parameters or {}, effects),
        }
        facts = {**_lasting_facts(step_run), UNDO: planned}
        now = deps.clock.now()
        rules = await step_rules(deps, run, step.id, step_run.parameters)
        needed = self._approvals_needed(action, step_run, rules, effects)
        if needed.approvals and effects:
            approval = Approval(
                run.id,
                self._id,
                str(planned["digest"]),
                needed.approvals,
                needed.role,
                asked_at=now,
                expires_at=now + needed.expires,
            )
            await deps.store.runs.request_approval(approval, facts=facts)
            return ASK
        await deps.store.runs.set_step(run.id, step.id, facts=facts)
        return GO

    def _approvals_needed(
        self, action: Action, step_run: StepRun, rules: frozenset[str], effects: Sequence[Effect]
    ) -> RequiredApprovals:
        now = self._deps.clock.now()
        # A drill's fault is approved with its end in view: whoever stops the drill puts right what it broke.
        if self._run.runbook.startswith(PREFIX) or self._returns_from_worse(step_run, now):
            return RequiredApprovals(Risk.READ, 0)
        return policy_of(self._deps.team).requires(action.name, action.risk_of(effects, undoing=True), rules, now)

    def _returns_from_worse(self, step_run: StepRun, now: datetime) -> bool:
        """Return True for the way back from a change that was measured as worse: by its own verdict, or because the run
        failed at that change or at a measurement after it.
        """
        since = step_run.ended_at or step_run.began_at
        if since is None or now - since > MEASURED_FOR:
            return False
        if step_run.verdict is Assessment.WORSE or self._request.failed == step_run.id:
            return True
        failed = self._run.step(self._request.failed) if self._request.failed else None
        if failed is None or failed.uses not in ACTIONS:
            return False
        measures = ACTIONS.get(failed.uses)
        return measures.risk is Risk.READ and measures.waits_for is None

    async def _undo(self) -> bool:
        deps, step = self._deps, self._step
        run, step_run = await self._current()
        if step_run.state is StepState.UNDONE:
            return True
        action = ACTIONS.get(step_run.uses)
        if action.undo is None:
            return False
        await raise_if_frozen(deps)
        environment = step_environment(deps, run, step.id, step_run.parameters)
        if target := lock_key(deps.team, action, step_run.parameters or {}, environment):
            await acquire_target(deps, run, step.id, target)
        now, planned = deps.clock.now(), self._known_plan(step_run)
        if not planned.get("began_at"):
            facts = {**_lasting_facts(step_run), UNDO: {**planned, "began_at": now.isoformat()}}
            await deps.store.runs.set_step(run.id, step.id, facts=facts)
        timeout = step_timeout(step, parse_parameters(action, step_run.parameters or {}), now)
        undo = partial(self._act, action.undo, action_context(deps, run, step_run, undoing=True), step_run)
        execution, deadline = Execution(), Deadline.starting(deps.clock, timeout)
        try:
            await run_until_interrupted(undo(), deadline.passed(), execution=execution)
        except WrongState as stopped:
            outcome = await find_outcome(step_run.undoing, execution, partial(remaining_effects, undo))
            if outcome[OUTCOME] != ChangeOutcome.DONE:
                raise WrongState(stopped.key, **stopped.facts | outcome) from stopped
        run, step_run = await self._current()
        entry, now = undone(deps, run, step_run, self._request.by), deps.clock.now()
        facts = _lasting_facts(step_run)
        await deps.store.runs.set_step(run.id, step.id, entry, state=StepState.UNDONE, facts=facts, ended_at=now)
        if deps.traces:
            began = self._known_plan(step_run).get("began_at")
            began_at = datetime.fromisoformat(began) if began else None
            undone_step = replace(step_run, id=self._id, state=StepState.UNDONE, error=None)
            deps.traces.step(run, replace(undone_step, began_at=began_at, ended_at=now))
        return True

    async def _act(self, undo: ActionFunction, context: Context, step_run: StepRun) -> Any:
        """Undo what the step has done; in a trace, its remote calls are below the undo."""
        traces, facts = self._deps.traces, _facts(ACTIONS.get(step_run.uses), step_run)
        with traces.within(self._run.id, self._id) if traces else contextlib.nullcontext():
            return await undo(context, facts)

    def _known_plan(self, step_run: StepRun) -> dict[str, Any]:
        """Return the plan of this request, empty before it is made; the plan of another request approves nothing."""
        known: dict[str, Any] = step_run.facts.get(UNDO, {})
        return known if known.get("key") == self._request.key else {}

    async def _current(self) -> tuple[Run, StepRun]:
        run = await self._deps.store.runs.refresh(self._run)
        return run, run.step(self._step.id)


def _facts(action: Action, step_run: StepRun) -> Any:
    """Return what the step has done, or what its dry run predicted if it was cut off.

    Raises WrongState if a secret was taken out of it: then it is not known what was there before.
    """
    facts = step_run.result if step_run.result is not None else step_run.rehearsed
    if HIDDEN in json.dumps(facts):
        raise WrongState("secret_not_kept", step=step_run.id)
    return action.result.validate_python(facts)


def _lasting_facts(step_run: StepRun) -> dict[str, Any]:
    return {name: fact for name, fact in step_run.facts.items() if name not in (WAITS_FOR, NOT_UNDONE)}


async def _record_not_undone(deps: Deps, run_id: str, step_id: str, outcome: Outcome) -> None:
    step_run = (await deps.store.runs.get(run_id)).step(step_id)
    if step_run.state is not StepState.UNDONE:
        why = {"error": outcome.error, "facts": dict(outcome.facts)}
        facts = {name: fact for name, fact in step_run.facts.items() if name != WAITS_FOR}
        await deps.store.runs.set_step(run_id, step_id, facts={**facts, NOT_UNDONE: why})


async def _release_targets(deps: Deps, run_id: str) -> None:
    await deps.store.locks.release(run_id, deps.clock.now() + policy_of(deps.team).cool_down)
