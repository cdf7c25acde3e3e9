"""A change that is stopped while its call is under way: what came of it is found out, and said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.domain.run import OUTCOME, ChangeOutcome, Run, RunState, StepState
from sandbox.clock import Clock
from sandbox.server import Sandbox
from tests.actions.test_kubernetes import kubeconfig
from tests.harness.scene import TEAM, Scene, scene

XR = "xr-engine"


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[Sandbox, str]]:
    sandbox = Sandbox(clock=Clock(speed=60))
    async with sandbox.serving() as url:
        yield sandbox, url


@pytest.fixture
async def stage(tmp_path: Path, cluster: tuple[Sandbox, str]) -> AsyncIterator[Scene]:
    async with scene(tmp_path, kubeconfig=kubeconfig(tmp_path, cluster[1])) as made:
        yield made


@pytest.mark.parametrize("stop", ["cancel", "freeze"])
async def test_a_call_under_way_is_told_as_it_ended(stage: Scene, cluster: tuple[Sandbox, str], stop: str) -> None:
    """The cluster takes 3 s for the change and makes it, whoever has stopped waiting."""
    slow = cluster[0].faults.add("kubernetes", "slow", "PATCH *", seconds=3, times=2)  # the dry run, and the change
    await stage.person("ana").run("/ops scale xr-engine 12", TEAM)
    await stage.until(lambda: _true(slow.used == 2), 20)
    run = (await stage.bot.deps.store.runs.recent())[0]
    typed = f"/runbook cancel {run.id}" if stop == "cancel" else "/ops freeze Buen Fin"
    await stage.person("bruno").run(typed, TEAM)
    done = await _ended(stage, run)
    kubernetes = stage.bot.deps.kubernetes
    assert kubernetes
    replicas = await kubernetes.workloads.replicas(XR, "tamv-prod")
    step = done.step("it")
    assert step.facts[OUTCOME] == ChangeOutcome.DONE
    if step.state is StepState.UNDONE:
        assert replicas == 3
        await stage.told(TEAM, run.id, "El cambio se deshizo")
    else:
        assert replicas == 12
        await stage.told(TEAM, run.id, "El cambio se hizo", "3 → 12")


async def test_what_was_stopped_before_its_first_call_has_changed_nothing(
    stage: Scene, cluster: tuple[Sandbox, str]
) -> None:
    """It was still reading: nothing has to be looked for, and nothing undone."""
    slow = cluster[0].faults.add("kubernetes", "slow", "GET *", seconds=2, times=None)
    await stage.person("ana").run("/ops scale xr-engine 12", TEAM)

    async def performing() -> Run | None:
        recent = await stage.bot.deps.store.runs.recent()
        return recent[0] if recent and recent[0].step("it").state is StepState.PERFORMING else None

    run = await stage.until(performing, 30)
    await stage.person("bruno").run(f"/runbook cancel {run.id}", TEAM)
    done = await _ended(stage, run)
    cluster[0].faults.clear()
    assert slow.used and done.state is RunState.CANCELLED
    assert done.step("it").facts[OUTCOME] == ChangeOutcome.NOT_STARTED
    await stage.told(TEAM, run.id, "No se cambió nada")


async def _ended(stage: Scene, run: Run) -> Run:
    async def over() -> Run | None:
        now = await stage.bot.deps.store.runs.get(run.id)
        return now if now.state.ended else None

    found: Run = await stage.until(over, 30)
    return found


async def _true(value: object) -> bool:
    return bool(value)
