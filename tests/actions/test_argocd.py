"""What Argo CD owns: said truly before, told when it is put back, and kept while its sync is paused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import WrongState
from bot.messages.results import result_sentence
from bot.messages.run import line
from sandbox.kubernetes.objects import deep_copy
from sandbox.kubernetes.resources.argo_cd import APPLICATION, GIT_POLL_SECONDS, NAMESPACE
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.server import Sandbox
from sandbox.world.scenario import GitOps
from tests.harness.actor import Actor, in_cluster, parts

QUANTUM = "quantum-processor"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[tuple[Sandbox, Actor]]:
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        sandbox.world.act([GitOps(do="gitops", service=QUANTUM)])
        yield sandbox, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes))


def automated(sandbox: Sandbox) -> Any:
    found = sandbox.kubernetes.store.get(APPLICATION, NAMESPACE, QUANTUM)
    assert found
    return found["spec"]["syncPolicy"].get("automated")


async def test_what_is_put_back_is_told_and_a_paused_sync_lets_it_stay(place: tuple[Sandbox, Actor]) -> None:
    sandbox, actor = place
    (effect,), _ = await actor.rehearse("kubernetes.scale", deployment=QUANTUM, replicas=4)
    (owner,) = effect.facts["owners"]
    assert (owner["kind"], owner["heals"]) == ("argocd", True)
    lost = await actor.perform("kubernetes.scale", deployment=QUANTUM, replicas=4)
    assert (lost.after, lost.put_back_by, lost.put_back_kind) == (2, QUANTUM, "argocd")
    facts = {"after": 2, "asked": 4, "put_back_by": QUANTUM, "put_back_kind": "argocd"}
    for words in actor.deps.words_by_locale.values():
        assert "Argo CD (`quantum-processor`)" in result_sentence("kubernetes.scale", facts, words)

    policy = automated(sandbox)
    effects, _ = await actor.rehearse("argocd.pause_sync", "R-2/a", deployment=QUANTUM)
    assert [one.key for one in effects] == ["argocd.pause_sync"]
    assert automated(sandbox) == policy, "rehearsed, not done"
    paused = await actor.perform("argocd.pause_sync", "R-2/a", deployment=QUANTUM)
    assert await actor.perform("argocd.pause_sync", "R-2/a", deployment=QUANTUM) == paused
    assert (automated(sandbox), paused.before) == (None, policy)

    (effect,), _ = await actor.rehearse("kubernetes.scale", "R-3/a", deployment=QUANTUM, replicas=4)
    told = {name: line(effect, words) for name, words in actor.deps.words_by_locale.items()}
    assert "no revierte por sí solo" in told["es"] and "does not put it back by itself" in told["en"]
    kept = await actor.perform("kubernetes.scale", "R-3/a", deployment=QUANTUM, replicas=4)
    assert (kept.after, kept.put_back_by) == (4, None)

    await actor.undo("argocd.pause_sync", paused)
    assert automated(sandbox) == policy


async def test_a_rollback_is_put_back_and_a_restart_is_left_alone(place: tuple[Sandbox, Actor]) -> None:
    sandbox, actor = place
    (effect,), _ = await actor.rehearse("kubernetes.rollout_undo", deployment=QUANTUM)
    lost = await actor.perform("kubernetes.rollout_undo", deployment=QUANTUM)
    assert (lost.put_back_by, lost.put_back_kind) == (QUANTUM, "argocd")
    facts = {"put_back_by": lost.put_back_by, "put_back_kind": lost.put_back_kind}
    for words in actor.deps.words_by_locale.values():
        assert "pause_sync" in line(effect, words)
        assert "Argo CD (`quantum-processor`)" in result_sentence("kubernetes.rollout_undo", facts, words)

    (effect,), _ = await actor.rehearse("kubernetes.restart", "R-2/a", deployment=QUANTUM)
    for words in actor.deps.words_by_locale.values():
        assert "Argo CD (`quantum-processor`)" in line(effect, words) and "pause_sync" not in line(effect, words)
    await actor.perform("kubernetes.restart", "R-2/a", deployment=QUANTUM)
    await sandbox.clock.sleep(GIT_POLL_SECONDS + 20)
    found = sandbox.kubernetes.store.get(DEPLOYMENT, "tamv-prod", QUANTUM)
    assert found and found["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]


async def test_a_policy_that_somebody_has_set_meanwhile_is_left_alone(place: tuple[Sandbox, Actor]) -> None:
    sandbox, actor = place
    await actor.rehearse("argocd.pause_sync", deployment=QUANTUM)
    paused = await actor.perform("argocd.pause_sync", deployment=QUANTUM)
    found = sandbox.kubernetes.store.get(APPLICATION, NAMESPACE, QUANTUM)
    assert found
    theirs = {**deep_copy(found), "spec": {**found["spec"], "syncPolicy": {"automated": {"prune": True}}}}
    sandbox.kubernetes.writer.replace(APPLICATION, found, theirs)
    with pytest.raises(WrongState, match="changed_since"):
        await actor.undo("argocd.pause_sync", paused)


async def test_what_argo_cd_does_not_own_has_no_sync_to_pause(place: tuple[Sandbox, Actor]) -> None:
    with pytest.raises(WrongState) as refused:
        await place[1].rehearse("argocd.pause_sync", deployment="tamv-core")
    for words in place[1].deps.words_by_locale.values():
        assert "Argo CD" in words.error(refused.value)
