"""Workloads of any kind, by the verbs that the actions use: found, changed, waited for, read as kubectl reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes.aio import client

from bot.domain.errors import BadInput, NotFound, Unavailable, WrongState
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.integrations.kubernetes.status import Obstacle, Rollout
from sandbox.deadline import deadline
from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment

DEADLINE = 30.0  # real seconds


@pytest.fixture
async def bot(cluster: Cluster) -> AsyncIterator[Kubernetes]:
    async with Kubernetes(str(cluster.kubeconfig)) as kubernetes:
        yield kubernetes


def stateful_set(name: str = "ledger", replicas: int = 2, **spec: Any) -> dict[str, Any]:
    """The pods carry the labels that Helm's own charts use, not `app`."""
    made = deployment(name, replicas)
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "prod"}
    made["spec"]["selector"] = {"matchLabels": labels}
    made["spec"]["template"]["metadata"]["labels"] = labels
    made["kind"] = "StatefulSet"
    made["spec"] |= {"serviceName": name, **spec}
    return made


def daemon_set(name: str = "agent") -> dict[str, Any]:
    made = deployment(name)
    made["kind"] = "DaemonSet"
    del made["spec"]["replicas"]
    return made


async def rolled_out(bot: Kubernetes, reference: str, namespace: str) -> Rollout:
    async with deadline(DEADLINE):
        return await bot.workloads.wait_until_rolled_out(reference, namespace)


async def test_a_stateful_set_is_found_scaled_changed_restarted_and_put_back(cluster: Cluster, bot: Kubernetes) -> None:
    where, workloads = cluster.namespace, bot.workloads
    await cluster.apps.create_namespaced_stateful_set(where, stateful_set())
    reference = await workloads.find("ledger", where)
    assert reference == await workloads.find("sts/ledger", where) == "statefulset/ledger"
    assert (await rolled_out(bot, reference, where)).wanted == 2
    await workloads.scale(reference, where, 3, 2)
    assert (await rolled_out(bot, reference, where)).available == 3
    selector = await workloads.selector(reference, where)
    assert {pod.name for pod in await bot.pods.list(where, selector)} == {"ledger-0", "ledger-1", "ledger-2"}
    before = await workloads.revision(reference, where)
    shown = await workloads.set_env(reference, where, "app", {"MODE": "loud"}, dry_run=True)
    assert shown is not None and "+          value: loud" in shown
    await workloads.set_env(reference, where, "app", {"MODE": "loud"})
    await rolled_out(bot, reference, where)
    await workloads.restart(reference, where, datetime(2026, 1, 2, tzinfo=UTC))
    await rolled_out(bot, reference, where)
    assert await workloads.revision(reference, where) == before + 2
    await workloads.rollout_undo(reference, where, before)
    await rolled_out(bot, reference, where)
    assert (await workloads.env(reference, where))[1] == {"MODE": "plain"}


async def test_a_daemon_set_is_restarted_and_never_scaled(cluster: Cluster, bot: Kubernetes) -> None:
    where, workloads = cluster.namespace, bot.workloads
    await cluster.apps.create_namespaced_daemon_set(where, daemon_set())
    assert await workloads.find("agent", where) == "daemonset/agent"
    first = await rolled_out(bot, "daemonset/agent", where)
    assert first.wanted == first.available > 0
    await workloads.restart("daemonset/agent", where, datetime(2026, 1, 2, tzinfo=UTC))
    await rolled_out(bot, "daemonset/agent", where)
    with pytest.raises(BadInput) as refused:
        await workloads.scale("daemonset/agent", where, 3, 1)
    assert refused.value.key == "daemonset_not_scaled"


async def test_a_workload_that_is_not_there_names_those_that_are(cluster: Cluster, bot: Kubernetes) -> None:
    where = cluster.namespace
    await cluster.apps.create_namespaced_deployment(where, deployment("shop-web", 1))
    await cluster.apps.create_namespaced_stateful_set(where, stateful_set())
    with pytest.raises(NotFound) as missing:
        await bot.workloads.find("shop-wbe", where)
    facts = missing.value.facts
    assert (facts["known"], facts["nearest"]) == (["shop-web", "statefulset/ledger"], "shop-web")
    with pytest.raises(BadInput) as unknown:
        await bot.workloads.find("statefulst/ledger", where)
    assert unknown.value.facts["nearest"] == "statefulset"


async def test_what_stands_in_the_way_is_seen_at_once_and_what_is_permanent_ends_the_wait(
    cluster: Cluster, bot: Kubernetes
) -> None:
    where = cluster.namespace
    await cluster.apps.create_namespaced_deployment(where, deployment(replicas=1))
    await rolled_out(bot, "web", where)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "registry.example/web:broken"}]}}}}
    await cluster.apps.patch_namespaced_deployment("web", where, patch)
    seen: list[str] = []

    async def tell(rollout: Rollout, obstacles: Sequence[Obstacle]) -> None:
        seen.extend(str(obstacle) for obstacle in obstacles)

    with pytest.raises(WrongState) as blocked:
        async with deadline(DEADLINE):
            await bot.workloads.wait_until_rolled_out("web", where, tell)
    assert blocked.value.key in ("rollout_blocked", "rollout_stuck")  # the sandbox's deadline passes in six seconds
    assert "ImagePullBackOff" in str(blocked.value.facts["why"])
    assert any("/app: " in line for line in seen)
    troubled = [pod for pod in await bot.pods.list(where, "app=web") if pod.is_troubled]
    assert [pod.phase for pod in troubled] == ["ImagePullBackOff"]
    lines = await bot.descriptions.describe("web", where)
    assert ("pod", "ImagePullBackOff") in {(line.part, line.state) for line in lines}


