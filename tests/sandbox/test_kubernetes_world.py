"""TAMV's production seen from two sides: what is done to the API shows in the figures, and the other way round."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.controllers import EVENT
from sandbox.kubernetes.objects import Object, deep_copy, is_true, labels_of, name_of
from sandbox.kubernetes.resources.autoscaling import AUTOSCALER, NODE_METRICS, POD_METRICS
from sandbox.kubernetes.resources.basic import SECRET
from sandbox.kubernetes.resources.deployments import DEPLOYMENT, REPLICA_SET
from sandbox.kubernetes.resources.external_secrets import EXTERNAL_SECRET
from sandbox.kubernetes.resources.nodes import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.world.deployments import Version
from sandbox.world.world import World
from tests.harness.hand_clock import HandClock
from tests.sandbox.world_figures import labels, seen, value

PROD = "tamv-prod"


def deployment(kubernetes: Kubernetes, name: str = "xr-engine") -> Object:
    found = kubernetes.store.get(DEPLOYMENT, PROD, name)
    assert found is not None
    return found


def change(kubernetes: Kubernetes, name: str, **spec: Any) -> None:
    """Change fields of a deployment's spec, as a request would."""
    before = deployment(kubernetes, name)
    after = deep_copy(before)
    after["spec"] |= spec
    kubernetes.writer.replace(DEPLOYMENT, before, after)
    kubernetes.cluster.settle()


def pods(kubernetes: Kubernetes, app: str = "xr-engine", namespace: str = PROD) -> list[Object]:
    return [pod for pod in kubernetes.store.all(POD, namespace) if labels_of(pod).get("app") == app]


