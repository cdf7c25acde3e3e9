"""A run of a runbook: each step is filled, rehearsed, approved, performed as rehearsed, measured and recorded.

The rows of the store are the truth; who waits for a decision is only woken: a lost or doubled wake does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable, WrongState
from bot.domain.policy import Needed, Risk
from bot.domain.run import Approval, Run, RunState, StepRun, StepState, digest, on_failure_key
from bot.domain.runbook import Runbook, Step
from bot.integrations.effects import dry_run
from bot.message_refresher import REFRESH_TIMEOUT
from bot.runbooks import Expressions
from bot.store.incidents import TimelineEntry
from bot.team import policy_of
from bot.workflows.engine.engine import Outcome, durable_step, run_with_retries
from bot.workflows.runs.approval import show_approvers, wait_for_approval
from bot.workflows.runs.interrupts import (
    Deadline,
    raise_if_cancelled,
    raise_if_frozen,
    run_until_interrupted,
    wait_for_stop,
)
from bot.workflows.runs.presentation import changed, ended, post_result, schedule_run_message, update_run_message
from bot.workflows.runs.start import read_inputs, start_run
from bot.workflows.runs.step import action_context, expression_names, parse_parameters, step_environment, step_timeout
from bot.workflows.runs.undo import undo_steps
from bot.workflows.runs.verify import verify_step

PLAN_TIMEOUT = timedelta(minutes=2)
FINAL_MESSAGE_TIMEOUT = timedelta(hours=1)

PLANNED_COLUMNS = ("state", "parameters", "effects", "digest", "rehearsed", "result", "began_at", "ended_at")
TARGET_POLL_SECONDS = 1.0
WAITS_FOR = "waits_for"
SHOW_PROGRESS_AFTER_SECONDS = 0.5  # seconds; what takes longer is seen to go on


async def play_runbook(deps: Deps, run_id: str) -> str:
    """Play a run to its end; gives the state it ended in."""
    run = await deps.store.runs.get(run_id)  # its book and inputs never change
    runbook = Runbook.model_validate(run.book)
    with deps.subscribed(run_id):
        state = await _play_steps(deps, run, runbook)
    await durable_step("end", partial(_end, deps, run, state))
    await durable_step("show the end", partial(update_run_message, deps, run_id), FINAL_MESSAGE_TIMEOUT)
    return state.value


async def _play_steps(deps: Deps, run: Run, runbook: Runbook) -> RunState:
    state = RunState.SUCCEEDED
    for step in runbook.steps:
        ended = await _play_step(deps, run, step)
        if ended in (StepState.DONE, StepState.SKIPPED):
            continue
        if ended is StepState.FAILED and (step.continue_on_error or run.dry_run):
            continue
        state = RunState.CANCELLED if ended is StepState.CANCELLED else RunState.FAILED
        break
    if state is not RunState.SUCCEEDED and not run.dry_run:
        if runbook.on_failure == "undo":
            undone = await undo_steps(deps, run, runbook)
            state = RunState.UNDONE if undone and state is RunState.FAILED else state
        elif isinstance(runbook.on_failure, Runbook) and state is RunState.FAILED:
            await durable_step("go on with another", partial(_start_on_failure, deps, run, runbook.on_failure))
    return state


async def _play_step(deps: Deps, run: Run, step: Step) -> StepState:
    outcome = await durable_step(f"{step.id}: rehearse", partial(_plan, deps, run, step))
    if not outcome.ok:
        return await _record_failed(deps, run, step, outcome)
    step_plan = StepPlan(**outcome.value)
    schedule_run_message(deps, run.id)
    if step_plan.skip or step_plan.done:
        return StepState.SKIPPED if step_plan.skip else StepState.DONE
    performed = await durable_step(f"{step.id}: perform", partial(execute_approved, deps, run, step, step_plan))
    if not performed.ok:
        return await _record_failed(deps, run, step, performed)
    if step.verify or step_plan.changes:
        await verify_step(deps, run, step)
        await durable_step(f"{step.id}: done", partial(_record_done, deps, run, step, step_plan))
    schedule_run_message(deps, run.id)
    return StepState.DONE


async def _plan(deps: Deps, run: Run, step: Step) -> Outcome:
    """Rehearse a step, and show who must agree what it would do; what only looks is done in one go."""
    prepared = await run_with_retries(f"{step.id}: prepare", partial(plan_step, deps, run, step), PLAN_TIMEOUT)
    if not prepared.ok:
        return prepared
    plan, step_run = prepared.value
    if run.dry_run:
        if plan.only_looks:
            await run_with_retries(f"{step.id}: show", partial(post_result, deps, run, step, step_run), REFRESH_TIMEOUT)
        plan = replace(plan, done=True)
    elif plan.approvals:
        plan = replace(plan, shown=bool((await show_approvers(deps, run, step)).value))
    elif plan.only_looks and step.verify is None:
        performed = await execute_step(deps, run, step, plan, step_run)
        if not performed.ok:
            return performed
        plan = replace(plan, done=True)
    return Outcome(asdict(plan))


async def _record_done(deps: Deps, run: Run, step: Step, step_plan: StepPlan) -> Outcome:
    """What the step came to is told in the transaction that records it."""
    current = await deps.store.runs.refresh(run)
    step_run = current.step(step.id)
    entry = changed(deps, current, step_run) if step_plan.changes else None
    await _end_step(deps, current.id, step.id, StepState.DONE, entry)
    if not step_plan.changes:
        await run_with_retries(f"{step.id}: show", partial(post_result, deps, current, step, step_run), REFRESH_TIMEOUT)
    return Outcome()


async def _record_failed(deps: Deps, run: Run, step: Step, outcome: Outcome) -> StepState:
    cancelled = outcome.error == "run_cancelled"
    state = StepState.CANCELLED if cancelled else StepState.FAILED
    facts = dict(outcome.facts)
    await durable_step(
        f"{step.id}: failed", partial(_end_step, deps, run.id, step.id, state, error=outcome.error, facts=facts)
    )
    schedule_run_message(deps, run.id)
    return state


async def _end_step(
    deps: Deps, run_id: str, step_id: str, state: StepState, entry: TimelineEntry | None = None, **values: Any
) -> None:
    await deps.store.runs.set_step(run_id, step_id, entry, state=state, ended_at=deps.clock.now(), **values)


async def _start_on_failure(deps: Deps, run: Run, runbook: Runbook) -> None:
    """Begin the runbook that is to follow a failure: for the same incident, with the inputs of the same name.

    It takes over what this run was changing, so that it does not wait until that has cooled down.
    """
    given = {name: str(run.inputs[name]) for name in runbook.inputs if run.inputs.get(name) is not None}
    incident = await deps.store.incidents.get(run.incident_id) if run.incident_id else None
    started = await start_run(
        deps,
        runbook,
        read_inputs(deps, runbook, given, incident),
        by=run.by,
        cause=on_failure_key(run.id),
        incident=incident,
        channel=run.channel,
        environment=run.environment,
    )
    await deps.store.locks.transfer(run.id, started.id)


async def _end(deps: Deps, run: Run, state: RunState) -> None:
    now = deps.clock.now()
    settles = now + policy_of(deps.team).cool_down
    await deps.store.runs.end(run.id, state, now, settles=settles, entry=ended(deps, run, state))


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


async def plan_step(deps: Deps, run: Run, step: Step) -> tuple[StepPlan, StepRun]:
    """Rehearse a step, and keep its parameters, its effects and their digest; ask for the approvals that it needs.

    What only looks is performing at once; if that was cut off by a restart it is not rehearsed again, since what its
    rehearsal has set (a deadline) holds. Raises what the rehearsal raises.
    """
    deps.event(run.id).clear()
    current = await deps.store.runs.refresh(run)
    step_run, action = current.step(step.id), ACTIONS.get(step.uses)
    if current.cancel_by:
        raise WrongState("run_cancelled", run=current.id)
    if step_run.began_at and not step_run.effects:
        may_take = step_timeout(step, parse_parameters(action, step_run.parameters or {}), deps.clock.now())
        return StepPlan(seconds=may_take.total_seconds()), step_run
    names = await expression_names(deps, current, step)
    expressions = Expressions()
    if step.if_ and not expressions.evaluate(step.if_, names):
        await deps.store.runs.set_step(current.id, step.id, state=StepState.SKIPPED)
        return StepPlan(skip=True), step_run
    parameters = action.read(expressions.render(step.with_, names))
    given = parse_parameters(action, parameters)
    may_take = step_timeout(step, given, deps.clock.now())
    with dry_run() as recorder:
        facts = await run_until_interrupted(
            action.execute(action_context(deps, current, step.id, parameters), **given),
            wait_for_stop(deps, current.id, changes=False),
            Deadline.starting(deps.clock, may_take).passed(),
        )
    effects = tuple(replace(effect, diff=deps.redaction.text(effect.diff)) for effect in recorder.effects)
    environment, waits = step_environment(deps, current, step.id, parameters), action.waits_for is not None
    needed = _approvals_needed(deps, environment, step, action) if effects or waits else Needed(Risk.READ, 0)
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
    return step_plan, await _save_plan(deps, current, step, step_plan, needed, rehearsed)


async def _save_plan(
    deps: Deps, run: Run, step_spec: Step, step_plan: StepPlan, needed: Needed, step: StepRun
) -> StepRun:
    """Keep a rehearsed step in the state that comes next, and ask whoever must agree, in one transaction.

    A dry run waits for nothing: what a look has seen in its rehearsal is what it found.
    """
    now = deps.clock.now()
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
        await deps.store.runs.request_approval(approval, **values)
    else:
        await deps.store.runs.set_step(run.id, step.id, **values)
    return kept


def _approvals_needed(deps: Deps, environment: str, step: Step, action: Action) -> Needed:
    approval = step.approval
    at_least = 1 if action.waits_for else None
    return policy_of(deps.team).needed(
        action.name,
        action.risk,
        environment,
        deps.clock.now(),
        role=approval.role if approval else None,
        approvals=(approval.count if approval else None) or at_least,
        expires=approval.expires if approval else None,
    )


async def execute_approved(deps: Deps, run: Run, step: Step, step_plan: StepPlan) -> Outcome:
    """Wait for people, take what the step changes, do it, and show what was found.

    All of it may be done again after a crash: what people said and how far it has come stands in the store.
    """
    if not step_plan.approvals:
        return await execute_step(deps, run, step, step_plan)
    waited = await run_with_retries(
        f"{step.id}: decided?", partial(wait_for_approval, deps, run, step, shown=step_plan.shown)
    )
    if not waited.ok:
        await show_approvers(deps, run, step)
        return waited
    performed, _ = await asyncio.gather(execute_step(deps, run, step, step_plan), show_approvers(deps, run, step))
    return performed


async def execute_step(deps: Deps, run: Run, step: Step, step_plan: StepPlan, ready: StepRun | None = None) -> Outcome:
    """Take what the step changes, do it, and show what was found.

    `ready` is the step as it stands in the store, when it has begun already.
    """
    if step_plan.lock_key:
        taking = partial(_acquire_unless_cancelled, deps, run, step.id, step_plan.lock_key)
        taken = await run_with_retries(f"{step.id}: take", taking, step_plan.limit)
        if not taken.ok:
            return taken
    performed = await run_with_retries(
        f"{step.id}: perform", _execution(deps, run, step, step_plan, ready), step_plan.limit
    )
    if not performed.ok:
        return performed
    if performed.value.state is StepState.DONE:
        await run_with_retries(
            f"{step.id}: show", partial(post_result, deps, run, step, performed.value), REFRESH_TIMEOUT
        )
    return Outcome()


async def _acquire_unless_cancelled(deps: Deps, run: Run, step_id: str, target: str) -> None:
    try:
        await acquire_target(deps, run, step_id, target)
    except Unavailable:
        await raise_if_cancelled(deps, run.id)
        raise


async def acquire_target(deps: Deps, run: Run, step_id: str, target: str) -> None:
    """Take what the step changes, or say in the run's message who has it.

    Raises Unavailable while another run has it or it still cools down, and WrongState when everything is frozen.
    """
    await raise_if_frozen(deps)
    holder = await deps.store.locks.acquire(target, run.id, deps.clock.now())
    if holder is None:
        return
    facts = {
        "target": target.rpartition("/")[2],
        "run": holder.run_id,
        "by": (await deps.store.runs.get(holder.run_id)).by.id,
        "until": holder.until.timestamp() if holder.until else None,
    }
    before = (await deps.store.runs.refresh(run)).step(step_id).facts
    if before.get(WAITS_FOR) != facts:
        await deps.store.runs.set_step(run.id, step_id, facts={**before, WAITS_FOR: facts})
        schedule_run_message(deps, run.id)
    raise Unavailable("target_busy", retry_after=TARGET_POLL_SECONDS, **facts)


def _execution(
    deps: Deps, run: Run, step: Step, step_plan: StepPlan, ready: StepRun | None
) -> Callable[[], Awaitable[StepRun]]:
    """Perform the stored parameters within the step's time, however often it is tried; gives the step as it is then.

    What is found half-done, and was not begun by this process, was cut off by a restart: the message says so.
    """
    until: Deadline | None = None

    async def performing() -> StepRun:
        nonlocal until
        step_run = ready or await _mark_started(deps, run, step, step_plan, again=until is not None)
        if step_run.result is not None:  # it was done, and only the record of that was lost
            return step_run
        until = until or Deadline.starting(deps.clock, step_plan.limit)
        facts = await _execute_once(deps, run, step, step_plan, step_run, until)
        values: dict[str, Any] = {"result": facts if facts is not None else {}}
        if not step_plan.changes and step.verify is None:
            values |= {"state": StepState.DONE, "ended_at": deps.clock.now()}
        await deps.store.runs.set_step(run.id, step.id, **values)
        return replace(step_run, **values)

    return performing


async def _mark_started(deps: Deps, run: Run, step: Step, step_plan: StepPlan, *, again: bool) -> StepRun:
    deps.event(run.id).clear()
    current = await deps.store.runs.refresh(run)
    step_run = current.step(step.id)
    if step_run.result is not None:
        return step_run
    if current.cancel_by:
        raise WrongState("run_cancelled", run=current.id)
    if step_plan.changes:
        await raise_if_frozen(deps)
        if step_run.state is StepState.PERFORMING and not again:
            await _report_remaining(deps, current, step, step_run)
    if step_run.state is StepState.PERFORMING:
        return step_run
    values: dict[str, Any] = {
        "state": StepState.PERFORMING,
        "began_at": step_run.began_at or deps.clock.now(),
        "facts": {},
    }
    await deps.store.runs.set_step(current.id, step.id, **values)
    return replace(step_run, **values)


async def _execute_once(
    deps: Deps, run: Run, step: Step, step_plan: StepPlan, step_run: StepRun, until: Deadline
) -> Any:
    """The facts that the action gives, as plain JSON."""
    action = ACTIONS.get(step.uses)
    context = action_context(deps, run, step.id, step_run.parameters, step_run.rehearsed, began=step_run.began_at)
    timer_handle = asyncio.get_running_loop().call_later(
        SHOW_PROGRESS_AFTER_SECONDS, schedule_run_message, deps, run.id
    )
    try:
        facts: Any = await run_until_interrupted(
            action.execute(context, **parse_parameters(action, step_run.parameters or {})),
            wait_for_stop(deps, run.id, changes=step_plan.changes),
            until.passed(),
        )
    finally:
        timer_handle.cancel()
    return action.result.dump_python(facts, mode="json")


async def _report_remaining(deps: Deps, run: Run, step: Step, step_run: StepRun) -> None:
    """Look, changing nothing, what the cut-off step has still to do, and say it in the run's message."""
    action = ACTIONS.get(step.uses)
    left: list[dict[str, Any]] | None = None  # nobody can tell
    context = action_context(deps, run, step.id, step_run.parameters, step_run.rehearsed)
    with contextlib.suppress(BotError), dry_run() as recorder:
        await action.execute(context, **parse_parameters(action, step_run.parameters or {}))
        left = [effect.to_json() for effect in recorder.effects]
    await deps.store.runs.set_step(run.id, step.id, facts={"interrupted": True, "left": left})
    schedule_run_message(deps, run.id)