async def test_a_paused_deployment_says_so(cluster: Cluster, bot: Kubernetes) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(paused=True))

    async def paused() -> bool:
        return (await bot.workloads.rollout("web", cluster.namespace)).paused

    await cluster.until(paused, True)


async def test_lists_are_read_to_their_end(cluster: Cluster, bot: Kubernetes) -> None:
    bot.cluster.page_size = 2
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(replicas=5))
    await rolled_out(bot, "web", cluster.namespace)
    assert len(await bot.pods.list(cluster.namespace)) == 5


@pytest.mark.parametrize(
    ("marks", "kind", "name"),
    [
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "argocd", "shop"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/web"}}, "argocd", "shop"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "flux", "apps"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, "helm", "shop"),
    ],
)
async def test_who_else_owns_a_workload_is_read_from_its_marks(
    cluster: Cluster, bot: Kubernetes, marks: dict[str, Any], kind: str, name: str
) -> None:
    made = deployment(replicas=1)
    made["metadata"] |= marks
    await cluster.apps.create_namespaced_deployment(cluster.namespace, made)
    assert [(owner.kind, owner.name) for owner in await bot.workloads.owners("web", cluster.namespace)] == [
        (kind, name)
    ]


async def test_an_autoscaler_is_known_with_its_limits(cluster: Cluster, bot: Kubernetes) -> None:
    where = cluster.namespace
    await cluster.apps.create_namespaced_deployment(where, deployment(replicas=2))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": 2,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": resource}],
    }
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": spec,
    }
    await cluster.custom.create_namespaced_custom_object("autoscaling", "v2", where, "horizontalpodautoscalers", body)
    owner = await bot.workloads.autoscaler("web", where)
    assert owner and (owner.kind, owner.name, owner.least, owner.most) == ("hpa", "web", 2, 5)


