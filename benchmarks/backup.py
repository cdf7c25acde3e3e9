"""Whether a proven backup is one: `prove-backup` on good copies, damaged ones, and ones that take longer than the RTO.

The database is the sandbox's (moto), and how long RDS takes to restore is made up by a seed; the clock is the world's.
What the bot does and measures is its own: the restore into a temporary instance, the integrity job on it, the time that
took against the RTO, and the instance gone afterwards whatever happened.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.figures import Figure, median
from bot.domain.people import Person
from bot.domain.run import Run, RunRequest, RunState
from demo.environment import demo_environment
from sandbox.aws.backend import PRODUCTION, STAGING
from sandbox.clock import LoadAwareClock
from sandbox.deadline import deadline
from sandbox.kubernetes.containers import Behaviour
from sandbox.server import Sandbox

BAR = "a backup proven by a restore"
GOOD, DAMAGED, SLOW = 4, 4, 2  # copies
SPEED = 60.0  # world seconds in one of ours
PATIENCE = 180.0  # of our seconds
ANA = Person("U0ANA00001", "Ana Torres")
BROKEN = Behaviour(start=2, run=5, exit_code=1, log=("ERROR index users_pkey damaged",))


@dataclass(frozen=True, slots=True)
class Proof:
    """How one went: what RDS took and what the bot measured in seconds, None if it proved nothing."""

    restore: float
    measured: float | None
    in_time: bool
    left: int  # temporary instances that are still there


async def backup() -> list[Figure]:
    dice = random.Random("backup")  # noqa: S311 - the same copies each time
    good = [await prove(dice.uniform(120, 600), damaged=False) for _ in range(GOOD)]
    damaged = [await prove(dice.uniform(120, 600), damaged=True) for _ in range(DAMAGED)]
    slow = [await prove(dice.uniform(1000, 1500), damaged=False) for _ in range(SLOW)]
    proven = [one for one in good if one.measured is not None]
    own = median([one.measured - one.restore for one in proven if one.measured is not None]) if proven else None
    return [
        Figure(BAR, "good copies that were not proven", len(good) - len(proven), "", 0, f"of {len(good)}"),
        Figure(BAR, "damaged ones that counted as proven", _count(damaged), "", 0, f"of {len(damaged)}"),
        Figure(BAR, "slower than the RTO, told as in time", sum(one.in_time for one in slow), "", 0, f"of {len(slow)}"),
        Figure(BAR, "temporary instances left", sum(one.left for one in (*good, *damaged, *slow)), "", 0),
        Figure(BAR, "measured, median", median([one.measured or 0 for one in proven]) / 60, "min", 15, "RTO: 15 min"),
        Figure(BAR, "of it beside RDS's own time: the job, and looking", own, "s"),
    ]


def _count(proofs: list[Proof]) -> int:
    return sum(one.measured is not None for one in proofs)


async def prove(seconds: float, *, damaged: bool) -> Proof:
    """Play `prove-backup` where RDS takes so long to restore. Raises TimeoutError where it does not end."""
    sandbox = Sandbox(clock=LoadAwareClock())
    sandbox.aws.restore_takes = timedelta(seconds=seconds)
    if damaged:
        sandbox.kubernetes.behaviours.set("*/db-maintenance:*", BROKEN)
    with tempfile.TemporaryDirectory() as folder:
        async with demo_environment(sandbox, f"sqlite:///{folder}/bot.db", cluster=Path(folder)) as stage:
            runs, store = stage.bot.runs, stage.bot.deps.store.runs
            sandbox.clock.speed = SPEED
            run = await runs.start("prove-backup", {}, RunRequest(ANA, "prove"))
            async with deadline(PATIENCE):
                while not (run := await store.get(run.id)).state.ended or _temporary(sandbox):
                    sandbox.aws.settle()
                    await asyncio.sleep(0.05)
            return _proof(run, seconds, len(_temporary(sandbox)))


def _temporary(sandbox: Sandbox) -> list[str]:
    return [name for name in sandbox.aws.rds.databases if name not in (PRODUCTION, STAGING)]


def _proof(run: Run, seconds: float, left: int) -> Proof:
    result = run.step("proof").result or {}
    measured = float(result["seconds"]) if run.state is RunState.SUCCEEDED else None
    return Proof(seconds, measured, bool(result.get("in_time")), left)
