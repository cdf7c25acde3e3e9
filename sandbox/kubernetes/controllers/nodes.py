"""The node lifecycle: pods on a node that does not answer are not ready, and after a while they are given up."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.controllers.scheduler import tolerates
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    condition,
    is_terminating,
    is_true,
    moment,
    name_of,
    namespace_of,
    status_of,
)
from sandbox.kubernetes.pod_status import with_readiness
from sandbox.kubernetes.resources.main import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key

PATIENCE = 40.0  # s; a real cluster waits 300, unless the pod's tolerations say otherwise
UNREACHABLE = "node.kubernetes.io/unreachable"


class Nodes:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is NODE:
            yield "", name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        node = self._cluster.store.get(NODE, "", name)
        pods = [pod for pod in self._cluster.store.all(POD) if pod["spec"].get("nodeName") == name]
        if node is None:
            self._remove(pods)
        elif is_true(node, "Ready"):
            self._show_ready(pods, True)
        else:
            self._show_ready(pods, False)
            found = condition(node, "Ready") or {}
            left = PATIENCE - (self._cluster.now() - moment(found["lastTransitionTime"])).total_seconds()
            if left > 0:
                self._cluster.look_again(self, ("", name), left)
            else:
                self._remove([pod for pod in pods if not tolerates(pod, UNREACHABLE)])

    def _show_ready(self, pods: list[Object], ready: bool) -> None:
        for pod in pods:
            status = status_of(pod)
            if status.get("phase") != "Running" or is_terminating(pod) or is_true(pod, "Ready") is ready:
                continue
            if ready and "PodScheduled" in {one["type"] for one in status["conditions"]} and _waits(pod):
                continue
            scheduled = [one for one in status["conditions"] if one["type"] == "PodScheduled"]
            conditions = [*scheduled, *with_readiness(pod, ready, self._cluster.now())]
            containers = [{**one, "ready": ready} for one in status["containerStatuses"]]
            after = {**status, "conditions": conditions, "containerStatuses": containers}
            self._cluster.writer.set_status(POD, pod, after)

    def _remove(self, pods: list[Object]) -> None:
        for pod in pods:
            self._cluster.store.remove(POD, namespace_of(pod), name_of(pod))
            told = f"Marking for deletion Pod {namespace_of(pod)}/{name_of(pod)}"
            self._cluster.event(pod, "TaintManagerEviction", told, source="taint-eviction-controller")


def _waits(pod: Object) -> bool:
    """Whether its containers are not ready for a reason of their own."""
    return any("waiting" in one["state"] or not one["started"] for one in status_of(pod).get("containerStatuses") or ())
