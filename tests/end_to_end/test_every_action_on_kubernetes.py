"""The examples of docs/actions.md that concern Kubernetes and Helm, typed in Slack, approved by others and played to
their end on a real control plane with real Helm: what they say, and what the cluster shows afterwards.

One cluster, in the order of a story. The other services are the sandbox's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml
from kubernetes.aio import client, config

from bot.actions.catalogue import ACTIONS
from tests.harness.examples import NAMESPACE, XR, came_about, played, pods, prepared
from tests.harness.play import FAST, Play, playing
from tests.real import litmus
from tests.real.company import NODE_TYPES, furnish
from tests.real.kubernetes import kubernetes
from tests.real.parts import require

pytestmark = pytest.mark.real("kubernetes")

ORDER = [
    "litmus.run",
    *(f"kubernetes.{name}" for name in ("apply", "delete", "describe", "events", "logs", "exec", "pods")),
    *(f"kubernetes.{name}" for name in ("rollout_status", "restart", "rollout_undo", "set_env")),
    *(f"kubernetes.{name}" for name in ("cordon", "uncordon", "drain", "set_node_selector")),
    *(f"kubernetes.{name}" for name in ("run_job", "run_batches")),
    *(f"helm.{name}" for name in ("history", "status", "canary", "promote", "rollback")),
    *(f"bluegreen.{name}" for name in ("start", "switch", "finish")),
    *("helm.upgrade", "kubernetes.scale", "kubernetes.shut_down"),
]
IN_CLUSTER = ("argocd", "bluegreen", "helm", "kubernetes", "litmus")
LEFT_OUT = {
    "argocd.pause_sync": "Argo CD is not there",
    "bluegreen.check": "asks the pods by HTTP, and those of fakelet have no network",
    "kubernetes.curl": "asks a pod by HTTP, and those of fakelet have no network",
    "kubernetes.exec_dump": "fakelet runs programs on this machine, which has no database of TAMV's",
    "kubernetes.refresh_external_secret": "the operator External Secrets is not there",
    "kubernetes.top_nodes": "metrics-server asks kubelets what they measure, and fakelet measures nothing",
    "kubernetes.top_pods": "metrics-server asks kubelets what they measure, and fakelet measures nothing",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    """A bot whose cluster is the real one, with TAMV's production in it."""
    require("kubernetes")
    folder = tmp_path_factory.mktemp("every-real")
    with kubernetes(nodes=len(NODE_TYPES)) as made:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(made.read_text())
        configuration = client.Configuration()
        await config.load_kube_config_from_dict(  # type: ignore[no-untyped-call]
            yaml.safe_load(kubeconfig.read_text()), client_configuration=configuration
        )
        async with client.ApiClient(configuration) as api:
            await litmus.install(api)
            await asyncio.to_thread(furnish, kubeconfig, folder / "installed")
            async with litmus.operator(api, NAMESPACE, FAST), playing(folder, kubeconfig=str(kubeconfig)) as play:
                yield play


def test_each_action_of_the_cluster_is_played_or_says_why_not() -> None:
    concerned = {action.name for action in ACTIONS.all() if action.name.partition(".")[0] in IN_CLUSTER}
    assert {*ORDER, *LEFT_OUT} == concerned and not {*ORDER} & LEFT_OUT.keys()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ORDER)
async def test_every_example_does_on_a_real_cluster_what_it_says(stage: Play, name: str) -> None:
    if name == "helm.promote":  # which wants the canary watched; Prometheus is the sandbox's and knows no pod of it
        await played(stage, "/ops prometheus.watch 15m service=xr-engine", in_incident=False)
    line = await prepared(stage, ACTIONS.get(name))
    if "gpu-node-2" in line:  # fakelet names its nodes otherwise; one that has something to evict
        line = line.replace("gpu-node-2", min(pod["spec"]["nodeName"] for pod in await pods(stage, f"app%3D{XR}")))
    await came_about(stage, line, await played(stage, line, in_incident=False))
