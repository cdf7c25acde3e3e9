"""A step waits for people: as many as it needs, for exactly these parameters, until it is too late."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from bot.domain.errors import WrongState
from bot.domain.run import Approval, ApprovalState, Run
from bot.domain.runbook import Step
from bot.drawings import BRIEFLY
from bot.parts import Parts
from bot.workflows.engine import Outcome, attempt
from bot.workflows.guards import LOOK_AGAIN
from bot.workflows.show_run import show_approval

SHOW_AGAIN = 5.0


async def agreed(parts: Parts, known: Run, each: Step, *, shown: bool) -> None:
    """Wait for what was asked, and keep the card up to date but for the last word. Raises WrongState that says why not.

    A card that stands nowhere yet (Slack is away, the incident's channel is not open) is tried again meanwhile.
    """
    woken, seen = parts.woken(known.id), 0
    while True:
        woken.clear()
        asked, left = await _look(parts, known.id, each.id)
        if asked.state.agreed:
            return
        if asked.state is not ApprovalState.WAITING:
            raise WrongState(asked.state.value, run=known.id)
        if len(asked.decisions) > seen or not shown:
            seen, shown = len(asked.decisions), bool((await show_who(parts, known, each)).value)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left / parts.clock.speed, LOOK_AGAIN if shown else SHOW_AGAIN)):
                await woken.wait()


async def show_who(parts: Parts, known: Run, each: Step) -> Outcome:
    """Draw the card; good with None while it stands nowhere."""
    return await attempt(f"{each.id}: show who", partial(show_approval, parts, known.id, each.id), BRIEFLY)


async def _look(parts: Parts, run_id: str, step_id: str) -> tuple[Approval, float]:
    """How it stands, and the seconds that are left. Raises WrongState when the run is cancelled, or it is too late."""
    asked, cancelled = await parts.store.runs.look(run_id, step_id)
    if asked is None:
        raise WrongState("no_such_approval", run=run_id, step=step_id)
    if cancelled:
        raise WrongState("run_cancelled", run=run_id)
    left = (asked.expires_at - parts.clock.now()).total_seconds()
    if asked.state is ApprovalState.WAITING and left <= 0:
        await parts.store.runs.expire(run_id, step_id)
        raise WrongState(ApprovalState.EXPIRED.value, run=run_id)
    return asked, left
