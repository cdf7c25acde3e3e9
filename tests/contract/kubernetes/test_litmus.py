"""Litmus: what the bot asks for is taken by both clusters, and what it reads is what an operator says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.chaos import Outcome, engine, probes, read_engine, read_result
from bot.domain.errors import NotFound, Refused
from bot.domain.snapshot import Direction, MetricDefinition
from bot.integrations.kubernetes.kubernetes import Kubernetes
from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment
from tests.real import litmus

P95 = (MetricDefinition("latency_p95", {}, "ms", 500, Direction.ABOVE), "vector(1)")
AIM: dict[str, Any] = {"experiment": "pod-delete", "label": "app=web", "pods": [], "affected": 1}


@pytest.fixture
async def bot(cluster: Cluster, request: pytest.FixtureRequest, sandbox_kubeconfig: Path) -> AsyncIterator[Kubernetes]:
    """The bot's client of a cluster with two pods, where Litmus is installed with pod-delete."""
    is_real = cluster.kubeconfig != sandbox_kubeconfig
    async with Kubernetes(str(cluster.kubeconfig)) as kubernetes, contextlib.AsyncExitStack() as stack:
        if is_real:
            if await kubernetes.chaos.missing_definitions():
                await litmus.install(cluster.api)
            await stack.enter_async_context(litmus.operator(cluster.api, cluster.namespace))
        assert await kubernetes.chaos.missing_definitions() == []
        metadata = {"name": "pod-delete"}
        experiment = {"apiVersion": "litmuschaos.io/v1alpha1", "kind": "ChaosExperiment", "metadata": metadata}
        definition = {"spec": {"definition": {"scope": "Namespaced", "image": "x", "args": [], "command": []}}}
        await cluster.custom.create_namespaced_custom_object(
            "litmuschaos.io", "v1alpha1", cluster.namespace, "chaosexperiments", experiment | definition
        )
        await cluster.main.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "litmus"}})
        await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
        await kubernetes.workloads.wait_until_rolled_out("web", cluster.namespace)
        yield kubernetes


def body(name: str, namespace: str, seconds: int) -> dict[str, Any]:
    environment = [{"name": "TOTAL_CHAOS_DURATION", "value": str(seconds)}]
    experiment = {"name": "pod-delete", "spec": {"components": {"env": environment}}}
    given = {"appinfo": {"applabel": "app=web"}, "chaosServiceAccount": "litmus", "experiments": [experiment]}
    api = {"apiVersion": "litmuschaos.io/v1alpha1", "kind": "ChaosEngine"}
    manifest = {**api, "metadata": {"name": "web"}, "spec": given}
    read_engine("web.yaml", manifest)
    return engine(manifest, name, namespace, "deployment", probes([P95], "http://prometheus:9090"))


async def test_an_experiment_is_shown_begun_once_and_its_verdict_read(cluster: Cluster, bot: Kubernetes) -> None:
    where, made = cluster.namespace, body("web-1", cluster.namespace, 1)
    await bot.chaos.require("pod-delete", "litmus", where)
    with pytest.raises(NotFound) as unknown:
        await bot.chaos.require("pod-delete", "nobody", where)
    assert unknown.value.key == "no_chaos_account"
    with pytest.raises(NotFound) as unknown:
        await bot.chaos.require("pod-delte", "litmus", where)
    assert (unknown.value.key, unknown.value.facts["nearest"]) == ("no_experiment", "pod-delete")
    before = {pod.name for pod in await bot.pods.list(where, "app=web")}
    shown = await bot.chaos.start("web-1", where, made, AIM, dry_run=True)
    assert shown and "promProbe/inputs" in shown and await bot.chaos.state("web-1", where) is None
    for _ in range(2):
        await bot.chaos.start("web-1", where, made, AIM)

    async def outcome() -> Outcome:
        return read_result(await bot.chaos.result("web-1", "pod-delete", where), []).outcome

    await cluster.until(outcome, Outcome.HELD)

    async def state() -> str:
        return await bot.chaos.state("web-1", where) or ""

    await cluster.until(state, "completed")
    assert before - {pod.name for pod in await bot.pods.list(where, "app=web")}, "a pod was really deleted"


async def test_an_experiment_is_stopped(cluster: Cluster, bot: Kubernetes) -> None:
    where = cluster.namespace
    await bot.chaos.stop("web-2", where)  # which is not there
    await bot.chaos.start("web-2", where, body("web-2", where, 10_000), AIM)

    async def begun() -> bool:
        return await bot.chaos.result("web-2", "pod-delete", where) is not None

    await cluster.until(begun, True)
    await bot.chaos.stop("web-2", where, dry_run=True)
    assert await bot.chaos.state("web-2", where) == "initialized"
    await bot.chaos.stop("web-2", where)

    async def stopped() -> tuple[str, Outcome]:
        result = read_result(await bot.chaos.result("web-2", "pod-delete", where), [])
        return await bot.chaos.state("web-2", where) or "", result.outcome

    await cluster.until(stopped, ("stopped", Outcome.STOPPED))


async def test_an_engine_that_the_definitions_do_not_allow_is_refused(cluster: Cluster, bot: Kubernetes) -> None:
    wrong = body("web-3", cluster.namespace, 1)
    wrong["spec"]["engineState"] = "perhaps"
    with pytest.raises(Refused) as refused:
        await bot.chaos.start("web-3", cluster.namespace, wrong, AIM)
    assert "engineState" in str(refused.value.facts["why"])
