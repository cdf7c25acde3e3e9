"""What an action may not outlive: its time, a cancelled run, a freeze."""

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
from bot.tasks import cancel_and_wait

STOP_POLL_SECONDS = 15.0  # seconds of the wall clock; a wake may be lost
MIN_DEADLINE = timedelta(seconds=30)

T = TypeVar("T")


async def raise_if_cancelled(deps: Deps, run_id: str) -> None:
    """Raises WrongState."""
    if await deps.store.runs.cancelled(run_id):
        raise WrongState("run_cancelled", run=run_id)


async def raise_if_frozen(deps: Deps) -> None:
    """Raises WrongState with the reason."""
    if frozen := await deps.store.kill_switch.frozen():
        raise WrongState("frozen", reason=frozen.reason)


async def run_until_interrupted(work: Awaitable[T], *guards: Awaitable[NoReturn]) -> T:
    """What `work` gives; as soon as one of the guards raises it is cut off, and that is raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in (work, *guards)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        await cancel_and_wait(tasks)
        for task in tasks:  # asyncio complains of a mistake that nobody has looked at
            if task.done() and not task.cancelled():
                task.exception()


async def wait_for_stop(deps: Deps, run_id: str, *, changes: bool) -> NoReturn:
    """Raises WrongState when the run is cancelled, and, if the action `changes` something, when everything is frozen.

    Who looks at the run clears its event first, so that what comes after the look is not missed.
    """
    woken = deps.event(run_id)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_POLL_SECONDS):
                await woken.wait()
        woken.clear()
        await raise_if_cancelled(deps, run_id)
        if changes:
            await raise_if_frozen(deps)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an action that may take `limit` is cut off: by the bot's clock, however often it is tried.

    What it does outside takes its time, however fast that clock runs: `real` (of time.monotonic) is never sooner.
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
        """Wait for it. Raises WrongState."""
        await self.clock.sleep((self.until - self.clock.now()).total_seconds())
        await asyncio.sleep(self.real - time.monotonic())
        raise WrongState("step_timed_out", seconds=self.limit.total_seconds())
