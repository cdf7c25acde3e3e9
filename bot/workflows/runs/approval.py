"""Wait for the approvals or the answer that a step needs, for exactly its parameters, until they expire."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from bot.deps import Deps
from bot.domain.errors import WrongState
from bot.domain.run import Approval, ApprovalState, Run, is_undo
from bot.message_refresher import REFRESH_TIMEOUT
from bot.workflows.engine.durable import Outcome, run_with_retries
from bot.workflows.runs.emergency import break_glass_offered
from bot.workflows.runs.interrupts import STOP_POLL_SECONDS
from bot.workflows.runs.presentation import update_approval_card

CARD_RETRY_SECONDS = 5.0


async def wait_for_approval(deps: Deps, run: Run, step_id: str, *, shown: bool) -> None:
    """Wait for approval, updating the card after each decision but the last. Raises WrongState with the reason if it is
    refused. A cancelled run still waits for the approval of its undo.

    If the card could not be posted yet (Slack is down, the incident's channel is not open), that is retried meanwhile.
    """
    notified, decisions_seen, offered = deps.event(run.id), 0, False
    while True:
        notified.clear()
        approval, left = await _approval_status(deps, run.id, step_id)
        if approval.state.agreed:
            return
        if approval.state is not ApprovalState.WAITING:
            raise WrongState(approval.state.value, run=run.id)
        offered_before, offered = offered, await break_glass_offered(deps, run, approval, deps.clock.now())
        if len(approval.decisions) > decisions_seen or offered != offered_before or not shown:
            decisions_seen, shown = len(approval.decisions), bool((await show_approvers(deps, run, step_id)).value)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                min(left / deps.clock.speed, STOP_POLL_SECONDS if shown else CARD_RETRY_SECONDS)
            ):
                await notified.wait()


async def show_approvers(deps: Deps, run: Run, step_id: str) -> Outcome:
    """Update the card; the outcome is None while there is no channel for it."""
    return await run_with_retries(
        f"{step_id}: show who", partial(update_approval_card, deps, run.id, step_id), REFRESH_TIMEOUT
    )


async def _approval_status(deps: Deps, run_id: str, step_id: str) -> tuple[Approval, float]:
    """Return the approval and the seconds until it expires.

    Raises WrongState if the run was cancelled or it expired.
    """
    approval, cancelled = await deps.store.runs.approval_status(run_id, step_id)
    if approval is None:
        raise WrongState("no_such_approval", run=run_id, step=step_id)
    if cancelled and not is_undo(step_id):
        raise WrongState("run_cancelled", run=run_id)
    left = (approval.expires_at - deps.clock.now()).total_seconds()
    if approval.state is ApprovalState.WAITING and left <= 0:
        await deps.store.runs.expire(run_id, step_id)
        raise WrongState(ApprovalState.EXPIRED.value, run=run_id)
    return approval, left
