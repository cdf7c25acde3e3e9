"""Play a run: each step is planned, approved, executed as planned, verified and recorded.

The rows of the store are authoritative. Waiters are only notified: a lost or repeated notification is harmless. Names
of durable steps ("rehearse", "perform", ...) are stored by runs in flight and must not change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.context import Context
from bot.actions.targets import lock_key
from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable, WrongState
from bot.domain.policy import RequiredApprovals, Risk, StepApproval
from bot.domain.run import (
    APPROVAL_ROUNDS,
    DECIDED_FROM,
    FOLLOW_UP,
    OUTCOME,
    RETRYING,
    STOPPING,
    TREATS,
    UNCHANGED,
    VERIFYING_SINCE,
    Approval,
    ApprovalState,
    ChangeOutcome,
    Effect,
    Run,
    RunRequest,
    RunState,
    StepRun,
    StepState,
    digest,
    on_failure_key,
)
from bot.domain.runbook import Runbook, Step
from bot.integrations.effects import Execution, dry_run
from bot.message_refresher import REFRESH_TIMEOUT
from bot.runbooks import Expressions
from bot.store.incidents import TimelineEntry
from bot.team import policy_of
from bot.workflows.engine.durable import Outcome, durable_step, run_with_retries, sleep_until, to_json_facts
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT
from bot.workflows.runs.approval import show_approvers, show_refusal, wait_for_approval
from bot.workflows.runs.approval_messages import update_refusal_message
from bot.workflows.runs.interrupts import (
    Deadline,
    raise_if_cancelled,
    raise_if_frozen,
    run_until_interrupted,
    wait_for_stop,
)
from bot.workflows.runs.measure import VERIFY_SAMPLES, Measuring
from bot.workflows.runs.outcome import find_outcome, remaining_effects
from bot.workflows.runs.presentation import TELL, changed, ended, post_result, schedule_run_message, update_run_message
from bot.workflows.runs.reverted import WATCH, must_be_watched
from bot.workflows.runs.second_call import end_second_call
from bot.workflows.runs.start import read_inputs, start_run
from bot.workflows.runs.step import (
    acquire_target,
    action_context,
    expression_names,
    parse_parameters,
    step_environment,
    step_rules,
    step_timeout,
)
from bot.workflows.runs.undo import UndoRequest, undo_steps

PLAN_TIMEOUT = timedelta(minutes=2)
QUERY_TIMEOUT = timedelta(minutes=2)
FINAL_MESSAGE_TIMEOUT = MESSAGE_TIMEOUT
SHOW_PROGRESS_AFTER_SECONDS = 0.5  # actions that take longer are shown as running
ENDED = (StepState.DONE, StepState.SKIPPED, StepState.FAILED, StepState.CANCELLED)
PLANNED_COLUMNS = ("state", "parameters", "effects", "digest", "rehearsed", "result", "began_at", "ended_at")


async def play_runbook(deps: Deps, run_id: str) -> str:
    """Play a run to its end and return its final state."""
    run = await deps.store.runs.get(run_id)  # its runbook and inputs never change
    runbook = Runbook.model_validate(run.definition)
    with deps.subscribed(run_id):
        state = await _play_steps(deps, run, runbook)
    await durable_step("end", partial(_end, deps, run, state))
    await durable_step("show the end", partial(_show_end, deps, run_id), FINAL_MESSAGE_TIMEOUT)
    return state.value


async def _show_end(deps: Deps, run_id: str) -> None:
    """Update the run's message, and ask how to go on if it stopped because nobody approved a step."""
    await update_run_message(deps, run_id)
    run = await deps.store.runs.get(run_id)
    stopped = run.stopped_at if run.can_continue else None
    if stopped and stopped.error in (ApprovalState.EXPIRED.value, ApprovalState.REJECTED.value):
        await update_refusal_message(deps, run_id, stopped.id)


