"""What an action may not outlive: its step's `timeout`, a cancellation, a freeze; and what a restart does to a look."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.actions.context import Context
from bot.actions.registry import ACTIONS
from bot.domain.policy import Risk
from bot.domain.run import Run, RunState, StepState
from bot.domain.runbook import Step
from bot.workflows.runs.step import WAIT_PARAMETERS, step_timeout
from demo.environment import DemoEnvironment, demo_environment
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from tests.harness.lamp import ANA, BRUNO, Lamp, begin, ended, runs, says, until

DIM = {"id": "a", "uses": "lamp.dim", "with": {"to": 10}}
RENDER = {"board": "render", "service": "xr-engine"}
STOP = {"on-failure": "stop"}
NOW = datetime(2026, 1, 7, 2, 0, tzinfo=UTC)
AT_ONCE = 5.0  # seconds; whoever is not woken looks every 15


async def test_a_change_that_hangs_is_cut_off_and_the_half_done_step_is_undone(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    lamp.slow.clear()
    run = await begin(runs(stage, {**DIM, "timeout": "1s"}))
    cut = await _reached(stage, run, StepState.FAILED)
    lamp.slow.set()
    assert (cut.step("a").error, cut.step("a").facts["seconds"]) == ("step_timed_out", 1.0)
    await says(stage, run, "El paso no terminó en 1 s y se interrumpió")
    done = await ended(stage, run)
    assert (done.state, done.step("a").state, lamp.done) == (RunState.UNDONE, StepState.UNDONE, [10, 3])


async def test_an_undo_whose_answer_is_lost_is_looked_at_again(stage: DemoEnvironment, lamp: Lamp) -> None:
    lamp.slow.clear()
    run = await begin(runs(stage, {**DIM, "timeout": "1s"}))
    done = await ended(stage, run)
    assert (done.state, done.step("a").state, lamp.value) == (RunState.UNDONE, StepState.UNDONE, 3)
    await says(stage, run, "El cambio se deshizo")


async def test_a_look_that_hangs_fails_and_the_run_goes_on_where_its_runbook_says_so(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    wait = {"id": "w", "uses": "flow.wait", "with": {"duration": "1h"}, "timeout": "1s", "continue-on-error": True}
    done = await ended(stage, await begin(runs(stage, wait, DIM)))
    assert (done.state, done.step("w").error, lamp.done) == (RunState.SUCCEEDED, "step_timed_out", [10])


async def test_a_fast_clock_leaves_what_is_done_outside_its_time(stage: DemoEnvironment, lamp: Lamp) -> None:
    """A rehearsal for which an hour is a moment: helm and the network take as long as ever."""
    stage.sandbox.clock.speed = 100_000
    lamp.slow.clear()
    run = await begin(runs(stage, {**DIM, "timeout": "10m"}))
    began = stage.sandbox.clock.now()
    await until(lambda: _true(stage.sandbox.clock.now() - began > timedelta(hours=1)))
    lamp.slow.set()
    assert (await ended(stage, run)).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("step", "given", "expected"),
    [
        ({}, {}, timedelta(minutes=10)),
        ({}, {"wait": True, "since": timedelta(days=1)}, timedelta(minutes=10)),
        ({}, {"duration": timedelta(hours=1)}, timedelta(hours=1, minutes=10)),
        ({}, {"within": timedelta(hours=3)}, timedelta(hours=3, minutes=10)),
        ({}, {"begins": NOW, "ends": NOW + timedelta(days=2)}, timedelta(days=2, minutes=10)),
        ({}, {"ends": NOW - timedelta(days=2)}, timedelta(minutes=10)),
        ({"timeout": "2m"}, {"wait": timedelta(hours=1)}, timedelta(minutes=2)),
    ],
)
def test_how_long_an_action_may_take(step: dict[str, str], given: dict[str, Any], expected: timedelta) -> None:
    assert step_timeout(Step.model_validate({"id": "a", "uses": "lamp.dim", **step}), given, NOW) == expected


def test_who_lets_time_pass_is_told_how_long() -> None:
    """By a word that `limit` knows, or it would be cut off after ten minutes."""
    waiting = [one for one in ACTIONS.all() if "clock.sleep(" in inspect.getsource(one.execute)]
    assert {"flow.wait", "flow.window", "prometheus.watch"} <= {one.name for one in waiting}
    assert not [one.name for one in waiting if not set(WAIT_PARAMETERS) & set(one.parameters.model_fields)]


@pytest.mark.parametrize("by", ["a person here", "another replica"])
async def test_a_freeze_stops_a_change_in_the_middle_at_once(stage: DemoEnvironment, lamp: Lamp, by: str) -> None:
    lamp.slow.clear()
    made = runs(stage, DIM, **STOP)
    run = await begin(made)
    await until(lambda: _true(lamp.done == [10]))
    if by == "another replica":
        await stage.bot.deps.store.kill_switch.freeze("Buen Fin", ANA, stage.bot.deps.clock.now(), "f")
    else:
        await made.freeze("Buen Fin", by=ANA, idempotency_key="f")
    async with deadline(AT_ONCE):
        done = await ended(stage, run)
    assert (done.state, done.step("a").error) == (RunState.FAILED, "frozen")


@pytest.mark.parametrize(
    "step", [DIM, {"id": "a", "uses": "flow.wait", "with": {"duration": "1h"}}], ids=["change", "look"]
)
async def test_another_replicas_cancellation_stops_a_step_in_the_middle_at_once(
    stage: DemoEnvironment, lamp: Lamp, step: dict[str, Any]
) -> None:
    lamp.slow.clear()
    run = await begin(runs(stage, step, **STOP))
    await _reached(stage, run, StepState.PERFORMING)
    await stage.bot.deps.store.runs.cancel(run.id, BRUNO, "c")
    async with deadline(AT_ONCE):
        done = await ended(stage, run)
    assert (done.state, done.step("a").state) == (RunState.CANCELLED, StepState.CANCELLED)


@dataclass
class Watch:
    """A look that goes on until it is let go, and how often it was rehearsed and begun."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    rehearsed: int = 0
    begun: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    number: int