def forward(kubernetes: Kubernetes, clock: HandClock, seconds: int) -> None:
    for _ in range(seconds // 10):
        clock.forward(10)
        kubernetes.advance()


def burn(kubernetes: Kubernetes, clock: HandClock) -> None:
    """The incident of the manual."""
    kubernetes.world.set_load(2.6, "xr-engine")
    kubernetes.world.set_env("xr-engine", {"EXPERIMENTAL_FEATURES": "true"})
    forward(kubernetes, clock, 300)


def test_the_pods_of_the_api_are_those_of_the_metrics(kubernetes: Kubernetes, world: World, clock: HandClock) -> None:
    metered = {each["pod"] for each in labels(world, "xr_frame_rate")}
    assert {name_of(pod) for pod in pods(kubernetes)} == metered
    change(kubernetes, "xr-engine", replicas=5)
    forward(kubernetes, clock, 60)
    assert {each["pod"] for each in labels(world, "xr_frame_rate")} == {name_of(pod) for pod in pods(kubernetes)}
    assert len(pods(kubernetes)) == 5
    assert value(world, 'kube_deployment_status_replicas_available{deployment="xr-engine"}') == 5


def test_a_cluster_that_is_looked_at_late_has_the_world_as_it_is_by_then(world: World, clock: HandClock) -> None:
    world.set_env("xr-engine", {"EXPERIMENTAL_FEATURES": "true"})
    world.scale("tamv-core", 6)
    clock.forward(60)
    late = Kubernetes(world)
    env = deployment(late)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {one["name"]: one["value"] for one in env}["EXPERIMENTAL_FEATURES"] == "true"
    assert {name_of(pod) for pod in pods(late, "tamv-core")} == {pod.name for pod in world.pods("tamv-core")}
    assert deployment(late, "tamv-core")["status"]["availableReplicas"] == 6
    forward(late, clock, 60)
    assert {name_of(pod) for pod in pods(late, "tamv-core")} == {pod.name for pod in world.pods("tamv-core")}


def test_the_three_steps_of_the_manual_bring_the_figures_back(
    kubernetes: Kubernetes, world: World, clock: HandClock
) -> None:
    burn(kubernetes, clock)
    assert seen(world).p95 > 0.5
    template = deep_copy(deployment(kubernetes))["spec"]["template"]
    template["spec"]["nodeSelector"] = {"node-type": "gpu-high-memory"}
    off = [{"name": name, "value": "false"} for name in ("EXPERIMENTAL_FEATURES", "ADVANCED_RENDERING")]
    template["spec"]["containers"][0]["env"] = off
    change(kubernetes, "xr-engine", replicas=10, template=template)
    forward(kubernetes, clock, 240)
    now = seen(world)
    assert (now.p95 < 0.25, now.errors < 0.6, now.gpu < 80, now.frames > 80) == (True, True, True, True), now
    assert {pod["spec"]["nodeName"] for pod in pods(kubernetes)} == {"gpu-node-4", "gpu-node-5"}


def test_a_scenario_of_the_world_changes_the_objects(kubernetes: Kubernetes, world: World, clock: HandClock) -> None:
    before = {name_of(pod) for pod in pods(kubernetes)}
    world.scale("xr-engine", 6)
    world.set_version("xr-engine", "v4.2.0")
    forward(kubernetes, clock, 180)
    found = deployment(kubernetes)
    assert (found["spec"]["replicas"], found["status"]["updatedReplicas"]) == (6, 6)
    images = {pod["spec"]["containers"][0]["image"] for pod in pods(kubernetes)}
    assert images == {"registry.tamv.world/xr-engine:v4.2.0"}
    assert not before & {name_of(pod) for pod in pods(kubernetes)}
    managers = {one["manager"] for one in found["metadata"]["managedFields"]}
    assert {"helm", "kubectl-scale", "kubectl-edit"} <= managers


def test_no_pod_serves_until_it_is_ready_and_none_is_missed_on_the_way(
    kubernetes: Kubernetes, world: World, clock: HandClock
) -> None:
    world.restart("xr-engine")
    served = []
    for _ in range(20):
        clock.forward(6)
        kubernetes.advance()
        served.append(len(world.deployments["xr-engine"].ready(world.at)))
    assert set(served) <= {3, 4}
    assert deployment(kubernetes)["status"]["updatedReplicas"] == 3


def test_a_lost_node_takes_its_pods_and_they_stand_elsewhere_in_time(
    kubernetes: Kubernetes, world: World, clock: HandClock
) -> None:
    world.lose_node("gpu-node-2")
    kubernetes.advance()
    lost = [pod for pod in pods(kubernetes) if pod["spec"]["nodeName"] == "gpu-node-2"]
    assert [is_true(pod, "Ready") for pod in lost] == [False]
    node = kubernetes.store.get(NODE, "", "gpu-node-2")
    assert node is not None and not is_true(node, "Ready")
    assert len(world.deployments["xr-engine"].ready(world.at)) == 2
    forward(kubernetes, clock, 120)
    assert {pod["spec"]["nodeName"] for pod in pods(kubernetes)} == {"gpu-node-1", "gpu-node-3"}
    assert len(world.deployments["xr-engine"].ready(world.at)) == 3
    world.return_node("gpu-node-2")
    kubernetes.advance()
    node = kubernetes.store.get(NODE, "", "gpu-node-2")
    assert node is not None and is_true(node, "Ready")


def test_a_node_that_is_deleted_is_lost_to_the_world(kubernetes: Kubernetes, world: World, clock: HandClock) -> None:
    kubernetes.store.remove(NODE, "", "gpu-node-3")
    kubernetes.cluster.settle()
    assert "gpu-node-3" not in world.nodes
    forward(kubernetes, clock, 60)
    assert {pod.node for pod in world.pods("xr-engine")} == {"gpu-node-1", "gpu-node-2"}


def test_a_killed_container_shows_its_restart(kubernetes: Kubernetes, world: World, clock: HandClock) -> None:
    world.images["tamv-core:v2.4.1"] = Version(leak=3e6)
    world.set_version("tamv-core", "v2.4.1")
    forward(kubernetes, clock, 600)
    status = pods(kubernetes, "tamv-core")[0]["status"]["containerStatuses"][0]
    assert status["restartCount"] > 0
    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert "OOMKilling" in {event["reason"] for event in kubernetes.store.all(EVENT, PROD)}


def test_releases_have_a_past_with_a_failure_in_it(kubernetes: Kubernetes) -> None:
    secrets = [one for one in kubernetes.store.all(SECRET, PROD) if labels_of(one).get("name") == "tamv-core"]
    assert [labels_of(one)["status"] for one in secrets] == ["superseded", "superseded", "failed", "deployed"]
    packed = base64.b64decode(base64.b64decode(secrets[-1]["data"]["release"]))
    release = json.loads(gzip.decompress(packed))
    assert (release["version"], release["chart"]["metadata"]["appVersion"]) == (4, "v2.4.0")
    revisions = {
        labels_of(one)["app"]: one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
        for one in kubernetes.store.all(REPLICA_SET, PROD)
        if one["spec"]["replicas"]
    }
    assert revisions["tamv-core"] == deployment(kubernetes, "tamv-core")["metadata"]["annotations"][
        "deployment.kubernetes.io/revision"
    ]  # fmt: skip
    assert set(revisions) == set(kubernetes.world.deployments)


def test_nothing_moves_in_a_cluster_that_is_left_alone(kubernetes: Kubernetes, clock: HandClock) -> None:
    before = [pod["metadata"]["uid"] for pod in kubernetes.store.all(POD)]
    forward(kubernetes, clock, 1800)
    assert [pod["metadata"]["uid"] for pod in kubernetes.store.all(POD)] == before
    assert all(is_true(pod, "Ready") for pod in kubernetes.store.all(POD))


def test_metrics_are_those_of_the_world(kubernetes: Kubernetes, clock: HandClock) -> None:
    def cores(app: str) -> float:
        usage = [
            float(one["containers"][0]["usage"]["cpu"].removesuffix("n")) / 1e9
            for one in kubernetes.store.all(POD_METRICS, PROD)
            if labels_of(one).get("app") == app
        ]
        return sum(usage) / len(usage)

    assert cores("xr-engine") == pytest.approx(1.6, rel=0.15)
    assert len(kubernetes.store.all(NODE_METRICS)) == 9
    before = cores("tamv-core")
    kubernetes.world.set_load(2.0, "tamv-core")
    forward(kubernetes, clock, 120)
    assert cores("tamv-core") > 1.5 * before


def test_an_autoscaler_answers_load_and_waits_before_it_scales_down(kubernetes: Kubernetes, clock: HandClock) -> None:
    forward(kubernetes, clock, 60)
    assert deployment(kubernetes, "isabella-ai")["spec"]["replicas"] == 3
    kubernetes.world.set_load(2.0, "isabella-ai")
    forward(kubernetes, clock, 180)
    scaled = deployment(kubernetes, "isabella-ai")["spec"]["replicas"]
    assert scaled > 3
    kubernetes.world.set_load(1.0, "isabella-ai")
    forward(kubernetes, clock, 120)
    assert deployment(kubernetes, "isabella-ai")["spec"]["replicas"] == scaled
    forward(kubernetes, clock, 600)
    assert deployment(kubernetes, "isabella-ai")["spec"]["replicas"] < scaled
    autoscaler = kubernetes.store.get(AUTOSCALER, PROD, "isabella-ai")
    assert autoscaler is not None
    assert autoscaler["status"]["currentMetrics"][0]["resource"]["name"] == "cpu"


def test_an_external_secret_is_read_again_when_asked(kubernetes: Kubernetes, clock: HandClock) -> None:
    def external() -> Object:
        found = kubernetes.store.get(EXTERNAL_SECRET, PROD, "tamv-core-secrets")
        assert found is not None
        return found

    def stored() -> str:
        secret = kubernetes.store.get(SECRET, PROD, "tamv-core-secrets")
        assert secret is not None
        return base64.b64decode(secret["data"]["JWT_SECRET"]).decode()

    before = external()["status"]["refreshTime"]
    kubernetes.vault[f"{PROD}/auth"]["jwt-secret"] = "fresh"
    forward(kubernetes, clock, 60)
    assert stored() != "fresh", "it is only read each hour"
    asked = deep_copy(external())
    asked["metadata"].setdefault("annotations", {})["force-sync"] = "1"
    kubernetes.writer.replace(EXTERNAL_SECRET, external(), asked)
    kubernetes.cluster.settle()
    assert external()["status"]["refreshTime"] == before, "it takes a while"
    forward(kubernetes, clock, 10)
    assert (stored(), external()["status"]["refreshTime"] > before) == ("fresh", True)
    del kubernetes.vault[f"{PROD}/auth"]["jwt-secret"]
    forward(kubernetes, clock, 3700)
    assert not is_true(external(), "Ready")
    assert stored() == "fresh"
