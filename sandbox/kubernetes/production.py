"""The world's production and the cluster's namespace tamv-prod are the same thing, told from two sides.

What is asked of the API becomes pods, and these carry the world's load; what happens in the world (a scenario scales,
a node is lost, a container is killed) happens to the API's objects.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.machines import conditions, gpu_node
from sandbox.kubernetes.objects import (
    Object,
    annotations_of,
    copied,
    is_terminating,
    is_true,
    labels_of,
    name_of,
    namespace_of,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources.apps import DEPLOYMENT
from sandbox.kubernetes.resources.main import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change
from sandbox.kubernetes.writes import Options
from sandbox.world import World
from sandbox.world.deployments import Placed, Template
from sandbox.world.services import GPU_NODES, NAMESPACE

RESTARTED = "kubectl.kubernetes.io/restartedAt"


class Production:
    """Listens to the store from `watch` on; to the world it is the cluster that runs its pods."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self._world = world
        self._cluster = cluster

    def watch(self) -> None:
        self._world.cluster = self
        self._cluster.store.listeners.append(self._changed)

    # --- from the API to the world

    def _changed(self, kind: Kind, change: Change) -> None:
        if kind is NODE:
            self._node_changed(change)
        if namespace_of(change.object) != NAMESPACE:
            return
        service = labels_of(change.object).get("app", "")
        if service not in self._world.deployments:
            return
        if kind is POD:
            self._world.place(service, self._placed(service))
        elif kind is DEPLOYMENT and name_of(change.object) == service:
            deployment = self._world.deployments[service]
            gone = change.type == "DELETED"
            deployment.replicas = 0 if gone else change.object["spec"]["replicas"]
            deployment.template = template_of(change.object["spec"]["template"])

    def _placed(self, service: str) -> list[Placed]:
        return [
            Placed(name_of(pod), pod["spec"]["nodeName"], template_of(pod), _serves(pod))
            for pod in self._cluster.store.all(POD, NAMESPACE)
            if labels_of(pod).get("app") == service and pod["spec"].get("nodeName")
        ]  # fmt: skip

    def _node_changed(self, change: Change) -> None:
        """A GPU node that is deleted, or stops being ready, is lost to the world; one that is ready again is back."""
        name = name_of(change.object)
        there = change.type != "DELETED" and is_true(change.object, "Ready")
        if not there and name in self._world.nodes:
            self._world.lose_node(name)
        elif there and name not in self._world.nodes and any(name == node.name for node in GPU_NODES):
            self._world.return_node(name)

    # --- from the world to the API

    def scale(self, service: str, replicas: int) -> None:
        def change(deployment: Object) -> None:
            deployment["spec"]["replicas"] = replicas

        self._change(service, change, "kubectl-scale")

    def roll_out(self, service: str, template: Template) -> None:
        def change(deployment: Object) -> None:
            fill(deployment["spec"]["template"], template)

        self._change(service, change, "kubectl-edit")

    def lose_node(self, node: str) -> None:
        found = self._cluster.store.get(NODE, "", node)
        if found is not None and is_true(found, "Ready"):
            status = {**status_of(found), "conditions": conditions(False, self._cluster.now())}
            self._cluster.store.put(NODE, {**found, "status": status})
            self._cluster.settle()

    def return_node(self, node: str) -> None:
        found = self._cluster.store.get(NODE, "", node)
        if found is None:
            self._cluster.writer.create(NODE, gpu_node(self._world.nodes[node], self._cluster.now()))
        elif not is_true(found, "Ready"):
            status = {**status_of(found), "conditions": conditions(True, self._cluster.now())}
            self._cluster.store.put(NODE, {**found, "status": status})
        self._cluster.settle()

    def container_killed(self, service: str, pod: str) -> None:
        found = self._cluster.store.get(POD, NAMESPACE, pod)
        if found is None:
            return
        now = self._cluster.now()
        killed = copied(found)
        for status in killed["status"].get("containerStatuses") or ():
            began = status["state"].get("running", {}).get("startedAt", timestamp(now))
            status["restartCount"] += 1
            status["lastState"] = {
                "terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": began, "finishedAt": timestamp(now)}
            }
            status["state"] = {"running": {"startedAt": timestamp(now)}}
        self._cluster.store.put(POD, killed)
        told = f"Memory cgroup out of memory: Killed process in container {service}"
        self._cluster.event(found, "OOMKilling", told, source="kubelet", warning=True)

    def _change(self, service: str, change: Callable[[Object], None], manager: str) -> None:
        before = self._cluster.store.get(DEPLOYMENT, NAMESPACE, service)
        if before is None:
            return
        after = copied(before)
        change(after)
        self._cluster.writer.replace(DEPLOYMENT, before, after, Options(manager=manager))
        self._cluster.settle()


def _serves(pod: Object) -> bool:
    return is_true(pod, "Ready") and not is_terminating(pod)


def template_of(pod: Object) -> Template:
    """What the world must know of a pod, or of a pod template."""
    container = pod["spec"]["containers"][0]
    env = {one["name"]: one.get("value", "") for one in container.get("env") or () if "valueFrom" not in one}
    restarted = annotations_of(pod).get(RESTARTED)
    at = int(datetime.fromisoformat(restarted).timestamp() * 1000) if restarted else 0
    return Template(tag_of(container["image"]), env, dict(pod["spec"].get("nodeSelector") or {}), at)


def fill(pod: Object, template: Template) -> None:
    """Make a pod template of the API say what the world's says."""
    container = pod["spec"]["containers"][0]
    container["image"] = f"{container['image'].rpartition(':')[0]}:{template.version}"
    others = [one for one in container.get("env") or () if "valueFrom" in one]
    container["env"] = [*others, *({"name": name, "value": value} for name, value in sorted(template.env.items()))]
    pod["spec"]["nodeSelector"] = dict(template.node_selector)
    for owner, empty in ((container, "env"), (pod["spec"], "nodeSelector")):
        if not owner[empty]:
            del owner[empty]
    if template.restarted:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=template.restarted)
        pod["metadata"].setdefault("annotations", {})[RESTARTED] = at.isoformat().replace("+00:00", "Z")


def tag_of(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[2] or "latest"