async def _play_steps(deps: Deps, run: Run, runbook: Runbook) -> RunState:
    state, ended_by = RunState.SUCCEEDED, None
    for step in runbook.steps:
        if run.step(step.id).copied_from:  # done by the run that this one continues
            continue
        instead = {one.id for one in runbook.interchangeable(step.id)} - {step.id}
        step_state = await StepPlay(deps, run, step, instead).play()
        if step_state in (StepState.DONE, StepState.SKIPPED):
            continue
        if step_state is StepState.FAILED and step.continue_on_error:
            continue
        if step_state is StepState.FAILED and run.dry_run:
            if not await _depends_on_changes(deps, run, step.id):
                state = RunState.FAILED  # it would fail in earnest as well; the others are still shown
            continue
        state = RunState.CANCELLED if step_state is StepState.CANCELLED else RunState.FAILED
        ended_by = step.id
        break
    if state is not RunState.SUCCEEDED and not run.dry_run:
        if runbook.on_failure == "undo":
            request = await _undo_request(deps, run, ended_by)
            undone = await undo_steps(deps, run, runbook, request, keep_helpful=await _nobody_decided(deps, run))
            state = RunState.UNDONE if undone and state is RunState.FAILED else state
        elif isinstance(runbook.on_failure, Runbook) and state is RunState.FAILED:
            go_on = partial(_go_on_with_another, deps, run, runbook.on_failure, ended_by)
            await durable_step("go on with another", go_on)
    return state


async def _nobody_decided(deps: Deps, run: Run) -> bool:
    """Return True if the run stopped because an approval expired: that is no reason to take back what has helped."""
    return any(step.error == ApprovalState.EXPIRED.value for step in (await deps.store.runs.refresh(run)).steps)


async def _depends_on_changes(deps: Deps, run: Run, step_id: str) -> bool:
    """Return True if steps before this one would change something: their changes may make it possible."""
    steps = (await deps.store.runs.refresh(run)).steps
    before = steps[: next(number for number, step in enumerate(steps) if step.id == step_id)]
    return any(step.effects for step in before)


async def _undo_request(deps: Deps, run: Run, ended_by: str | None) -> UndoRequest:
    """Return the request to undo a run: of who cancelled it, else its own, since its step failed.

    A step that people refused or did not answer has measured nothing.
    """
    current = await deps.store.runs.refresh(run)
    step_run = current.step(ended_by) if ended_by else None
    decided = step_run is not None and step_run.error in (
        ApprovalState.REJECTED,
        ApprovalState.EXPIRED,
        "run_cancelled",
    )
    return UndoRequest(run.id, current.cancel_by, None if decided or current.cancel_by else ended_by)


async def _start_on_failure(deps: Deps, run: Run, runbook: Runbook) -> None:
    """Start the runbook for the failure: for the same incident, with the inputs of the same names.

    It takes over the failed run's target locks, so that it does not wait for their cool-down.
    """
    given = {name: str(run.inputs[name]) for name in runbook.inputs if run.inputs.get(name) is not None}
    incident = await deps.store.incidents.get(run.incident_id) if run.incident_id else None
    request = RunRequest(
        by=run.by,
        idempotency_key=on_failure_key(run.id),
        incident=incident,
        channel=run.channel,
        environment=run.environment,
    )
    follow_up_run = await start_run(deps, runbook, read_inputs(deps, runbook, given, incident), request)
    await deps.store.locks.transfer(run.id, follow_up_run.id)


async def _go_on_with_another(deps: Deps, run: Run, runbook: Runbook, ended_by: str | None) -> None:
    """Start the runbook for the failure. Keep with the failed step whether it began; if not, tell the channel."""
    follow_up: dict[str, Any] = {}
    try:
        await _start_on_failure(deps, run, runbook)
    except Unavailable:
        raise  # it is tried again
    except BotError as problem:
        follow_up = {"error": problem.key, "facts": to_json_facts(problem.facts)}
        told = {
            "by": run.by.to_json(),
            "title": deps.words.pick(runbook.title),
            "why": deps.words.error(problem),
        }
        arguments = [run.id, FOLLOW_UP, "did_not_begin", told]
        await deps.store.outbox.enqueue_once(f"{run.id}/{FOLLOW_UP}/told", TELL, arguments)
    if ended_by:
        facts = (await deps.store.runs.refresh(run)).step(ended_by).facts
        await deps.store.runs.set_step(run.id, ended_by, facts={**facts, FOLLOW_UP: follow_up})


