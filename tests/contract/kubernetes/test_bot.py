"""What the bot itself does to a cluster, by the client that its actions use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.domain.blue_green import Color, Colors
from bot.domain.errors import NotFound, Refused, Unavailable, WrongState
from bot.integrations.helm import Helm
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.messages.translations import load_translations
from sandbox.deadline import deadline
from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment
from tests.real import helm as real

DEADLINE = 20.0  # real seconds


@pytest.fixture
async def bot(cluster: Cluster) -> AsyncIterator[Kubernetes]:
    async with Kubernetes(str(cluster.kubeconfig)) as kubernetes:
        yield kubernetes


async def rolled_out(bot: Kubernetes, cluster: Cluster) -> int:
    """The revision that is out."""
    async with deadline(DEADLINE):
        return (await bot.workloads.wait_until_rolled_out("web", cluster.namespace)).revision


async def test_a_deployment_is_scaled_changed_restarted_and_put_back(cluster: Cluster, bot: Kubernetes) -> None:
    web, where = ("web", cluster.namespace), bot.workloads
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    assert await rolled_out(bot, cluster) == 1
    await where.scale(*web, 3, 2, dry_run=True)
    assert await where.replicas(*web) == 2
    await where.scale(*web, 3, 2)
    await rolled_out(bot, cluster)
    assert (await where.replicas(*web), len(await bot.pods.list(cluster.namespace))) == (3, 3)
    shown = await where.set_env(*web, "app", {"MODE": "loud", "NEW": "1"}, dry_run=True)
    assert shown is not None and "- name: NEW" in shown
    await where.set_env(*web, "app", {"MODE": None, "NEW": "1"})
    assert await where.env(*web) == ("app", {"NEW": "1"})
    assert await rolled_out(bot, cluster) == 2
    await where.restart(*web, datetime(2026, 1, 2, tzinfo=UTC))
    assert await rolled_out(bot, cluster) == 3
    await where.restart(*web, datetime(2026, 1, 2, tzinfo=UTC))
    assert await rolled_out(bot, cluster) == 3, "the same restart again is none"
    await where.rollout_undo(*web, 1)
    assert await rolled_out(bot, cluster) == 4
    assert (await where.env(*web), await where.revisions(*web)) == (("app", {"MODE": "plain"}), [2, 3, 4])
    with pytest.raises(Refused) as refused:
        await where.scale(*web, -1, 3)
    assert "must be greater than or equal to 0" in str(refused.value.facts["why"])


async def test_pods_are_asked_and_run_programs(cluster: Cluster, bot: Kubernetes) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(replicas=1))
    await rolled_out(bot, cluster)
    (found,) = await bot.pods.list(cluster.namespace, "app=web")
    pod = found.name
    logs = await bot.pods.logs([found, replace(found, name="nothing")], cluster.namespace)
    assert {*logs.texts, *logs.silent} == {f"{one}/{name}" for one in (pod, "nothing") for name in ("app", "side")}
    assert all(logs.silent[f"nothing/{name}"] == 'pods "nothing" not found' for name in ("app", "side"))
    written = [part async for part in bot.programs.stream(pod, cluster.namespace, ["echo", "one"], "app")]
    assert b"".join(written) == b"one\n"
    with pytest.raises(Refused) as failed:
        async for _ in bot.programs.stream(pod, cluster.namespace, ["false"], "app"):
            pass
    assert (failed.value.key, failed.value.facts["code"]) == ("program_failed", 1)


async def test_a_job_is_started_once_ends_and_goes_with_its_pods(cluster: Cluster, bot: Kubernetes) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "check", "image": "registry.example/check:1"}]}
    spec = {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}}
    await cluster.batch.create_namespaced_cron_job(cluster.namespace, {"metadata": {"name": "upkeep"}, "spec": spec})
    body = await bot.jobs.of_cron_job("upkeep", cluster.namespace, "check")
    shown = await bot.jobs.start("check", cluster.namespace, body, dry_run=True)
    assert shown is not None and "registry.example/check:1" in shown
    for _ in range(2):
        await bot.jobs.start("check", cluster.namespace, body)
    async with deadline(DEADLINE):
        ended = await bot.jobs.wait_until_ended("check", cluster.namespace)
    assert (ended.ended, ended.succeeded, len(await bot.jobs.pods("check", cluster.namespace))) == (True, 1, 1)
    await bot.jobs.delete("check", cluster.namespace)
    await bot.jobs.delete("check", cluster.namespace)

    async def pods() -> int:
        return len(await bot.jobs.pods("check", cluster.namespace))

    await cluster.until(pods, 0)


async def test_an_object_is_applied_and_put_back_as_it_was(cluster: Cluster, bot: Kubernetes) -> None:
    policy: tuple[str, str, str] = ("networking.k8s.io/v1 NetworkPolicy", "closed", cluster.namespace)
    body: dict[str, Any] = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
    }
    assert await bot.objects.content(*policy) is None
    foreseen = await bot.objects.applied(*policy, body)
    await bot.objects.apply(*policy, body)
    first = await bot.objects.content(*policy)
    assert first == foreseen
    assert first is not None
    await bot.objects.apply(*policy, {**body, "spec": {**body["spec"], "policyTypes": ["Ingress", "Egress"]}})
    assert await bot.objects.content(*policy) != first
    await bot.objects.restore(*policy, first)
    assert await bot.objects.content(*policy) == first
    await bot.objects.delete(*policy)
    await bot.objects.restore(*policy, first)
    assert await bot.objects.content(*policy) == first


async def test_a_drain_waits_for_a_budget_and_says_for_which(cluster: Cluster, bot: Kubernetes) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(replicas=1))
    await rolled_out(bot, cluster)
    budget = {"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
    await cluster.policy.create_namespaced_pod_disruption_budget(cluster.namespace, budget)

    async def healthy() -> int:
        found = await cluster.policy.read_namespaced_pod_disruption_budget("web", cluster.namespace)
        return found.status.current_healthy if found.status else 0

    await cluster.until(healthy, 1)
    (pod,) = (await cluster.main.list_namespaced_pod(cluster.namespace)).items
    node, place = pod.spec.node_name, f"{cluster.namespace}/{pod.metadata.name}"
    await bot.nodes.cordon(node)
    try:
        assert not await bot.nodes.is_schedulable(node)
        with pytest.raises(Unavailable) as waiting:
            await bot.nodes.drain(node, [place], wait=1.0)
        assert "The disruption budget web needs 1 healthy pods" in str(waiting.value.facts["why"])
        await cluster.policy.delete_namespaced_pod_disruption_budget("web", cluster.namespace)
        await bot.nodes.drain(node, [place], wait=DEADLINE)
    finally:
        await bot.nodes.uncordon(node)
    assert await bot.nodes.is_schedulable(node)


async def test_a_missing_right_is_named(cluster: Cluster, bot: Kubernetes) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    bot.cluster.api.set_default_header("Impersonate-User", "somebody")  # type: ignore[no-untyped-call]
    with pytest.raises(Refused) as forbidden:
        await bot.workloads.scale("web", cluster.namespace, 5, 2)
    facts = forbidden.value.facts
    assert (facts["verb"], facts["resource"]) == ("patch", "deployments/scale")
    assert facts["namespace"] == cluster.namespace


@pytest.mark.parametrize(
    ("text", "fault", "said"),
    [
        (None, "missing", "no existe ese archivo"),
        ("clusters: {", "no_kubeconfig", "no es un kubeconfig"),
        ("a line of text", "no_kubeconfig", "no es un kubeconfig"),
        ("clusters: []\ncontexts: []", "no_context", "kubectl config use-context"),
    ],
)
async def test_a_cluster_is_opened_by_the_first_call_and_a_wrong_file_is_one_line(
    tmp_path: Path, text: str | None, fault: str, said: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    words = load_translations(only=("es",))["es"]
    for given, named in ((path, fault), (tmp_path, "folder")):
        async with Kubernetes(str(given)) as kubernetes:
            with pytest.raises(Refused) as refused:
                await kubernetes.cluster.check()
        assert (refused.value.key, refused.value.facts["fault"]) == ("kubeconfig_wrong", named)
        assert "\n" not in words.error(refused.value) and "Errno" not in words.error(refused.value)
        assert named != fault or said in words.error(refused.value)


async def test_several_files_are_read_as_kubectl_joins_them(cluster: Cluster, tmp_path: Path) -> None:
    joined = f"{tmp_path}/nothing{os.pathsep}{cluster.kubeconfig}"
    async with Kubernetes(joined) as kubernetes:
        assert await kubernetes.cluster.check()
    helm = Helm(joined, str(await asyncio.to_thread(real.helm)))
    with pytest.raises(NotFound):  # Helm reached the cluster and found no such release
        await helm.history("nothing", cluster.namespace)


async def test_an_expired_token_is_read_again(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    good = cluster.kubeconfig.read_text()
    content = yaml.safe_load(good)
    for user in content["users"]:
        user["user"] = {"token": "expired"}
    path.write_text(yaml.safe_dump(content))
    async with Kubernetes(str(path)) as kubernetes:
        await kubernetes.cluster.open()
        path.write_text(good)
        assert await kubernetes.pods.list(cluster.namespace) == []


async def test_two_colours_stand_behind_one_service(cluster: Cluster, bot: Kubernetes) -> None:
    where, colors = cluster.namespace, bot.second_colors
    await cluster.apps.create_namespaced_deployment(where, deployment())
    await rolled_out(bot, cluster)
    with pytest.raises(WrongState) as nothing:
        await colors.read("web", where)
    assert (nothing.value.key, nothing.value.facts["services"]) == ("not_one_service", [])
    service = {"metadata": {"name": "front"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
    await cluster.main.create_namespaced_service(where, service)
    pair = await colors.read("web", where)
    assert (pair.service, pair.second, pair.colors) == ("front", "web-green", Colors("1"))

    shown = await colors.create(pair.second, where, "2", pair, dry_run=True)
    assert shown is not None and "+    app: web-green" in shown
    assert (await colors.read("web", where)).colors.second is None, "a dry run creates nothing"
    for _ in range(2):
        await colors.create(pair.second, where, "2", pair)
    with pytest.raises(WrongState):
        await colors.create(pair.second, where, "3", pair)
    async with deadline(DEADLINE):
        await bot.workloads.wait_until_rolled_out("web-green", where)
    assert {pod.tag for pod in await bot.pods.list(where, "app=web-green")} == {"2"}
    assert {pod.tag for pod in await bot.pods.list(where, "app=web")} == {"1"}, (
        "the first one's selector has only its own"
    )

    shown = await colors.switch("front", where, pair.value_of(Color.SECOND), pair, dry_run=True)
    assert shown is not None and "+    app: web-green" in shown
    await colors.switch("front", where, pair.value_of(Color.SECOND), pair)
    pair = await colors.read("web", where)
    assert pair.colors == Colors("1", "2", Color.SECOND)
    shown = await colors.set_tag("web", where, "2", pair, dry_run=True)
    assert shown is not None and "registry.example/web:2" in shown
    await colors.set_tag("web", where, "2", pair)
    assert await rolled_out(bot, cluster) == 2
    await colors.switch("front", where, pair.value_of(Color.FIRST), pair)
    for _ in range(2):
        await colors.delete(pair.second, where)
    assert (await colors.read("web", where)).colors == Colors("2")
    assert (await cluster.main.read_namespaced_service("front", where)).spec.selector == {"app": "web"}


async def test_whose_fields_an_apply_takes_and_which_api_is_missing_is_known(cluster: Cluster, bot: Kubernetes) -> None:
    where, kind = cluster.namespace, "networking.k8s.io/v1 NetworkPolicy"
    body: dict[str, Any] = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }  # fmt: skip
    theirs = {**body, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    place = f"/apis/networking.k8s.io/v1/namespaces/{where}/networkpolicies"
    await cluster.ask("POST", place, {"fieldManager": "kubectl-create"}, theirs)
    assert await bot.objects.contested(kind, "closed", where, body) == [".spec.policyTypes (kubectl-create)"]
    with pytest.raises(NotFound) as absent:
        await bot.external_secrets.sync_status("nothing", where)
    has_operator = absent.value.key == "kubernetes_not_found"  # the sandbox has External Secrets
    assert has_operator is ("https:" not in cluster.kubeconfig.read_text())


async def test_a_finalizer_holds_a_drain_and_is_named(cluster: Cluster, bot: Kubernetes) -> None:
    made = deployment(replicas=1)
    made["spec"]["template"]["metadata"]["finalizers"] = ["example.com/backup"]
    await cluster.apps.create_namespaced_deployment(cluster.namespace, made)
    await rolled_out(bot, cluster)
    (pod,) = (await cluster.main.list_namespaced_pod(cluster.namespace)).items
    name, free = pod.metadata.name, [{"op": "remove", "path": "/metadata/finalizers"}]
    try:
        with pytest.raises(Unavailable) as held:
            await bot.nodes.drain(pod.spec.node_name, [f"{cluster.namespace}/{name}"], wait=4.0)
        assert "Terminating, finalizers: example.com/backup" in str(held.value.facts["why"])
    finally:
        await cluster.apps.delete_namespaced_deployment("web", cluster.namespace)
        for one in (await cluster.main.list_namespaced_pod(cluster.namespace)).items:
            await cluster.main.patch_namespaced_pod(one.metadata.name, cluster.namespace, free)
