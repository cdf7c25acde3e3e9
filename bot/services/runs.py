"""Runs: start, decide, answer, cancel, undo, freeze. Permissions are checked here, at the moment of the click."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.targets import require_known, working_environment
from bot.deps import Deps
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.domain.people import Person
from bot.domain.policy import RESPONDER, Risk
from bot.domain.run import (
    UNDO,
    Approval,
    ApprovalState,
    Decision,
    Run,
    RunRequest,
    StepRef,
    WaitsFor,
    base_step_id,
    is_undo,
)
from bot.domain.runbook import Input, Runbook
from bot.messages.run import line
from bot.runbooks import Library
from bot.store.locks import ANNOUNCE
from bot.store.runs import QueuedWorkflow
from bot.team import PRODUCTION, policy_of
from bot.workflows.runs.approval_messages import PendingApproval, load_pending, update_refusal_message
from bot.workflows.runs.emergency import emergency
from bot.workflows.runs.presentation import TELL, approved, schedule_run_message
from bot.workflows.runs.propose import PROPOSE
from bot.workflows.runs.start import continue_run, read_inputs, start_run
from bot.workflows.runs.undo import undo_workflow_id


@dataclass(frozen=True, slots=True)
class Question:
    """A step's question: its text, the type of the answer, and the form's initial value."""

    text: str
    spec: Input
    default: str | None


class Runs:
    def __init__(self, deps: Deps, library: Library) -> None:
        self._deps = deps
        self.library = library

    async def start(self, name: str, inputs: Mapping[str, str], request: RunRequest) -> Run:
        """Start a runbook.

        Raises NotFound for an unknown runbook, BadInput for invalid inputs, NotAllowed without permission.
        """
        require_known(self._deps.team, request.environment)
        runbook = self.library.resolve(name)
        if request.environment and runbook.environment and request.environment != runbook.environment:
            expected = runbook.environment
            raise BadInput("wrong_input", input="environment", value=request.environment, expected=expected)
        inputs = read_inputs(self._deps, runbook, inputs, request.incident)
        return await start_run(self._deps, runbook, inputs, request)

    async def start_action(self, name: str, parameters: Mapping[str, Any], request: RunRequest) -> Run:
        """Start a single action as a runbook of one step, under the same policy."""
        require_known(self._deps.team, request.environment)
        checked = ACTIONS.get(name).read(dict(parameters))
        if request.environment is None:
            request = replace(request, environment=working_environment(self._deps.team, checked, PRODUCTION))
        step = {
            "id": "it",
            "uses": name,
            "with": {parameter: f"{{{{ inputs.{parameter} }}}}" for parameter in checked},
        }
        runbook = Runbook.model_validate(
            {
                "name": name.replace(".", "-").replace("_", "-"),
                "title": name,
                "steps": [step],
            }
        )
        return await start_run(self._deps, runbook, checked, request)

    async def decide(
        self, step: StepRef, verdict: ApprovalState, *, by: Person, idempotency_key: str, reason: str | None = None
    ) -> Approval:
        """Approve, reject or break glass, for exactly the parameters of the step's digest.

        Raises NotAllowed, and WrongState for a click that is stale, repeated or late.
        """
        run, approval = await self._approval(step)
        policy, asked_by = policy_of(self._deps.team), run.asked_by(step.step_id).id
        if verdict is ApprovalState.BROKEN_GLASS:
            if not (reason or "").strip():
                raise BadInput("reason_missing")
            policy.may_break_glass(
                by.id, await emergency(self._deps, run, approval), requested_by=asked_by, at=self._now()
            )
        elif verdict is ApprovalState.REJECTED and by.id == asked_by:
            pass  # the requester may withdraw it
        elif verdict is ApprovalState.REJECTED:
            policy.may_decide(by.id, RESPONDER, requested_by=asked_by)
        else:
            policy.may_decide(by.id, approval.role, requested_by=asked_by)
        if verdict is ApprovalState.APPROVED and ACTIONS.get(run.step(step.step_id).uses).waits_for is WaitsFor.ANSWER:
            raise BadInput("answer_missing")
        decision = Decision(by.id, verdict, step.digest, self._now(), reason, by.terminal)
        return await self._save_decision(run, step.step_id, decision, idempotency_key)

    async def pending(self, step: StepRef) -> PendingApproval:
        """Return an approval with what it would change. Raises NotFound."""
        pending = await load_pending(self._deps, step.run_id, step.step_id)
        if pending is None:
            raise NotFound("no_such_approval", run=step.run_id, step=step.step_id)
        return pending

    async def propose(self, step: StepRef, *, by: Person, idempotency_key: str) -> None:
        """Open the change of a step as a pull request; once more finds the one that is open.

        Raises NotAllowed for who may not run the step, WrongState if it was planned anew or cannot be made in Git.
        """
        run = await self._deps.store.runs.get(step.run_id)
        step_run = run.step(step.step_id)
        policy_of(self._deps.team).may_run(by.id, ACTIONS.get(step_run.uses).risk_of(step_run.effects))
        if step_run.digest != step.digest or step_run.in_git is None:
            raise WrongState("not_in_git", why="changed")
        arguments = [run.id, step.step_id, step.digest, by.to_json()]
        await self._deps.store.outbox.enqueue_once(f"{idempotency_key}/propose", PROPOSE, arguments)

    async def question(self, step: StepRef) -> Question:
        """Return a step's question. Raises NotFound."""
        run = await self._deps.store.runs.get(step.run_id)
        parameters = dict(run.step(step.step_id).parameters or {})
        return Question(
            parameters["question"],
            Input(type=parameters["type"], options=parameters["options"] or []),
            parameters.get("default"),
        )

    async def answer(self, step: StepRef, text: str, *, by: Person, idempotency_key: str) -> Approval:
        """Answer a step's question; the requester of the run may do so too.

        Raises BadInput for an answer of the wrong type, NotAllowed, and WrongState for a late answer.
        """
        run, approval = await self._approval(step)
        if by.id != run.by.id:
            policy_of(self._deps.team).may_decide(by.id, approval.role, requested_by=run.by.id)
        question = await self.question(step)
        question.spec.read(question.text, text, self._deps.team.services)
        if question.spec.type == "environment":
            require_known(self._deps.team, text)
        answer_text = self._deps.redaction.text(text)
        decision = Decision(by.id, ApprovalState.APPROVED, step.digest, self._now(), answer_text, by.terminal)
        return await self._save_decision(run, step.step_id, decision, idempotency_key)

    async def _approval(self, step: StepRef) -> tuple[Run, Approval]:
        run = await self._deps.store.runs.get(step.run_id)
        approval = await self._deps.store.runs.approval(step.run_id, step.step_id)
        if approval is None:
            raise NotFound("no_such_approval", run=step.run_id, step=step.step_id)
        return run, approval

    async def _save_decision(self, run: Run, step_id: str, decision: Decision, idempotency_key: str) -> Approval:
        deps = self._deps
        decided = await deps.store.runs.decide(
            run.id,
            step_id,
            decision,
            idempotency_key,
            entry_for=partial(approved, deps, run),
            queued=self._told_of(run, step_id, decision),
        )
        deps.notify(run.id)  # immediately if it runs in this process; others are notified by the outbox
        return decided

    def _told_of(self, run: Run, step_id: str, decision: Decision) -> list[QueuedWorkflow]:
        """Return what tells people of a decision: everybody of a change without approval, and the channel of what was
        decided in a terminal, since nobody saw it there.
        """
        key, told = f"{run.id}/{step_id}", []
        if decision.verdict is ApprovalState.BROKEN_GLASS:
            facts = self._break_glass_facts(run, step_id, decision)
            told.append((f"{key}/{ANNOUNCE}", ANNOUNCE, [key, decision.verdict.value, facts]))
        if decision.terminal:
            by = Person(decision.person, terminal=decision.terminal)
            facts = {
                "by": by.to_json(),
                "verdict": decision.verdict.value,
                "step": step_id,
                "action": run.step(step_id).uses,
            }
            part = f"{step_id}/{decision.digest}/{decision.person}"
            told.append((f"{run.id}/{part}/told", TELL, [run.id, part, "decided_in_terminal", facts]))
        return told

    def _break_glass_facts(self, run: Run, step_id: str, decision: Decision) -> dict[str, Any]:
        """Return what is announced about a change that was made without approval."""
        words = self._deps.words
        return {
            "run": run.id,
            "title": words.pick(Runbook.model_validate(run.definition).title),
            "incident": run.incident_id,
            "by": decision.person,
            "reason": decision.reason,
            "effects": [line(effect, words) for effect in run.step(step_id).effects],
        }

    def _now(self) -> datetime:
        return self._deps.clock.now()

    async def cancel(self, run_id: str, *, by: Person, idempotency_key: str) -> Run:
        """Stop a run immediately; its changes are undone as its runbook says."""
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        run = await self._deps.store.runs.cancel(run_id, by, idempotency_key)
        runbook = Runbook.model_validate(run.definition)
        undoes = runbook.on_failure == "undo" and any(step.may_have_changed for step in run.steps)
        facts = {"by": by.to_json(), "title": self._deps.words.pick(runbook.title), "undoes": undoes}
        told = [run_id, f"cancel/{idempotency_key}", "run_cancelled", facts]
        await self._deps.store.outbox.enqueue_once(f"{idempotency_key}/told", TELL, told)
        self._deps.notify(run_id)
        return run

    async def go_on_without(self, run_id: str, step_id: str, *, by: Person, idempotency_key: str) -> Run:
        """Go on without a step that nobody approved: in the run if it waits, else in one that continues it.

        Raises NotAllowed, and WrongState if it was decided or nothing is left.
        """
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        run = await self._deps.store.runs.get(run_id)
        if run.state.ended:
            next_step = run.after(step_id)
            if next_step is None:
                raise WrongState("cannot_continue", run=run_id, state=run.state.value)
            return await self._continue(run, next_step, by)
        await self._deps.store.runs.skip_refused(run_id, step_id, self._now(), idempotency_key, by.id)
        self._deps.notify(run_id)
        return run

    async def ask_again(self, run_id: str, step_id: str, *, by: Person, idempotency_key: str) -> Run:
        """Ask for an approval that nobody gave once more: in the run if it waits, else in one that continues it.

        Raises NotAllowed, and WrongState if it was decided.
        """
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        run = await self._deps.store.runs.get(run_id)
        if run.state.ended:
            return await self._continue(run, step_id, by)
        await self._deps.store.runs.ask_again(run_id, step_id, self._now(), idempotency_key)
        self._deps.notify(run_id)
        await update_refusal_message(self._deps, run_id, step_id)
        return run

    async def continue_stopped(self, run_id: str, *, by: Person) -> Run:
        """Continue a run at the step at which it stopped. Raises NotAllowed, WrongState."""
        run = await self._deps.store.runs.get(run_id)
        stopped_at = run.stopped_at
        if stopped_at is None:
            raise WrongState("cannot_continue", run=run_id, state=run.state.value)
        return await self._continue(run, stopped_at.id, by)

    async def _continue(self, run: Run, step_id: str, by: Person) -> Run:
        continued = await continue_run(self._deps, run, step_id, RunRequest(by, ""))
        if run.stopped_at and await self._deps.store.runs.approval(run.id, run.stopped_at.id):
            await update_refusal_message(self._deps, run.id, run.stopped_at.id)
        schedule_run_message(self._deps, run.id)
        return continued

    async def undo(self, run_id: str, *, by: Person, idempotency_key: str) -> Run:
        """Undo a run that has ended.

        Raises NotAllowed, WrongState while it is running, NotFound after it was pruned.
        """
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        run = await self._deps.store.runs.get(run_id)
        if not run.state.ended:
            raise WrongState("run_goes_on", run=run_id)
        if run.forgotten:
            raise NotFound("run_forgotten", run=run_id, incident=run.incident_id)
        key = undo_workflow_id(idempotency_key)
        for waiting in await self._deps.store.runs.waiting():
            asked_before = waiting.run_id == run_id and is_undo(waiting.step_id) and waiting.expires_at > self._now()
            if asked_before and run.step(base_step_id(waiting.step_id)).facts[UNDO]["key"] != key:
                raise WrongState("undo_waits", run=run_id)  # asking again would void the approvals that it has
        await self._deps.store.outbox.enqueue_once(key, "undo", [run_id, by.to_json(), key])
        facts = {"by": by.to_json(), "title": self._deps.words.pick(Runbook.model_validate(run.definition).title)}
        await self._deps.store.outbox.enqueue_once(f"{key}/told", TELL, [run_id, f"undo/{key}", "undo_asked", facts])
        return run

    async def freeze(self, reason: str, *, by: Person, idempotency_key: str) -> None:
        """Freeze all changes, and announce it. Raises NotAllowed, WrongState."""
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        await self._deps.store.kill_switch.freeze(reason, by, self._deps.clock.now(), idempotency_key)
        self._deps.notify()

    async def thaw(self, *, by: Person, idempotency_key: str) -> None:
        """End the freeze, and announce it. Raises NotAllowed, WrongState."""
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        await self._deps.store.kill_switch.thaw(by, self._deps.clock.now(), idempotency_key)
