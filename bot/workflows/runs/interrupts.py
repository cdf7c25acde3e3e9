"""Interrupts of an action: its timeout, a cancelled run, a freeze."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn, TypeVar

from bot.clock import Clock
from bot.deps import Deps
from bot.domain.errors import WrongState
from bot.integrations.effects import Execution
from bot.tasks import cancel_and_wait

STOP_POLL_SECONDS = 15.0  # of the wall clock; a notification may be lost
MIN_DEADLINE = timedelta(seconds=30)
CALL_GRACE_SECONDS = 3.0  # of the wall clock

T = TypeVar("T")


async def raise_if_cancelled(deps: Deps, run_id: str) -> None:
    """Raise WrongState if the run was cancelled."""
    if await deps.store.runs.cancelled(run_id):
        raise WrongState("run_cancelled", run=run_id)


async def raise_if_frozen(deps: Deps) -> None:
    """Raise WrongState, with the reason, if changes are frozen."""
    if frozen := await deps.store.kill_switch.frozen():
        raise WrongState("frozen", reason=frozen.reason)


async def run_until_interrupted(
    work: Awaitable[T], *guards: Awaitable[NoReturn], execution: Execution | None = None
) -> T:
    """Return the result of `work`. When one of the `guards` raises first, cancel `work` and raise that.

    The `execution` records the effects of `work`. A call that is under way then has CALL_GRACE_SECONDS to come back: it
    cannot be taken back, and its answer says what came of it.
    """
    with execution.recorded() if execution else contextlib.nullcontext():
        tasks = [asyncio.ensure_future(awaitable) for awaitable in (work, *guards)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
        if execution and first is not tasks[0]:
            await execution.close(CALL_GRACE_SECONDS)
        return first.result()
    finally:
        await cancel_and_wait(tasks)
        for task in tasks:  # retrieve exceptions, or asyncio logs them
            if task.done() and not task.cancelled():
                task.exception()


async def wait_for_stop(deps: Deps, run_id: str, *, changes: bool) -> NoReturn:
    """Raise WrongState when the run is cancelled or, if the action `changes` something, when changes are frozen.

    Clear the run's event before reading the run, so that no later notification is missed.
    """
    notified = deps.event(run_id)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_POLL_SECONDS):
                await notified.wait()
        notified.clear()
        await raise_if_cancelled(deps, run_id)
        if changes:
            await raise_if_frozen(deps)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an action is stopped: after `limit` of the bot's clock, across all its attempts.

    `real` (of time.monotonic) is a minimum in real time, however fast the bot's clock runs, as the outside world needs
    real time.
    """

    clock: Clock
    limit: timedelta
    until: datetime
    real: float

    @classmethod
    def starting(cls, clock: Clock, limit: timedelta) -> Deadline:
        at_least = min(limit, MIN_DEADLINE).total_seconds()
        return cls(clock, limit, clock.now() + limit, time.monotonic() + at_least)

    async def passed(self) -> NoReturn:
        """Wait for the deadline and raise WrongState."""
        await self.clock.sleep((self.until - self.clock.now()).total_seconds())
        await asyncio.sleep(self.real - time.monotonic())
        raise WrongState("step_timed_out", seconds=self.limit.total_seconds())
