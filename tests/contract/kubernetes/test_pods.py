"""What is asked of pods: logs, programs, eviction; and jobs, budgets and kinds that somebody has defined."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from kubernetes.aio import client
from kubernetes.aio.stream import WsApiClient

from demo.bot_process import free_port
from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment, rolled_out


async def standing(cluster: Cluster, **spec: Any) -> list[str]:
    """The names of the pods of a deployment that is up."""
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(**spec))
    await rolled_out(cluster)
    return [pod.metadata.name for pod in (await cluster.main.list_namespaced_pod(cluster.namespace)).items]


async def test_a_log_needs_a_container_that_is_there(cluster: Cluster) -> None:
    pod, *_ = await standing(cluster)
    assert isinstance(await cluster.main.read_namespaced_pod_log(pod, cluster.namespace, container="app"), str)
    with pytest.raises(client.ApiException) as refused:
        await cluster.main.read_namespaced_pod_log(pod, cluster.namespace)
    assert refused.value.status == 400
    assert "choose one of: [app side]" in str(refused.value.body)
    with pytest.raises(client.ApiException) as refused:
        await cluster.main.read_namespaced_pod_log(pod, cluster.namespace, container="app", previous=True)
    assert "previous terminated container" in str(refused.value.body)


async def test_a_program_needs_a_container_where_there_are_several(cluster: Cluster) -> None:
    pod, *_ = await standing(cluster)
    code, status, _ = await cluster.ask("GET", f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/exec?command=true")
    assert code == 400 and "choose one of: [app side]" in status["message"]


@pytest.mark.parametrize("scheme", ["", "https:"])
async def test_a_port_that_nobody_listens_at_is_an_error_of_the_api_servers(cluster: Cluster, scheme: str) -> None:
    pod, *_ = await standing(cluster)
    api: Any = cluster.api
    body = api.sanitize_for_serialization(await cluster.main.read_namespaced_pod(pod, cluster.namespace))
    address = own_address()
    body["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}
    await cluster.main.replace_namespaced_pod_status(pod, cluster.namespace, body)
    port = free_port()
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{scheme}{pod}:{port}/proxy/health"
    code, status, _ = await cluster.ask("GET", path)
    assert (code, status["kind"], status["reason"]) == (503, "Status", "ServiceUnavailable")
    refused = f"error trying to reach service: dial tcp {address}:{port}: connect: connection refused"
    assert status["message"] == refused
    code, status, _ = await cluster.ask("GET", path.replace(pod, "nobody"))
    assert (code, status["message"]) == (404, 'pods "nobody" not found')


def own_address() -> str:
    """This machine's address in its network: an API server reaches no pod on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nowhere:
        nowhere.connect(("192.0.2.1", 9))  # nothing is sent
        return str(nowhere.getsockname()[0])


async def test_a_budget_stops_an_eviction_with_the_reason(cluster: Cluster) -> None:
    pods = await standing(cluster, replicas=2)
    budget = {"metadata": {"name": "web"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}}
    await cluster.policy.create_namespaced_pod_disruption_budget(cluster.namespace, budget)

    async def allowed() -> tuple[int, int]:
        found = await cluster.policy.read_namespaced_pod_disruption_budget("web", cluster.namespace)
        status = found.status
        return (status.current_healthy, status.disruptions_allowed) if status else (0, 0)

    await cluster.until(allowed, (2, 0))
    eviction = {"metadata": {"name": pods[0], "namespace": cluster.namespace}}
    with pytest.raises(client.ApiException) as refused:
        await cluster.main.create_namespaced_pod_eviction(pods[0], cluster.namespace, eviction)
    status = json.loads(str(refused.value.body))
    assert (refused.value.status, status["reason"]) == (429, "TooManyRequests")
    assert status["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert status["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget web needs 2 healthy pods and has 2 currently",
        }
    ]
    change = {"spec": {"minAvailable": 1}}
    await cluster.policy.patch_namespaced_pod_disruption_budget("web", cluster.namespace, change)
    await cluster.until(allowed, (2, 1))
    await cluster.main.create_namespaced_pod_eviction(pods[0], cluster.namespace, eviction, dry_run="All")
    await cluster.main.create_namespaced_pod_eviction(pods[0], cluster.namespace, eviction)
    await rolled_out(cluster)
    left = (await cluster.main.list_namespaced_pod(cluster.namespace)).items
    assert pods[0] not in {pod.metadata.name for pod in left if pod.metadata.deletion_timestamp is None}