async def test_the_room_in_a_quota_is_known(cluster: Cluster, bot: Kubernetes) -> None:
    where, made = cluster.namespace, deployment(replicas=2)
    first, second = made["spec"]["template"]["spec"]["containers"]
    first["resources"] = {"requests": {"cpu": "250m"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    second["resources"] = {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    quotas = {"cpu": {"requests.cpu": "2500m", "pods": "9"}, "memory": {"limits.memory": "11Gi", "services": "3"}}
    for name, hard in quotas.items():
        await cluster.main.create_namespaced_resource_quota(where, {"metadata": {"name": name}, "spec": {"hard": hard}})
    await cluster.apps.create_namespaced_deployment(where, made)
    await rolled_out(bot, "web", where)

    async def room() -> tuple[str, str, int]:
        found = await bot.quotas.room("web", where)
        return (found.quota, found.resource, found.pods) if found else ("", "", -1)

    await cluster.until(room, ("cpu", "requests.cpu", 3))
    await cluster.main.delete_namespaced_resource_quota("cpu", where)
    assert await room() == ("memory", "limits.memory", 3)
    await cluster.main.delete_namespaced_resource_quota("memory", where)
    assert await bot.quotas.room("web", where) is None


async def test_a_pod_is_ready_by_its_condition_and_not_by_its_containers(cluster: Cluster, bot: Kubernetes) -> None:
    where = cluster.namespace
    await cluster.apps.create_namespaced_deployment(where, deployment(replicas=1))
    await rolled_out(bot, "web", where)
    (pod,) = await bot.pods.list(where)
    assert (pod.ready, pod.is_ready, pod.why) == ("2/2", True, "")
    gate = 'the status of pod readiness gate "example.com/in-balancer" is not "True", but False'
    ready = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": gate}
    await cluster.main.patch_namespaced_pod_status(pod.name, where, {"status": {"conditions": [ready]}})
    (pod,) = await bot.pods.list(where)
    assert (pod.ready, pod.is_ready, pod.phase, pod.why) == ("2/2", False, "Running", gate)
    assert [one.reason for one in await bot.workloads.obstacles("web", where)] == ["ReadinessGatesNotReady"]


async def test_a_cron_job_in_a_time_zone_that_nobody_knows_is_refused(cluster: Cluster, bot: Kubernetes) -> None:
    where, pod = cluster.namespace, {"restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "a:1"}]}

    def body(zone: str) -> dict[str, Any]:
        template = {"spec": {"template": {"spec": pod}}}
        spec = {"schedule": "0 3 * * *", "timeZone": zone, "jobTemplate": template}
        return {"metadata": {"name": "nightly"}, "spec": spec}

    with pytest.raises(client.ApiException) as refused:
        await cluster.batch.create_namespaced_cron_job(where, body("America/Nowhere"))
    assert refused.value.status == 422
    assert 'spec.timeZone: Invalid value: "America/Nowhere": unknown time zone' in str(refused.value.body).replace(
        "\\", ""
    )
    await cluster.batch.create_namespaced_cron_job(where, body("America/Mexico_City"))
    found = await bot.jobs.timetable("nightly", where)
    assert (found.schedule, found.zone, found.suspended, found.running) == (
        "0 3 * * *",
        "America/Mexico_City",
        False,
        [],
    )


async def test_a_drain_evicts_all_at_once_and_knows_a_pod_by_its_uid(cluster: Cluster, bot: Kubernetes) -> None:
    where, nodes = cluster.namespace, bot.nodes
    await cluster.apps.create_namespaced_stateful_set(where, stateful_set(replicas=1))
    await cluster.apps.create_namespaced_deployment(where, deployment(replicas=3))
    await rolled_out(bot, "statefulset/ledger", where)
    await rolled_out(bot, "web", where)
    await cluster.main.create_namespaced_pod(
        where, {"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "a", "image": "registry.example/a:1"}]}}
    )
    budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}}
    await cluster.policy.create_namespaced_pod_disruption_budget(where, budget)
    pods = {pod.name: pod for pod in await bot.pods.list(where)}
    ledger = pods["ledger-0"]
    on_node = [pod for pod in await nodes.pods(str(ledger.node)) if pod.namespace == where]
    assert {pod.name: pod.bare for pod in on_node}["ledger-0"] is False
    everywhere = [pod for pod in pods.values() if pod.name != "bare"]
    order = sorted((f"{where}/{pod.name}" for pod in everywhere), reverse=True)  # those that wait come first
    uids = {f"{where}/{pod.name}": pod.uid for pod in everywhere}

    async def blocked() -> bool:
        shown = await nodes.drain(str(ledger.node), order, 1.0, uids, dry_run=True)
        return str(shown).count("!  ") == 3

    await cluster.until(blocked, True)
    with pytest.raises(Unavailable) as waiting:
        await nodes.drain(str(ledger.node), order, 3.0, uids)
    assert "ledger" not in str(waiting.value.facts["why"]) and "web" in str(waiting.value.facts["why"])

    async def replaced() -> bool:
        return any(pod.name == "ledger-0" and pod.uid != ledger.uid for pod in await bot.pods.list(where))

    await cluster.until(replaced, True)


ON_A_REAL_ONE = pytest.mark.parametrize(
    "kubeconfig", [pytest.param("real", marks=pytest.mark.real("kubernetes"))], indirect=True
)


@ON_A_REAL_ONE
async def test_a_quota_that_refuses_the_pods_is_said_at_once(cluster: Cluster, bot: Kubernetes) -> None:
    where = cluster.namespace
    await cluster.main.create_namespaced_resource_quota(
        where, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
    )
    for reference, create, made in (
        ("web", cluster.apps.create_namespaced_deployment, deployment(replicas=1)),
        ("statefulset/ledger", cluster.apps.create_namespaced_stateful_set, stateful_set(replicas=1)),
    ):
        await create(where, made)
        if reference == "web":
            await rolled_out(bot, reference, where)
            await bot.workloads.scale(reference, where, 3, 1)
        with pytest.raises(WrongState) as blocked:
            await rolled_out(bot, reference, where)
        assert (blocked.value.key, "exceeded quota" in str(blocked.value.facts["why"])) == ("rollout_blocked", True)


@ON_A_REAL_ONE
async def test_pod_security_that_refuses_the_pods_is_said_at_once(cluster: Cluster, bot: Kubernetes) -> None:
    where = cluster.namespace
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.main.patch_namespace(where, {"metadata": {"labels": labels}})
    await cluster.apps.create_namespaced_deployment(where, deployment(replicas=1))
    with pytest.raises(WrongState) as blocked:
        await rolled_out(bot, "web", where)
    assert "PodSecurity" in str(blocked.value.facts["why"])


@ON_A_REAL_ONE
async def test_a_job_that_cleans_itself_up_has_succeeded(cluster: Cluster, bot: Kubernetes) -> None:
    containers = [{"name": name, "image": f"registry.example/{name}:1"} for name in ("check", "proxy")]
    pod = {"restartPolicy": "Never", "containers": containers}
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": 0, "template": {"spec": pod}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "check"}, "spec": spec}
    await bot.jobs.start("check", cluster.namespace, body)
    async with deadline(DEADLINE):
        ended = await bot.jobs.wait_until_ended("check", cluster.namespace)
    assert ended.ended and (await bot.jobs.state("check", cluster.namespace)).ended
    pods = await bot.pods.list(cluster.namespace, "job-name=check")
    logs = await bot.pods.logs(pods, cluster.namespace)
    assert {*logs.texts, *logs.silent} == {f"{pods[0].name}/{name}" for name in ("check", "proxy")}
