"""`/ops` in the sandbox's cluster: short words, a runbook's policy, and what comes of it in the channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.actions.catalogue import ACTIONS
from bot.domain.run import Run, RunState
from sandbox.clock import Clock
from sandbox.kubernetes.access import Rule
from sandbox.server import Sandbox
from tests.actions.test_kubernetes import kubeconfig
from tests.harness.scene import TEAM, Scene, scene, words

XR = "xr-engine"


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[Sandbox, str]]:
    """A cluster on a clock that runs ahead, and where it is."""
    sandbox = Sandbox(clock=Clock(speed=60))
    async with sandbox.serving() as url:
        yield sandbox, url


@pytest.fixture
async def stage(tmp_path: Path, cluster: tuple[Sandbox, str]) -> AsyncIterator[Scene]:
    async with scene(tmp_path, kubeconfig=kubeconfig(tmp_path, cluster[1])) as made:
        yield made


async def ended(stage: Scene, said: str, who: str = "ana", channel: str = TEAM) -> Run:
    """The run that a line of `/ops` began, once it is over."""
    before = {run.id for run in await _all(stage)}
    await stage.person(who).run(f"/ops {said}", channel)

    async def over() -> Run | None:
        return next((run for run in await _all(stage) if run.id not in before and run.state.ended), None)

    found: Run = await stage.until(over)
    return found


async def _all(stage: Scene) -> list[Run]:
    return await stage.bot.deps.store.runs.recent()


async def test_while_the_cluster_does_not_answer_the_message_says_so_and_until_when_it_is_tried(
    stage: Scene, cluster: tuple[Sandbox, str]
) -> None:
    away = cluster[0].faults.add("kubernetes", "status", "*", status=503, times=None)
    await stage.person("ana").run("/ops scale xr-engine 5", TEAM)
    said = await stage.told(TEAM, "⏳ Kubernetes", "Lo intento hasta las")
    away.times = 0
    await stage.see(lambda: "3 → 5" in words(said) and "Lo intento" not in words(said), 40)


async def test_a_short_word_changes_the_cluster_and_the_channel_sees_it(stage: Scene) -> None:
    run = await ended(stage, "scale xr-engine 5")
    assert (run.state, run.step("it").result) == (
        RunState.SUCCEEDED,
        {
            "deployment": XR,
            "namespace": "tamv-prod",
            "before": 3,
            "after": 5,
            "autoscaler": None,
            "asked": 5,
            "put_back_by": None,
            "put_back_kind": None,
        },
    )
    message = await stage.told(TEAM, run.id, "3 → 5", "✅")
    await stage.see(lambda: "undo_run" in [element["action_id"] for _, element in message.elements()])
    await stage.person("bruno").press(message, "undo_run")
    await stage.told(TEAM, run.id, "↩️")
    kubernetes = stage.bot.deps.kubernetes
    assert kubernetes and await kubernetes.workloads.replicas(XR, "tamv-prod") == 3


async def test_a_dry_run_shows_and_changes_nothing(stage: Scene) -> None:
    run = await ended(stage, "scale xr-engine 5 --dry-run", who="emma")  # looking is for everybody
    assert run.state is RunState.SUCCEEDED
    await stage.told(TEAM, run.id, "3 → 5", "ensayo")
    kubernetes = stage.bot.deps.kubernetes
    assert kubernetes and await kubernetes.workloads.replicas(XR, "tamv-prod") == 3


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("pods xr-engine", "xr-engine-"),
        ("top pods xr-engine", "xr-engine-"),
        ("top nodes", "node-"),
        ("rollout xr-engine", None),
        ("describe xr-engine", "xr-engine"),
        ("events xr-engine", None),
    ],
)
async def test_reading_is_answered_in_the_thread(stage: Scene, said: str, seen: str | None) -> None:
    run = await ended(stage, said, who="emma")
    assert (run.state, run.step("it").error) == (RunState.SUCCEEDED, None)
    if seen:
        message = await stage.told(TEAM, run.id)
        await stage.see(lambda: _below(stage, message.ts, seen))


def _below(stage: Scene, ts: str, seen: str) -> bool:
    messages = stage.slack.channel(TEAM).messages.values()
    return any(one.thread_ts == ts and seen in words(one) for one in messages)


async def test_a_missing_right_says_which_verb_on_which_resource(tmp_path: Path, cluster: tuple[Sandbox, str]) -> None:
    sandbox, url = cluster
    sandbox.kubernetes.accounts.add("reader", "reader", [Rule(["get", "list"], ["*"])])
    async with scene(tmp_path, kubeconfig=kubeconfig(tmp_path, url, "reader")) as stage:
        run = await ended(stage, "scale xr-engine 5")
        assert run.state is RunState.FAILED
        await stage.told(TEAM, run.id, "`patch`", "`deployments/scale`", "`tamv-prod`")


async def test_help_shows_what_is_used_most_then_each_service_then_one(stage: Scene) -> None:
    first = await stage.answer("/ops help")
    assert await stage.answer("/ops") == first
    assert (
        "`/ops scale xr-engine 10`" in first
        and "`/ops freeze" in first
        and "`/ops smoke`" in first
        and len(first) < 2500
    )
    services = re.findall(r"`/ops help (\w+)` \(\d+\)", first)
    listed = " ".join([await stage.answer(f"/ops help {service}") for service in services])
    assert [one.name for one in ACTIONS.all() if f"`{one.name}`" not in listed] == []
    assert "`deploy`" in await stage.answer("/ops help helm")
    assert "/ops scale deployment replicas" in await stage.answer("/ops help scale")
    assert "/ops scale deployment replicas" in await stage.answer("/ops scale help")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("scael xr-engine 5", "scale"),
        ("scale xr-engine many", "replicas"),
        ("scale xr-engine 500", None),
        ("deploy xr-engine tga=2", "tag"),
        ("scale xr-engien 5", "xr-engine"),
    ],
)
async def test_what_cannot_be_is_answered_with_what_can(stage: Scene, said: str, told: str | None) -> None:
    if told is None or "engien" in said:  # only the action itself can know
        run = await ended(stage, said)
        assert run.state is RunState.FAILED
        await stage.told(TEAM, run.id, told or "20")
    else:
        assert told in await stage.answer(f"/ops {said}")
        assert await _all(stage) == []


async def test_who_has_no_role_is_told_who_has(stage: Scene) -> None:
    answer = await stage.answer("/ops scale xr-engine 5", who="emma")
    assert "<@U0ANA00001>" in answer and "<@U0FRAN0006>" in answer
    assert await _all(stage) == []


async def test_freeze_and_thaw(stage: Scene) -> None:
    assert "Los cambios están congelados" in await stage.answer("/ops freeze Buen Fin")
    await stage.told(TEAM, "Cambios congelados", "<@U0ANA00001>", "Buen Fin")
    run = await ended(stage, "scale xr-engine 5")
    assert run.state is RunState.FAILED
    await stage.told(TEAM, run.id, "Buen Fin", "/ops thaw")
    assert "Descongelado" in await stage.answer("/ops thaw", who="bruno")
    assert (await ended(stage, "scale xr-engine 5")).state is RunState.SUCCEEDED


async def test_no_undo_is_offered_where_nothing_can_be_undone(stage: Scene) -> None:
    run = await ended(stage, "restart xr-engine")
    assert run.state is RunState.SUCCEEDED
    message = await stage.told(TEAM, run.id, "✅", "🔒")
    await stage.quiet()
    assert "undo_run" not in [element["action_id"] for _, element in message.elements()]


async def test_a_dry_run_of_the_impossible_fails(stage: Scene) -> None:
    run = await ended(stage, "scale xr-engine 500 --dry-run")
    assert run.state is RunState.FAILED
    await stage.told(TEAM, run.id, "❌", "500")
    run = await ended(stage, "scale nothing 5 --dry-run")
    assert run.state is RunState.FAILED


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("events quantum-processor", "ningún evento"),
        ("pods xr-engine", "3 pods en tamv-prod"),
        ("rollout xr-engine", "3 de 3 pods listos"),
        ("logs xr-engine pattern=nothing-like-this", "ninguna línea con `nothing-like-this`"),
    ],
)
async def test_an_answer_is_given_in_words_also_when_it_is_empty(stage: Scene, said: str, answer: str) -> None:
    run = await ended(stage, said, who="emma")
    assert run.state is RunState.SUCCEEDED
    await stage.told(TEAM, run.id, answer)