async def _end(deps: Deps, run: Run, state: RunState) -> None:
    now = deps.clock.now()
    settles = now + policy_of(deps.team).cool_down
    current = await deps.store.runs.refresh(run)  # it knows who cancelled it
    await deps.store.runs.end(run.id, state, now, settles=settles, entry=ended(deps, current, state))
    if deps.traces:
        deps.traces.run(await deps.store.runs.get(run.id))


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The plan of a step, stored as plain JSON between planning and execution.

    `locks` is its target lock, `seconds` the timeout of its action. `shown`: the approval card is in Slack. A step that
    only reads and needs no approval is `done` after planning, and so is every step of a dry run.
    """

    skip: bool = False
    approvals: int = 0
    changes: bool = False
    waits: bool = False
    locks: str | None = None
    seconds: float = 0.0
    shown: bool = False
    done: bool = False

    @property
    def timeout(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    @property
    def is_read_only(self) -> bool:
        return not (self.skip or self.changes or self.waits)


class StepPlay:
    """Plays one step through its phases: plan, wait for approval, execute, verify, record.

    Every phase may be repeated after a crash: decisions and progress are in the store. `instead` are the steps of
    which one that has brought the metrics back makes this one superfluous.
    """

    def __init__(self, deps: Deps, run: Run, step: Step, instead: Collection[str] = ()) -> None:
        self._deps = deps
        self._run = run
        self._step = step
        self._instead = instead
        self._action = ACTIONS.get(step.uses)
        self._measuring = Measuring(deps, run, step)
        # Of the execution in this process.
        self._deadline: Deadline | None = None
        self._execution: Execution | None = None

    async def play(self) -> StepState:
        planned = await self._durable("rehearse", self._plan)
        if not planned.ok:
            return await self._fail(planned)
        plan = StepPlan(**planned.value)
        schedule_run_message(self._deps, self._run.id)
        if plan.skip or plan.done:
            return StepState.SKIPPED if plan.skip else StepState.DONE
        executed = await self._durable("perform", partial(self._execute_approved, plan))
        if not executed.ok:
            return await self._fail(executed)
        if executed.value == ApprovalState.SKIPPED.value:
            schedule_run_message(self._deps, self._run.id)
            return StepState.SKIPPED
        if self._step.verify or plan.changes:
            await self._verify(plan)
            await self._durable("done", partial(self._record_done, plan))
        schedule_run_message(self._deps, self._run.id)
        return StepState.DONE

    async def _durable(self, name: str, call: Any, give_up_after: timedelta | None = None) -> Outcome:
        return await durable_step(f"{self._step.id}: {name}", call, give_up_after)

    async def _retry(
        self, name: str, call: Any, give_up_after: timedelta | None = None, *, shown: bool = False
    ) -> Outcome:
        """Do a part of the step with retries; `shown`: the run's message says what it is retried for."""
        until = self._deps.clock.now() + give_up_after if give_up_after else None
        on_retry = partial(self._show_retry, until) if shown and until else None
        return await run_with_retries(f"{self._step.id}: {name}", call, give_up_after, on_retry=on_retry)

    async def _show_retry(self, until: datetime, problem: Unavailable) -> None:
        """Show why a part is tried again; the run does not depend on it."""
        why = self._deps.redaction.of({"error": problem.key, "facts": to_json_facts(problem.facts)})
        with contextlib.suppress(BotError):
            _, step_run = await self._current()
            await self._set(facts={**step_run.facts, RETRYING: {**why, "until": until.isoformat()}})
            schedule_run_message(self._deps, self._run.id)

    async def _current(self) -> tuple[Run, StepRun]:
        run = await self._deps.store.runs.refresh(self._run)
        return run, run.step(self._step.id)

    async def _set(self, entry: TimelineEntry | None = None, **values: Any) -> None:
        await self._deps.store.runs.set_step(self._run.id, self._step.id, entry, **values)
        if self._deps.traces and values.get("state") in ENDED:
            self._deps.traces.step(*await self._current())

    async def _act(self, context: Context, arguments: dict[str, Any]) -> Any:
        """Execute the action; in a trace, its remote calls are below the step."""
        traces = self._deps.traces
        with traces.within(self._run.id, self._step.id) if traces else contextlib.nullcontext():
            return await self._action.execute(context, **arguments)

    async def _post_result(self, step_run: StepRun) -> None:
        posting = partial(post_result, self._deps, self._run, self._step, step_run)
        await self._retry("show", posting, REFRESH_TIMEOUT)

    # Plan: evaluate the parameters, do a dry run with them, save its effects, request approvals.

    async def _plan(self) -> Outcome:
        """Plan the step and show its approval card; execute it immediately if it only reads."""
        planned = await self._retry("prepare", self._make_plan, PLAN_TIMEOUT, shown=True)
        if not planned.ok:
            return planned
        plan: StepPlan
        plan, step_run = planned.value
        if self._run.dry_run:
            if plan.is_read_only:
                await self._post_result(step_run)
            plan = replace(plan, done=True)
        elif plan.approvals:
            shown = await show_approvers(self._deps, self._run, self._step.id)
            plan = replace(plan, shown=bool(shown.value))
        elif plan.is_read_only and self._step.verify is None:
            executed = await self._execute(plan, step_run)
            if not executed.ok:
                return executed
            plan = replace(plan, done=True)
        return Outcome(asdict(plan))

    async def _make_plan(self) -> tuple[StepPlan, StepRun]:
        """Do a dry run of the step and save its parameters, effects and digest.

        A step that only reads is executing from then on. After a restart it is not planned again, so that what its dry
        run set (a deadline) stays. Raises the errors of the action's dry run.
        """
        deps, step, action = self._deps, self._step, self._action
        deps.event(self._run.id).clear()
        run, step_run = await self._current()
        if run.cancel_by:
            raise WrongState("run_cancelled", run=run.id)
        if step_run.began_at and not step_run.effects:
            timeout = step_timeout(step, parse_parameters(action, step_run.parameters or {}), deps.clock.now())
            return StepPlan(seconds=timeout.total_seconds()), step_run
        names = await expression_names(deps, run, step)
        expressions = Expressions()
        superfluous = any(other.verified for other in run.steps if other.id in self._instead)
        if superfluous or (step.if_ and not expressions.evaluate(step.if_, names)):
            await self._set(state=StepState.SKIPPED)
            return StepPlan(skip=True), step_run
        parameters = action.read(expressions.render(step.with_, names))
        arguments = parse_parameters(action, parameters)
        timeout = step_timeout(step, arguments, deps.clock.now())
        unplanned = replace(step_run, parameters=parameters, rehearsed=None, began_at=None)
        with dry_run() as recorder:
            facts = await run_until_interrupted(
                self._act(action_context(deps, run, unplanned), arguments),
                wait_for_stop(deps, run.id, changes=False),
                Deadline.starting(deps.clock, timeout).passed(),
            )
        effects = deps.redaction.of(tuple(recorder.effects))
        environment, waits = step_environment(deps, run, step.id, parameters), action.waits_for is not None
        rules = await step_rules(deps, run, step.id, parameters)
        needed = self._approvals_needed(rules, effects) if effects or waits else RequiredApprovals(Risk.READ, 0)
        plan = StepPlan(
            approvals=needed.approvals,
            changes=bool(effects),
            waits=waits,
            locks=lock_key(deps.team, action, parameters, environment) if effects else None,
            seconds=timeout.total_seconds(),
        )
        planned = replace(
            step_run,
            parameters=parameters,
            effects=effects,
            digest=digest(step.uses, parameters, effects),
            rehearsed=deps.redaction.of(action.result.dump_python(facts, mode="json")) if facts is not None else None,
        )
        return plan, await self._save_plan(plan, needed, planned)

    def _approvals_needed(self, environments: frozenset[str], effects: tuple[Effect, ...]) -> RequiredApprovals:
        approval, action = self._step.approval, self._action
        at_least = 1 if action.waits_for else 0
        demanded = StepApproval(at_least)
        if approval:
            demanded = StepApproval(approval.count or at_least, approval.role, approval.expires)
        policy, now = policy_of(self._deps.team), self._deps.clock.now()
        return policy.requires(action.name, action.risk_of(effects), environments, now, demanded)

    async def _save_plan(self, plan: StepPlan, needed: RequiredApprovals, planned: StepRun) -> StepRun:
        """Save the plan with the step's next state, and request its approvals, in one transaction.

        In a dry run nothing is requested, and a reading step's result is that of its dry run.
        """
        now = self._deps.clock.now()
        needs_approval, runs_immediately = (
            plan.approvals and not self._run.dry_run,
            plan.is_read_only and self._step.verify is None,
        )
        if self._run.dry_run and plan.is_read_only:
            saved = replace(planned, state=StepState.DONE, began_at=now, ended_at=now, result=planned.rehearsed or {})
        else:
            state = (
                StepState.WAITING
                if needs_approval
                else StepState.PERFORMING
                if runs_immediately
                else StepState.REHEARSED
            )
            saved = replace(planned, state=state, began_at=now if runs_immediately else None)
        values = {name: getattr(saved, name) for name in PLANNED_COLUMNS}
        if needs_approval:
            approval = Approval(
                self._run.id,
                planned.id,
                planned.digest,
                needed.approvals,
                needed.role,
                asked_at=now,
                expires_at=now + needed.expires,
            )
            await self._deps.store.runs.request_approval(approval, **values)
        else:
            await self._set(**values)
        return saved

    # Execute: once the target is locked, with the saved parameters, until done or interrupted.

    async def _execute_approved(self, plan: StepPlan) -> Outcome:
        if not plan.approvals:
            return await self._execute(plan)
        deps, run, step = self._deps, self._run, self._step
        decided = await self._retry("decided?", partial(wait_for_approval, deps, run, step.id, shown=plan.shown))
        ending = self._retry("end the second call", partial(end_second_call, deps, run, step.id), REFRESH_TIMEOUT)
        if not decided.ok:
            await asyncio.gather(show_approvers(deps, run, step.id), ending)
            return decided
        if decided.value == ApprovalState.SKIPPED.value:
            await self._set(state=StepState.SKIPPED, ended_at=deps.clock.now())
            await asyncio.gather(show_approvers(deps, run, step.id), show_refusal(deps, run.id, step.id), ending)
            return Outcome(decided.value)
        executed, *_ = await asyncio.gather(self._execute(plan), show_approvers(deps, run, step.id), ending)
        return executed

    async def _execute(self, plan: StepPlan, started: StepRun | None = None) -> Outcome:
        """Lock the target, execute the action and post its result; `started` is the step if it is executing already."""
        if plan.locks:
            locked = await self._retry("take", partial(self._acquire_target, plan.locks), plan.timeout)
            if not locked.ok:
                return locked
        executed = await self._retry("perform", partial(self._execute_once, plan, started), plan.timeout, shown=True)
        if not executed.ok:
            return executed
        if executed.value.state is StepState.DONE:
            await self._post_result(executed.value)
        return Outcome()

    async def _acquire_target(self, key: str) -> None:
        try:
            await acquire_target(self._deps, self._run, self._step.id, key)
        except Unavailable:
            await raise_if_cancelled(self._deps, self._run.id)
            raise

    async def _execute_once(self, plan: StepPlan, started: StepRun | None) -> StepRun:
        """Execute with the saved parameters, within the step's timeout across all attempts.

        Returns the step afterwards.
        """
        step_run = started or await self._mark_started(plan)
        if step_run.result is not None:  # done by an earlier attempt
            return step_run
        self._deadline = self._deadline or Deadline.starting(self._deps.clock, plan.timeout)
        facts = await self._run_action(plan, step_run, self._deadline)
        values: dict[str, Any] = {"result": facts if facts is not None else {}}
        if plan.changes and self._execution and not self._execution.started:
            values["facts"] = {**step_run.facts, UNCHANGED: True}
        if not plan.changes and self._step.verify is None:
            values |= {"state": StepState.DONE, "ended_at": self._deps.clock.now()}
        await self._set(**values)
        return replace(step_run, **values)

    async def _mark_started(self, plan: StepPlan) -> StepRun:
        """Save that the step is executing.

        If another process started it, it was interrupted: the run's message says so.
        """
        deps = self._deps
        deps.event(self._run.id).clear()
        run, step_run = await self._current()
        if step_run.result is not None:
            return step_run
        if run.cancel_by:
            raise WrongState("run_cancelled", run=run.id)
        if plan.changes:
            await raise_if_frozen(deps)
        if step_run.state is StepState.PERFORMING:
            if RETRYING in step_run.facts:
                step_run = replace(step_run, facts=_kept_facts(step_run))
                await self._set(facts=step_run.facts)
                schedule_run_message(deps, run.id)
            if plan.changes and self._deadline is None:
                await self._report_remaining(run, step_run)
            return step_run
        if plan.changes:
            self._execution = Execution()
        values: dict[str, Any] = {
            "state": StepState.PERFORMING,
            "began_at": step_run.began_at or deps.clock.now(),
            "facts": _kept_facts(step_run),
        }
        await self._set(**values)
        return replace(step_run, **values)

    async def _run_action(self, plan: StepPlan, step_run: StepRun, deadline: Deadline) -> Any:
        """Execute the action and return its facts as plain JSON."""
        deps, run, action = self._deps, self._run, self._action
        context = action_context(deps, run, step_run)
        loop = asyncio.get_running_loop()
        progress = loop.call_later(SHOW_PROGRESS_AFTER_SECONDS, schedule_run_message, deps, run.id)
        try:
            facts: Any = await run_until_interrupted(
                self._act(context, parse_parameters(action, step_run.parameters or {})),
                wait_for_stop(deps, run.id, changes=plan.changes),
                deadline.passed(),
                execution=self._execution,
            )
        finally:
            progress.cancel()
        return deps.redaction.of(action.result.dump_python(facts, mode="json"))

    async def _report_remaining(self, run: Run, step_run: StepRun) -> None:
        """Find what is left of an interrupted step, and show it in the run's message."""
        remaining: list[dict[str, Any]] | None = None  # unknown
        with contextlib.suppress(BotError):
            remaining = [effect.to_json() for effect in await self._look(run, step_run)]
        await self._set(facts={**_kept_facts(step_run), "interrupted": True, "left": remaining})
        schedule_run_message(self._deps, run.id)

    async def _look(self, run: Run, step_run: StepRun) -> tuple[Effect, ...]:
        """Return the effects that the step's action would have now. Raises the errors of its dry run."""
        context = action_context(self._deps, run, replace(step_run, began_at=None))
        parameters = parse_parameters(self._action, step_run.parameters or {})
        return await remaining_effects(partial(self._action.execute, context, **parameters))

    # Verify: compare the metrics before and after, and record whether the change helped.

    async def _verify(self, plan: StepPlan) -> None:
        """Sample the metrics until they hold or the time is up, then record the verdict on what was changed."""
        if self._deps.prometheus is None:
            return
        started = await self._durable("verify", self._start_verifying, QUERY_TIMEOUT)
        if not started.ok or started.value is None:
            return
        since = datetime.fromisoformat(started.value)
        holding_since: datetime | None = None
        measured = False
        for number in range(VERIFY_SAMPLES * 4):
            sample = await self._durable(
                f"figures {number}", partial(self._sample, since, holding_since), QUERY_TIMEOUT
            )
            if not sample.ok or sample.value["ended"]:
                measured = sample.ok and not sample.value.get("cut_off")
                break
            holding = sample.value["holding_since"]
            holding_since = datetime.fromisoformat(holding) if holding else None
            await sleep_until(self._deps, datetime.fromisoformat(sample.value["again"]))
        await self._durable("verdict", partial(self._record_verdict, plan, measured), QUERY_TIMEOUT)

    async def _start_verifying(self) -> str | None:
        """Return when verifying began (ISO 8601); None if there is nothing to measure."""
        _, step_run = await self._current()
        if not self._measuring.applies(step_run) or (step_run.facts.get(UNCHANGED) and self._step.verify is None):
            return None
        since = step_run.facts.get(VERIFYING_SINCE) or self._deps.clock.now().isoformat()
        await self._set(state=StepState.VERIFYING, facts={**step_run.facts, VERIFYING_SINCE: since})
        schedule_run_message(self._deps, self._run.id)
        return since

    async def _sample(self, since: datetime, holding_since: datetime | None) -> dict[str, Any]:
        _, step_run = await self._current()
        return asdict(await self._measuring.sample(step_run, since, holding_since))

    async def _record_verdict(self, plan: StepPlan, measured: bool) -> None:
        _, step_run = await self._current()
        if plan.changes:
            await self._measuring.record_verdict(step_run, measured=measured)

    # Record: the step's end and its timeline entry, in one transaction.

    async def _record_done(self, plan: StepPlan) -> Outcome:
        run, step_run = await self._current()
        entry: TimelineEntry | None = None
        if plan.changes and not step_run.facts.get(UNCHANGED):
            entry = changed(self._deps, run, step_run, await self._measuring.told())
        await self._end(StepState.DONE, entry)
        if must_be_watched(step_run):
            key = f"{run.id}/{step_run.id}/watch"
            await self._deps.store.outbox.enqueue_once(key, WATCH, [run.id, step_run.id])
        if not plan.changes:
            await self._post_result(step_run)
        return Outcome()

    async def _fail(self, outcome: Outcome) -> StepState:
        state = StepState.CANCELLED if outcome.error == "run_cancelled" else StepState.FAILED
        await self._durable("failed", partial(self._record_failed, state, outcome))
        schedule_run_message(self._deps, self._run.id)
        return state

    async def _record_failed(self, state: StepState, failure: Outcome) -> None:
        """Record the failure and, of a change that had begun, what came of it: the call may have gone through."""
        run, step_run = await self._current()
        facts, entry = {**_kept_facts(step_run), **failure.facts}, None
        if step_run.effects and step_run.state is StepState.PERFORMING:
            await self._set(facts={**step_run.facts, STOPPING: True})
            schedule_run_message(self._deps, run.id)
            facts |= await find_outcome(step_run, self._execution, partial(self._look, run, step_run))
            if facts[OUTCOME] != ChangeOutcome.NOT_STARTED:
                entry = changed(self._deps, run, replace(step_run, facts=facts), None)
        await self._end(state, entry, error=failure.error, facts=facts)

    async def _end(self, state: StepState, entry: TimelineEntry | None = None, **values: Any) -> None:
        await self._set(entry, state=state, ended_at=self._deps.clock.now(), **values)


def _kept_facts(step_run: StepRun) -> dict[str, Any]:
    """Return the facts that stay while the step goes on: why it goes first, and what its approval's messages say."""
    return {name: fact for name, fact in step_run.facts.items() if name in (APPROVAL_ROUNDS, DECIDED_FROM, TREATS)}
