"""Wait for the approvals or the answer that a step needs, for exactly its parameters, until they expire.

At half time those who can decide are called again. What an expiry or a rejection means is written in the runbook: the
run stops, goes on without the step after GO_ON_AFTER, or asks once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from functools import partial

from bot.deps import Deps
from bot.domain import runbook
from bot.domain.errors import WrongState
from bot.domain.run import APPROVAL_ROUNDS, Approval, ApprovalState, Run, base_step_id, is_undo
from bot.message_refresher import REFRESH_TIMEOUT
from bot.workflows.engine.durable import Outcome, run_with_retries
from bot.workflows.runs.approval_messages import update_approval_messages, update_refusal_message
from bot.workflows.runs.emergency import break_glass_offered
from bot.workflows.runs.interrupts import STOP_POLL_SECONDS
from bot.workflows.runs.second_call import page_second_on_call

CARD_RETRY_SECONDS = 5.0
# Between an expiry and going on without the step, so that a person can still decide otherwise.
GO_ON_AFTER = timedelta(minutes=2)


async def wait_for_approval(deps: Deps, run: Run, step_id: str, *, shown: bool) -> str:
    """Wait for approval, updating the card after each decision but the last. A cancelled run still waits for the
    approval of its undo.

    Returns the approval's final state: agreed, or `skipped` to go on without the step. Raises WrongState with the
    reason if the run stops here. If the card could not be posted yet (Slack is down, the incident's channel is not
    open), that is retried meanwhile.
    """
    notified = deps.event(run.id)
    # Of the card: round, second call, decisions, whether the glass may be broken.
    version: tuple[object, ...] | None = (1, False, 0, False) if shown else None
    while True:
        notified.clear()
        approval = await _approval_status(deps, run.id, step_id)
        if approval.state.agreed or approval.state is ApprovalState.SKIPPED:
            return approval.state.value
        if approval.state.refused:
            again_at = await _follow_refusal(deps, run, approval)
            if again_at is None:
                continue
        else:
            now, again_at = deps.clock.now(), approval.expires_at
            second_call, offered = now >= approval.second_call_at, await break_glass_offered(deps, run, approval, now)
            current = (await _round(deps, run, step_id), second_call, len(approval.decisions), offered)
            if current != version:
                if second_call and (version is None or current[:2] != version[:2]):
                    await page_second_on_call(deps, run, step_id)
                version = current if (await show_approvers(deps, run, step_id)).value else None
            if not second_call:
                again_at = approval.second_call_at
        left = (again_at - deps.clock.now()).total_seconds() / deps.clock.speed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(left, STOP_POLL_SECONDS if version else CARD_RETRY_SECONDS))):
                await notified.wait()


async def show_approvers(deps: Deps, run: Run, step_id: str) -> Outcome:
    """Update the card and the direct messages; the outcome is None while there is no channel for them."""
    return await run_with_retries(
        f"{step_id}: show who", partial(update_approval_messages, deps, run.id, step_id), REFRESH_TIMEOUT
    )


async def show_refusal(deps: Deps, run_id: str, step_id: str, goes_on_at: datetime | None = None) -> Outcome:
    """Post or update the message that asks what is to follow a refused approval."""
    return await run_with_retries(
        f"{step_id}: show refusal", partial(update_refusal_message, deps, run_id, step_id, goes_on_at), REFRESH_TIMEOUT
    )


async def _follow_refusal(deps: Deps, run: Run, approval: Approval) -> datetime | None:
    """Do what the runbook says about this refusal. Returns when to look again; None to look at once.

    Raises WrongState with the reason if the run stops here.
    """
    step_id, expired = approval.step_id, approval.state is ApprovalState.EXPIRED
    if is_undo(step_id):
        raise WrongState(approval.state.value, run=run.id)
    steps = runbook.Runbook.model_validate(run.definition).steps
    spec = next(step.approval for step in steps if step.id == step_id) or runbook.Approval()
    consequence = spec.on_expiry if expired else spec.on_reject
    now, key = deps.clock.now(), f"{run.id}/{step_id}/{int(approval.asked_at.timestamp())}"
    if consequence == "ask-again" and await _round(deps, run, step_id) == 1:
        with contextlib.suppress(WrongState):  # somebody was quicker
            await deps.store.runs.ask_again(run.id, step_id, now, f"{key}/again")
        return None
    if consequence != "skip":
        raise WrongState(approval.state.value, run=run.id)
    refused_at = approval.expires_at if expired else approval.decisions[-1].at
    goes_on_at = refused_at + GO_ON_AFTER
    if now < goes_on_at:
        await show_approvers(deps, run, step_id)
        await show_refusal(deps, run.id, step_id, goes_on_at)
        return goes_on_at
    with contextlib.suppress(WrongState):
        await deps.store.runs.skip_refused(run.id, step_id, now, f"{key}/skip")
    return None


async def _round(deps: Deps, run: Run, step_id: str) -> int:
    facts = (await deps.store.runs.refresh(run)).step(base_step_id(step_id)).facts
    return 1 if is_undo(step_id) else int(facts.get(APPROVAL_ROUNDS, 1))


async def _approval_status(deps: Deps, run_id: str, step_id: str) -> Approval:
    """Return the approval, expired if its time is over. Raises WrongState if the run was cancelled."""
    approval, cancelled = await deps.store.runs.approval_status(run_id, step_id)
    if approval is None:
        raise WrongState("no_such_approval", run=run_id, step=step_id)
    if cancelled and not is_undo(step_id):
        raise WrongState("run_cancelled", run=run_id)
    if approval.state is ApprovalState.WAITING and deps.clock.now() >= approval.expires_at:
        await deps.store.runs.expire(run_id, step_id)
        return (await deps.store.runs.approval_status(run_id, step_id))[0] or approval
    return approval