@pytest.fixture
def watch(lamp: Lamp) -> Iterator[Watch]:
    watch = Watch()

    @ACTIONS.action("lamp.watch", risk=Risk.READ)
    async def look(ctx: Context) -> Seen:
        """Look at the lamp.

        es: Mira la lámpara.
        """
        if ctx.dry_run:
            watch.rehearsed += 1
            return Seen(watch.rehearsed)
        watch.begun.append(ctx.planned["number"])
        await watch.go.wait()
        return Seen(ctx.planned["number"])

    yield watch  # the lamp forgets its actions


async def test_a_look_that_a_restart_cuts_off_keeps_what_its_rehearsal_has_set(tmp_path: Path, watch: Watch) -> None:
    sandbox, database = Sandbox(), f"sqlite:///{tmp_path}/bot.db"
    async with demo_environment(sandbox, database, prometheus_url=None) as stage:
        run = await begin(runs(stage, {"id": "a", "uses": "lamp.watch"}))
        await until(lambda: _true(watch.begun))
    watch.go.set()
    async with demo_environment(sandbox, database, prometheus_url=None) as stage:
        done = await ended(stage, run)
    assert (done.state, done.step("a").result) == (RunState.SUCCEEDED, {"number": 1})
    assert (watch.rehearsed, watch.begun) == (1, [1, 1])


@pytest.mark.parametrize(
    ("step", "state", "error"),
    [
        ({"uses": "flow.wait", "with": {"duration": "1h"}}, RunState.SUCCEEDED, None),
        ({"uses": "prometheus.watch", "with": {"duration": "1h", **RENDER}}, RunState.SUCCEEDED, None),
        (
            {"uses": "prometheus.wait_until", "with": {"within": "1h", "holding": "2h", **RENDER}},
            RunState.FAILED,
            "figures_not_back",
        ),
    ],
    ids=["wait", "watch", "wait until"],
)
async def test_what_a_restart_cuts_off_keeps_its_deadline(
    tmp_path: Path, step: dict[str, Any], state: RunState, error: str | None
) -> None:
    """The bot is away while the hour passes: what it finds afterwards counts, no other hour is waited."""
    sandbox, database = Sandbox(), f"sqlite:///{tmp_path}/bot.db"
    async with demo_environment(sandbox, database) as stage:
        run = await begin(runs(stage, {"id": "a", **step}))
        await _reached(stage, run, StepState.PERFORMING)
    sandbox.clock.speed = 10_000
    await sandbox.clock.sleep(timedelta(hours=1).total_seconds())
    sandbox.clock.speed = 1
    async with demo_environment(sandbox, database) as stage:
        done = await ended(stage, run)
    assert (done.state, done.step("a").error) == (state, error)


async def _reached(stage: DemoEnvironment, run: Run, state: StepState) -> Run:
    async def look() -> Run | None:
        known = await stage.bot.deps.store.runs.get(run.id)
        return known if known.step("a").state is state else None

    found: Run = await until(look)
    return found


async def _true(value: object) -> bool:
    return bool(value)
