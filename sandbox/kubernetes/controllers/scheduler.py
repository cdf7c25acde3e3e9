"""The scheduler: a node for each pod that has none, or the reason why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    copied,
    is_terminating,
    is_true,
    labels_of,
    name_of,
    namespace_of,
    owner_of,
    timestamp,
)
from sandbox.kubernetes.resources.main import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key


class Scheduler:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is POD and change.type != "DELETED" and not change.object["spec"].get("nodeName"):
            yield namespace_of(change.object), name_of(change.object)
        elif kind is NODE:
            for pod in self._cluster.store.all(POD):
                if not pod["spec"].get("nodeName"):
                    yield namespace_of(pod), name_of(pod)

    def reconcile(self, namespace: str, name: str) -> None:
        pod = self._cluster.store.get(POD, namespace, name)
        if pod is None or pod["spec"].get("nodeName") or is_terminating(pod):
            return
        nodes = self._cluster.store.all(NODE)
        fitting = [node for node in nodes if why_not(pod, node) is None]
        if not fitting:
            self._wait(pod, nodes)
            return
        node = self._emptiest(pod, fitting)
        placed = copied(pod)
        placed["spec"]["nodeName"] = node
        placed["status"] = {
            **pod["status"],
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(self._cluster.now())}
            ],
        }
        self._cluster.store.put(POD, placed)
        told = f"Successfully assigned {namespace}/{name} to {node}"
        self._cluster.event(pod, "Scheduled", told, source="default-scheduler")

    def _emptiest(self, pod: Object, nodes: list[Object]) -> str:
        """The node with the fewest pods of the same owner, then with the fewest of all."""
        owner = owner_of(pod)
        standing, own = Counter[str](), Counter[str]()
        for other in self._cluster.store.all(POD):
            node = other["spec"].get("nodeName")
            if node and not is_terminating(other):
                standing[node] += 1
                own[node] += bool(owner and (its := owner_of(other)) and its["uid"] == owner["uid"])
        return min((name_of(node) for node in nodes), key=lambda node: (own[node], standing[node], node))

    def _wait(self, pod: Object, nodes: list[Object]) -> None:
        reasons = Counter(why for node in nodes if (why := why_not(pod, node)))
        told = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
        message = f"0/{len(nodes)} nodes are available: {told}."
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": timestamp(self._cluster.now()),
        }
        before = (pod["status"].get("conditions") or [{}])[0]
        if before.get("message") != message:
            self._cluster.writer.set_status(POD, pod, {"phase": "Pending", "conditions": [condition]})
            self._cluster.event(pod, "FailedScheduling", message, source="default-scheduler", warning=True)


def why_not(pod: Object, node: Object) -> str | None:
    """Why a pod cannot stand on a node; None when it can."""
    wanted = pod["spec"].get("nodeSelector") or {}
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in wanted.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    spec = node.get("spec") or {}
    if spec.get("unschedulable") and not tolerates(pod, "node.kubernetes.io/unschedulable"):
        return "node(s) were unschedulable"
    if not is_true(node, "Ready"):
        return "node(s) were not ready"
    for taint in spec.get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not tolerates(pod, taint["key"]):
            return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    return None


def tolerates(pod: Object, taint: str) -> bool:
    return any(one.get("key") in (None, "", taint) for one in pod["spec"].get("tolerations") or ())
