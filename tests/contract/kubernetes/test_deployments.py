"""Deployments by the official client: read, scaled, patched, watched until they are rolled out."""

from __future__ import annotations

import pytest
from kubernetes.aio import client

from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment, rolled_out

STRATEGIC = "application/strategic-merge-patch+json"


async def test_a_deployment_comes_up_with_the_defaults_of_the_server(cluster: Cluster) -> None:
    made = await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    assert made.metadata.generation == 1
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    assert (made.spec.progress_deadline_seconds, made.spec.revision_history_limit) == (600, 10)
    assert made.spec.template.spec.containers[0].image_pull_policy == "IfNotPresent"
    assert made.spec.template.spec.containers[0].ports[0].protocol == "TCP"
    up = await rolled_out(cluster)
    assert (up.status.ready_replicas, up.status.unavailable_replicas) == (2, None)
    assert {one.type: one.status for one in up.status.conditions} == {"Available": "True", "Progressing": "True"}
    pods = (await cluster.main.list_namespaced_pod(cluster.namespace, label_selector="app=web")).items
    assert {pod.status.phase for pod in pods} == {"Running"}
    assert all(pod.spec.node_name and pod.metadata.name.startswith("web-") for pod in pods)


async def test_scaling_leaves_the_pods_that_are_there(cluster: Cluster) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    await rolled_out(cluster)
    before = {pod.metadata.name for pod in (await cluster.main.list_namespaced_pod(cluster.namespace)).items}
    scale = await cluster.apps.read_namespaced_deployment_scale("web", cluster.namespace)
    assert (scale.spec.replicas, scale.status.replicas, scale.status.selector) == (2, 2, "app=web")
    scaled = await cluster.apps.patch_namespaced_deployment_scale("web", cluster.namespace, {"spec": {"replicas": 4}})
    assert scaled.spec.replicas == 4
    await rolled_out(cluster)
    after = {pod.metadata.name for pod in (await cluster.main.list_namespaced_pod(cluster.namespace)).items}
    assert before < after
    assert len(after) == 4


async def test_a_change_of_the_template_replaces_every_pod_and_is_a_revision(cluster: Cluster) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(replicas=3))
    await rolled_out(cluster)
    before = {pod.metadata.name for pod in (await cluster.main.list_namespaced_pod(cluster.namespace)).items}
    change = {"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "NEW", "value": "1"}]}]}}}}
    patched = await cluster.apps.patch_namespaced_deployment("web", cluster.namespace, change, _content_type=STRATEGIC)
    assert patched.metadata.generation == 2
    assert [one.name for one in patched.spec.template.spec.containers] == ["app", "side"]
    assert {one.name for one in patched.spec.template.spec.containers[0].env} == {"MODE", "NEW"}
    up = await rolled_out(cluster)
    assert up.metadata.annotations["deployment.kubernetes.io/revision"] == "2"
    sets = (await cluster.apps.list_namespaced_replica_set(cluster.namespace, label_selector="app=web")).items
    revisions = {one.metadata.annotations["deployment.kubernetes.io/revision"]: one.spec.replicas for one in sets}
    assert revisions == {"1": 0, "2": 3}
    pods = (await cluster.main.list_namespaced_pod(cluster.namespace)).items
    assert not before & {pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None}


async def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    before = await rolled_out(cluster)
    shown = await cluster.apps.patch_namespaced_deployment(
        "web", cluster.namespace, {"spec": {"replicas": 7}}, dry_run="All"
    )
    assert (shown.spec.replicas, shown.metadata.generation) == (7, 2)
    scaled = await cluster.apps.patch_namespaced_deployment_scale(
        "web", cluster.namespace, {"spec": {"replicas": 9}}, dry_run="All"
    )
    assert scaled.spec.replicas == 9
    after = await cluster.apps.read_namespaced_deployment("web", cluster.namespace)
    assert after.metadata.resource_version == before.metadata.resource_version


async def test_what_is_not_there_is_a_status_of_404(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as missing:
        await cluster.apps.read_namespaced_deployment("nothing", cluster.namespace)
    body = str(missing.value.body)
    assert missing.value.status == 404
    assert '"reason":"NotFound"' in body
    assert 'deployments.apps \\"nothing\\" not found' in body
