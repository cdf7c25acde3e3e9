"""Before a step does anything: its parameters are filled in, and it is rehearsed with exactly them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.domain.errors import WrongState
from bot.domain.policy import Needed, Risk
from bot.domain.run import Approval, Run, StepRun, StepState, digest
from bot.domain.runbook import Step
from bot.integrations.effects import dry_run
from bot.parts import Parts
from bot.policy import policy_of
from bot.runbooks import Expressions
from bot.workflows.filling import action_context, expression_names, parse_parameters, step_environment, step_timeout
from bot.workflows.guards import Deadline, run_until_interrupted, wait_for_stop

PLANNED_COLUMNS = ("state", "parameters", "effects", "digest", "rehearsed", "result", "began_at", "ended_at")


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What came of filling and rehearsing a step; `locks` names what nobody else may change meanwhile.

    Its action may take `seconds`. The card for the approvals is `shown` already, or not yet. A step that only looks,
    and that nobody has to agree to, is `done` at once, and every step of a dry run is.
    """

    skip: bool = False
    approvals: int = 0
    changes: bool = False
    waits: bool = False
    lock_key: str | None = None
    seconds: float = 0.0
    shown: bool = False
    done: bool = False

    @property
    def limit(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    @property
    def is_read_only(self) -> bool:
        return not (self.skip or self.changes or self.waits)


async def plan_step(parts: Parts, run: Run, step: Step) -> tuple[StepPlan, StepRun]:
    """Rehearse a step, and keep its parameters, its effects and their digest; ask for the approvals that it needs.

    What only looks is performing at once; if that was cut off by a restart it is not rehearsed again, since what its
    rehearsal has set (a deadline) holds. Raises what the rehearsal raises.
    """
    parts.event(run.id).clear()
    current = await parts.store.runs.refresh(run)
    step_run, action = current.step(step.id), ACTIONS.get(step.uses)
    if current.cancel_by:
        raise WrongState("run_cancelled", run=current.id)
    if step_run.began_at and not step_run.effects:
        may_take = step_timeout(step, parse_parameters(action, step_run.parameters or {}), parts.clock.now())
        return StepPlan(seconds=may_take.total_seconds()), step_run
    names = await expression_names(parts, current, step)
    expressions = Expressions()
    if step.if_ and not expressions.evaluate(step.if_, names):
        await parts.store.runs.set_step(current.id, step.id, state=StepState.SKIPPED)
        return StepPlan(skip=True), step_run
    parameters = action.read(expressions.render(step.with_, names))
    given = parse_parameters(action, parameters)
    may_take = step_timeout(step, given, parts.clock.now())
    with dry_run() as recorder:
        facts = await run_until_interrupted(
            action.execute(action_context(parts, current, step.id, parameters), **given),
            wait_for_stop(parts, current.id, changes=False),
            Deadline.starting(parts.clock, may_take).passed(),
        )
    effects = tuple(replace(effect, diff=parts.redaction.text(effect.diff)) for effect in recorder.effects)
    environment, waits = step_environment(parts, current, step.id, parameters), action.waits_for is not None
    needed = _approvals_needed(parts, environment, step, action) if effects or waits else Needed(Risk.READ, 0)
    step_plan = StepPlan(
        approvals=needed.approvals,
        changes=bool(effects),
        waits=waits,
        lock_key=action.lock_key(parameters, environment=environment) if effects else None,
        seconds=may_take.total_seconds(),
    )
    rehearsed = replace(
        step_run,
        parameters=parameters,
        effects=effects,
        digest=digest(step.uses, parameters, effects),
        rehearsed=action.result.dump_python(facts, mode="json") if facts is not None else None,
    )
    return step_plan, await _save_plan(parts, current, step, step_plan, needed, rehearsed)


async def _save_plan(
    parts: Parts, run: Run, step_spec: Step, step_plan: StepPlan, needed: Needed, step: StepRun
) -> StepRun:
    """Keep a rehearsed step in the state that comes next, and ask whoever must agree, in one transaction.

    A dry run waits for nothing: what a look has seen in its rehearsal is what it found.
    """
    now = parts.clock.now()
    asks, at_once = step_plan.approvals and not run.dry_run, step_plan.is_read_only and step_spec.verify is None
    if run.dry_run and step_plan.is_read_only:
        kept = replace(step, state=StepState.DONE, began_at=now, ended_at=now, result=step.rehearsed or {})
    else:
        state = StepState.WAITING if asks else StepState.PERFORMING if at_once else StepState.REHEARSED
        kept = replace(step, state=state, began_at=now if at_once else None)
    values = {name: getattr(kept, name) for name in PLANNED_COLUMNS}
    if asks:
        until = now + needed.expires
        approval = Approval(run.id, step.id, step.digest, needed.approvals, needed.role, now, until)
        await parts.store.runs.request_approval(approval, **values)
    else:
        await parts.store.runs.set_step(run.id, step.id, **values)
    return kept


def _approvals_needed(parts: Parts, environment: str, step: Step, action: Action) -> Needed:
    approval = step.approval
    at_least = 1 if action.waits_for else None
    return policy_of(parts.team).needed(
        action.name,
        action.risk,
        environment,
        parts.clock.now(),
        role=approval.role if approval else None,
        approvals=(approval.count if approval else None) or at_least,
        expires=approval.expires if approval else None,
    )
