"""What a change did to the figures: before it began against after it, and nothing said of what was not measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.actions.context import Context
from bot.actions.registry import ACTIONS
from bot.domain.incident import Severity
from bot.domain.policy import Risk
from bot.domain.run import ApprovalState, RunState, StepRef, StepState
from bot.domain.snapshot import Assessment, Snapshot
from bot.integrations.effects import effect
from demo.environment import DemoEnvironment, demo_environment
from sandbox.server import Sandbox
from sandbox.world.scenario import load_scenario
from tests.harness.lamp import ANA, BRUNO, Lamp, asked, begin, ended, runs, until
from tests.harness.measured import JumpingClock

START = datetime(2026, 1, 7, 2, 0, tzinfo=UTC)
XR = "xr-engine"
CURE = {"id": "a", "uses": "lamp.cure", "with": {"service": XR}}


@dataclass(frozen=True)
class Cured:
    service: str


class Doctor:
    """Cures the world's service; `needed` says whether there is anything to do."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.needed = True

    @effect("lamp.cure")
    async def cure(self, service: str) -> None:
        self.sandbox.world.scale(service, 14)


@pytest.fixture
async def ill(tmp_path: Path, lamp: Lamp) -> AsyncIterator[tuple[DemoEnvironment, Doctor]]:
    """A service that has been ill for ten minutes, and an action that cures it and then waits for ten."""
    clock = JumpingClock(START)
    sandbox = Sandbox(clock=clock)
    doctor = Doctor(sandbox)

    @ACTIONS.action("lamp.cure", risk=Risk.CHANGE, target="lamp/{environment}/{service}")
    async def cure(ctx: Context, service: str) -> Cured:
        """Cure a service."""
        if doctor.needed:
            await doctor.cure(service)
        if not ctx.dry_run:
            await ctx.clock.sleep(600)
        return Cured(service)

    sandbox.world.play(load_scenario("render-latency"))
    clock.jump(20 * 60)
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", alertmanager_webhook_token=None) as stage:
        clock.speed = 120
        yield stage, doctor


async def test_a_prometheus_that_does_not_answer_when_a_change_begins_is_asked_at_the_end(
    ill: tuple[DemoEnvironment, Doctor],
) -> None:
    stage, _ = ill
    faults = stage.sandbox.faults
    faults.add("prometheus", "status", status=503, times=None)
    run = await begin(runs(stage, CURE, **{"on-failure": "stop"}))

    async def begun() -> bool:
        return (await stage.bot.deps.store.runs.get(run.id)).step("a").began_at is not None

    await until(begun)
    faults.clear()
    assert (await ended(stage, run)).step("a").verdict is Assessment.HELPED


async def test_a_cure_that_takes_minutes_is_compared_with_what_was_before_it(
    ill: tuple[DemoEnvironment, Doctor],
) -> None:
    stage, _ = ill
    incident = await stage.bot.incidents.declare("Lento", Severity.SEV2, by=ANA, idempotency_key="d", service=XR)
    run = await ended(stage, await begin(runs(stage, CURE, **{"on-failure": "stop"}), incident=incident))
    step, store = run.step("a"), stage.bot.deps.store
    assert (run.state, step.verdict) == (RunState.SUCCEEDED, Assessment.HELPED)
    before = await store.snapshots.get(f"{run.id}/a/before")
    after = await store.snapshots.get(f"{run.id}/a/after")
    assert before and after and step.began_at
    taken = Snapshot.from_json(before).at, Snapshot.from_json(after).at
    assert taken[0] <= step.began_at and (taken[1] - step.began_at).total_seconds() > 600
    written = (await stage.bot.reports.render(incident.id)).markdown
    assert f"{taken[0]:%H:%M:%S}" in written and f"{taken[1]:%H:%M:%S}" in written


async def test_a_measuring_that_is_cut_off_is_not_measured(ill: tuple[DemoEnvironment, Doctor]) -> None:
    stage, _ = ill
    made = runs(stage, CURE | {"verify": {"board": "render", "within": "2h", "for": "1h"}}, **{"on-failure": "stop"})
    run = await begin(made)

    async def verifying() -> bool:
        return (await stage.bot.deps.store.runs.get(run.id)).step("a").state is StepState.VERIFYING

    await until(verifying)
    await made.cancel(run.id, by=BRUNO, idempotency_key="stop")
    done = (await ended(stage, run)).step("a")
    assert (done.verdict, done.verified) == (Assessment.UNKNOWN, None)


async def test_a_step_that_changed_nothing_has_no_verdict(ill: tuple[DemoEnvironment, Doctor]) -> None:
    """Somebody else has done it between the approval and the change."""
    stage, doctor = ill
    made = runs(stage, CURE | {"approval": {"count": 1}}, **{"on-failure": "stop"})
    run = await begin(made)
    digest = await asked(stage, run)
    doctor.needed = False
    await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes")
    done = await ended(stage, run)
    assert (done.state, done.step("a").state, done.step("a").verdict) == (RunState.SUCCEEDED, StepState.DONE, None)
    assert not done.step("a").may_have_changed
