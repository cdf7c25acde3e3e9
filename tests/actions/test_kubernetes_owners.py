"""What else decides over a workload: said before the approval, and looked at after the change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput, NotFound, WrongState
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.messages.results import result_sentence
from bot.messages.run import line
from sandbox.kubernetes.objects import Object, deep_copy
from sandbox.kubernetes.resources.autoscaling import AUTOSCALER
from sandbox.kubernetes.resources.daemon_sets import DAEMON_SET
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.stateful_sets import STATEFUL_SET
from sandbox.server import Sandbox
from tests.harness.actor import Actor, in_cluster, parts

PROD, AI, QUANTUM = "tamv-prod", "isabella-ai", "quantum-processor"


@dataclass
class Place:
    sandbox: Sandbox
    actor: Actor
    kubernetes: Kubernetes

    def change(self, name: str, spec: dict[str, Any] | None = None, **metadata: Any) -> None:
        """Change a deployment as somebody else would."""
        cluster = self.sandbox.kubernetes
        found = cluster.store.get(DEPLOYMENT, PROD, name)
        assert found

        def apply(latest: Object) -> None:
            latest["metadata"] = {**latest["metadata"], **metadata}
            latest["spec"] = {**latest["spec"], **(spec or {})}

        cluster.writer.update(DEPLOYMENT, deep_copy(found), apply)

    @contextlib.asynccontextmanager
    async def put_back(self, name: str, replicas: int) -> AsyncIterator[None]:
        """A reconciler that heals itself, as Argo CD does."""

        async def reconcile() -> None:
            while True:
                await asyncio.sleep(0.02)
                found = self.sandbox.kubernetes.store.get(DEPLOYMENT, PROD, name)
                if found and found["spec"]["replicas"] != replicas and found["status"].get("replicas") != replicas:
                    self.change(name, {"replicas": replicas})

        task = asyncio.create_task(reconcile())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        yield Place(sandbox, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes)), kubernetes)


async def test_an_autoscaler_is_said_before_with_its_limits_and_what_came_is_said_after(place: Place) -> None:
    (effect,), foreseen = await place.actor.rehearse("kubernetes.scale", deployment=AI, replicas=12)
    assert foreseen.autoscaler == AI
    told = {name: line(effect, words) for name, words in place.actor.deps.words_by_locale.items()}
    assert "entre 3 y 8 réplicas y lo devolverá a 8" in told["es"]
    assert "between 3 and 8 replicas and will put it back to 8" in told["en"]
    done = await place.actor.perform("kubernetes.scale", deployment=AI, replicas=12)
    assert (done.before, done.asked, done.put_back_by) == (3, 12, AI)
    assert done.after <= 8, "what came, not what was asked for"
    facts = {"before": 3, "asked": 12, "after": 8, "put_back_by": AI}
    for words in place.actor.deps.words_by_locale.values():
        assert "8" in result_sentence("kubernetes.scale", facts, words)


async def test_keda_that_starts_again_what_was_scaled_to_zero_is_said(place: Place) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": QUANTUM}
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": "u", "controller": True}
    metadata = {"name": "keda-hpa-queue", "namespace": PROD, "ownerReferences": [owner]}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 6}
    place.sandbox.kubernetes.store.put(AUTOSCALER, {"metadata": metadata, "spec": spec, "status": {}})
    (effect,), _ = await place.actor.rehearse("kubernetes.scale", deployment=QUANTUM, replicas=0)
    for words in place.actor.deps.words_by_locale.values():
        assert "KEDA (`queue`)" in line(effect, words)
    async with place.put_back(QUANTUM, 2):
        done = await place.actor.perform("kubernetes.scale", deployment=QUANTUM, replicas=0)
    assert (done.after, done.put_back_by) == (2, "queue")


async def test_a_gitops_tool_is_said_before_and_whether_it_put_it_back_after(place: Place) -> None:
    place.change(QUANTUM, annotations={"argocd.argoproj.io/tracking-id": "platform:apps/Deployment:x/y"})
    (effect,), _ = await place.actor.rehearse("kubernetes.scale", deployment=QUANTUM, replicas=4)
    for words in place.actor.deps.words_by_locale.values():
        assert "Argo CD (`platform`)" in line(effect, words) and "Git" in line(effect, words)
    kept = await place.actor.perform("kubernetes.scale", deployment=QUANTUM, replicas=4)
    assert (kept.after, kept.put_back_by) == (4, None)
    async with place.put_back(QUANTUM, 4):
        lost = await place.actor.perform("kubernetes.scale", "R-2/a", deployment=QUANTUM, replicas=3)
    assert (lost.after, lost.put_back_by) == (4, "platform")


async def test_argo_cd_is_known_by_what_it_has_written_where_it_tracks_by_a_common_label(place: Place) -> None:
    written = [{"manager": "argocd-controller", "operation": "Update", "apiVersion": "apps/v1"}]
    place.change(QUANTUM, managedFields=written, labels={"app.kubernetes.io/instance": "platform"})
    owner = (await place.kubernetes.workloads.owners(QUANTUM, PROD))[0]
    assert (owner.kind, owner.name) == ("argocd", "platform")


async def test_a_change_that_would_replace_no_pod_is_refused_before_anybody_is_asked(place: Place) -> None:
    cluster, labels = place.sandbox.kubernetes, {"app": "ledger"}
    pod = {"containers": [{"name": "ledger", "image": "registry.example/ledger:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "serviceName": "ledger", "selector": {"matchLabels": labels}, "template": template}
    held = {**spec, "updateStrategy": {"type": "OnDelete"}}
    cluster.writer.create(STATEFUL_SET, {"metadata": {"name": "ledger", "namespace": PROD}, "spec": held})
    changes: dict[str, dict[str, Any]] = {"restart": {}, "set_env": {"variables": {"A": "1"}}}
    for name, given in changes.items():
        with pytest.raises(WrongState) as refused:
            await place.actor.rehearse(f"kubernetes.{name}", deployment="ledger", namespace=PROD, **given)
        for words in place.actor.deps.words_by_locale.values():
            assert "OnDelete" in words.error(refused.value)


async def test_of_a_service_the_pods_and_events_that_are_there_are_shown_and_no_others(place: Place) -> None:
    team = place.actor.deps.team
    both = team.services[QUANTUM].model_copy(update={"chart": None, "workloads": [QUANTUM, "not-here-yet"]})
    actor = Actor(replace(place.actor.deps, team=team.model_copy(update={"services": {**team.services, "both": both}})))
    assert (await actor.perform("kubernetes.pods", service="both")).rows
    cluster = place.sandbox.kubernetes
    found = cluster.store.get(DEPLOYMENT, PROD, QUANTUM)
    assert found
    longer = {**deep_copy(found), "metadata": {"name": f"{QUANTUM}-admin", "namespace": PROD}}
    cluster.writer.create(DEPLOYMENT, longer)
    cluster.cluster.record_event(found, "ScalingReplicaSet", "Scaled up", source="deployment-controller")
    cluster.cluster.settle()
    events = (await actor.perform("kubernetes.events", service=QUANTUM)).rows
    assert events and not [event for event in events if "-admin" in event["about"]]


async def test_everything_is_shut_down_that_runs_and_what_cannot_be_is_said(place: Place) -> None:
    team, cluster = place.actor.deps.team, place.sandbox.kubernetes
    plain = team.services[QUANTUM].model_copy(update={"chart": None, "deployment": None, "workloads": []})
    services = {
        QUANTUM: plain,  # found by its name, as every other action finds it
        "agent": plain.model_copy(update={"workload": "daemonset/node-agent"}),
        "away": plain.model_copy(update={"workloads": ["not-here-yet"]}),
        AI: team.services[AI],
    }
    release = {"labels": {}, "annotations": {"meta.helm.sh/release-name": AI}}
    found = cluster.store.get(DEPLOYMENT, PROD, AI)
    assert found
    canary = {**deep_copy(found), "metadata": {"name": f"{AI}-canary", "namespace": PROD, **release}}
    cluster.writer.create(DEPLOYMENT, canary)
    agent = {**deep_copy(found), "metadata": {"name": "node-agent", "namespace": PROD}}
    agent["spec"] = {name: agent["spec"][name] for name in ("selector", "template")}
    cluster.writer.create(DAEMON_SET, agent)
    actor = Actor(replace(place.actor.deps, team=team.model_copy(update={"services": services})))
    effects, foreseen = await actor.rehearse("kubernetes.shut_down")
    assert {effect.facts["deployment"] for effect in effects} == {QUANTUM, AI, f"{AI}-canary"}
    done = await actor.perform("kubernetes.shut_down")
    assert done.left == foreseen.left == ["daemonset/node-agent"]
    assert {one.deployment: one.before for one in done.services} == {
        one.deployment: one.before for one in foreseen.services
    }
    for words in actor.deps.words_by_locale.values():
        assert "daemonset/node-agent" in result_sentence("kubernetes.shut_down", {"left": done.left}, words)
    assert await place.kubernetes.workloads.replicas(f"{AI}-canary", PROD) == 0
    with pytest.raises(NotFound):
        await actor.rehearse("kubernetes.shut_down", "R-2/a", services=["away"])


async def test_an_outage_is_said_before_the_pods_are_replaced(place: Place) -> None:
    place.change(QUANTUM, {"strategy": {"type": "Recreate"}})
    changes: dict[str, dict[str, Any]] = {"restart": {}, "set_env": {"variables": {"A": "1"}}}
    for name, given in changes.items():
        (effect,), _ = await place.actor.rehearse(f"kubernetes.{name}", deployment=QUANTUM, **given)
        for words in place.actor.deps.words_by_locale.values():
            assert "⚠" in line(effect, words) and "Recreate" in line(effect, words)


async def test_an_autoscaler_that_allows_none_at_all_is_taken_at_its_word(place: Place) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": QUANTUM}
    spec = {"scaleTargetRef": target, "minReplicas": 0, "maxReplicas": 6}
    metadata = {"name": "queue", "namespace": PROD}
    place.sandbox.kubernetes.store.put(AUTOSCALER, {"metadata": metadata, "spec": spec, "status": {}})
    owner = await place.kubernetes.workloads.autoscaler(QUANTUM, PROD)
    assert owner and (owner.least, owner.most) == (0, 6)
    assert await place.kubernetes.workloads.autoscaler(f"statefulset/{QUANTUM}", PROD) is None, "of another kind"


async def test_a_paused_workload_is_scaled_all_the_same_and_its_status_says_that_it_is_paused(place: Place) -> None:
    found = place.sandbox.kubernetes.store.get(DEPLOYMENT, PROD, QUANTUM)
    assert found
    template = deep_copy(found["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "registry.tamv.world/quantum-processor:v9"
    place.change(QUANTUM, {"paused": True, "template": template})  # a version that waits for somebody to resume it
    done = await place.actor.perform("kubernetes.scale", deployment=QUANTUM, replicas=3)
    assert done.after == 3
    told = await place.actor.perform("kubernetes.rollout_status", deployment=QUANTUM)
    assert f"{QUANTUM}: Paused" in told.why


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("kubernetes.restart", {}),
        ("kubernetes.set_env", {"variables": {"A": "1"}}),
        ("kubernetes.set_node_selector", {"selector": {"a": "1"}}),
        ("kubernetes.rollout_undo", {}),
    ],
)
async def test_a_change_of_a_paused_workload_is_refused_before_anybody_is_asked(
    place: Place, name: str, given: dict[str, Any]
) -> None:
    place.change(QUANTUM, {"paused": True})
    with pytest.raises(WrongState) as refused:
        await place.actor.rehearse(name, deployment=QUANTUM, **given)
    for words in place.actor.deps.words_by_locale.values():
        assert "kubectl -n tamv-prod rollout resume deployment/quantum-processor" in words.error(refused.value)


async def test_a_service_is_found_by_the_workloads_that_the_teams_file_names(place: Place) -> None:
    team = place.actor.deps.team
    shop = team.services[QUANTUM].model_copy(update={"deployment": QUANTUM, "chart": None})
    both = shop.model_copy(update={"deployment": None, "workloads": [QUANTUM, f"deployment/{AI}"]})
    services = {**team.services, "shop": shop, "both": both}
    actor = Actor(replace(place.actor.deps, team=team.model_copy(update={"services": services})))
    (effect,), _ = await actor.rehearse("kubernetes.scale", deployment="shop", replicas=3)
    assert effect.facts["deployment"] == QUANTUM
    pods = await actor.perform("kubernetes.pods", service="both")
    assert {row["name"].rpartition("-")[0].rpartition("-")[0] for row in pods.rows} == {QUANTUM, AI}
    with pytest.raises(BadInput) as several:
        await actor.rehearse("kubernetes.restart", deployment="both")
    assert several.value.facts["workloads"] == [QUANTUM, f"deployment/{AI}"]
    with pytest.raises(NotFound) as missing:
        await actor.rehearse("kubernetes.restart", deployment="statefulset/quantum-processor")
    assert QUANTUM in str(missing.value.facts["known"])
    for protected in ("postgres", "statefulset/postgres", "sts/vault"):
        with pytest.raises(BadInput) as refused:
            await actor.rehearse("kubernetes.scale", deployment=protected, replicas=1)
        assert refused.value.key == "protected_name"