async def test_a_program_in_a_pod_says_how_it_ended(cluster: Cluster) -> None:
    pod, *_ = await standing(cluster)
    async with WsApiClient(cluster.api.configuration) as sockets:  # type: ignore[no-untyped-call]
        main: Any = client.CoreV1Api(sockets)
        how = {"container": "app", "stdout": True, "stderr": True, "stdin": False, "tty": False}
        said = await main.connect_get_namespaced_pod_exec(pod, cluster.namespace, command=["echo", "one"], **how)
        assert said == "one\n"
        failing = await main.connect_get_namespaced_pod_exec_without_preload_content(
            pod, cluster.namespace, command=["false"], **how
        )
        async with failing as socket:
            ended = [message.data[1:] async for message in socket if message.data[0] == 3]
    status = json.loads(ended[0])
    assert (status["reason"], status["details"]["causes"]) == (
        "NonZeroExitCode",
        [{"reason": "ExitCode", "message": "1"}],
    )


def job(image: str, **spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": image}]}
    return {"metadata": {"name": "work"}, "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec}}


async def test_a_job_runs_to_its_end(cluster: Cluster) -> None:
    await cluster.batch.create_namespaced_job(cluster.namespace, job("registry.example/work:1"))

    async def ended() -> list[str]:
        found = await cluster.batch.read_namespaced_job("work", cluster.namespace)
        return [one.type for one in found.status.conditions or [] if one.status == "True"]

    await cluster.until(ended, ["SuccessCriteriaMet", "Complete"])
    found = await cluster.batch.read_namespaced_job("work", cluster.namespace)
    assert (found.status.succeeded, found.status.failed) == (1, None)
    assert found.status.completion_time is not None
    pods = (await cluster.main.list_namespaced_pod(cluster.namespace, label_selector="job-name=work")).items
    assert [pod.status.phase for pod in pods] == ["Succeeded"]
    await cluster.batch.delete_namespaced_job("work", cluster.namespace, propagation_policy="Background")

    async def left() -> int:
        return len((await cluster.main.list_namespaced_pod(cluster.namespace)).items)

    await cluster.until(left, 0)


async def test_a_kind_that_somebody_has_defined_is_served(cluster: Cluster) -> None:
    group = f"{cluster.namespace}.example.org"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    extensions: Any = client.ApiextensionsV1Api(cluster.api)
    await extensions.create_custom_resource_definition(definition)
    where = (group, "v1", cluster.namespace, "widgets")
    try:

        async def served() -> bool:
            found = await extensions.read_custom_resource_definition(f"widgets.{group}")
            return any(one.type == "Established" and one.status == "True" for one in found.status.conditions or [])

        await cluster.until(served, True)
        body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 1}}
        await cluster.custom.create_namespaced_custom_object(*where, body)
        change = {"metadata": {"annotations": {"force-sync": "1"}}, "spec": {"size": 2}}
        changed = await cluster.custom.patch_namespaced_custom_object(
            *where, "one", change, _content_type="application/merge-patch+json"
        )
        assert (changed["spec"], changed["metadata"]["annotations"]) == ({"size": 2}, {"force-sync": "1"})
        assert changed["metadata"]["generation"] == 2
        with pytest.raises(client.ApiException) as refused:
            await cluster.custom.patch_namespaced_custom_object(
                *where, "one", change, _content_type="application/strategic-merge-patch+json"
            )
        assert refused.value.status == 415
    finally:
        await extensions.delete_custom_resource_definition(f"widgets.{group}")
