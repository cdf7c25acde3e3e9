"""ReplicaSets: as many pods of a template as are wanted."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.deletion import terminate
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    condition,
    is_terminating,
    is_true,
    moment,
    name_of,
    namespace_of,
    owned_by,
    owner_named,
    uid_of,
)
from sandbox.kubernetes.resources.apps import REPLICA_SET
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key
from sandbox.kubernetes.writes import suffix


class ReplicaSets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made = 0

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is REPLICA_SET:
            yield namespace_of(change.object), name_of(change.object)
        elif kind is POD and (owner := owner_named(change.object, "ReplicaSet")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        replica_set = self._cluster.store.get(REPLICA_SET, namespace, name)
        if replica_set is None:
            return
        pods = pods_of(self._cluster, replica_set)
        wanted = 0 if is_terminating(replica_set) else replica_set["spec"]["replicas"]
        for _ in range(wanted - len(pods)):
            pods.append(self._start(replica_set))
        if len(pods) > wanted:
            pods.sort(key=_worth, reverse=True)
            for pod in pods[wanted:]:
                terminate(self._cluster.writer, pod)
            pods = pods[:wanted]
        self._cluster.writer.set_status(REPLICA_SET, replica_set, self._status(replica_set, pods))

    def _start(self, replica_set: Object) -> Object:
        self._made += 1
        template = replica_set["spec"]["template"]
        name = f"{name_of(replica_set)}-{suffix(f'{uid_of(replica_set)}/{self._made}', 5)}"
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": namespace_of(replica_set),
            "ownerReferences": [owned_by(replica_set)],
        }
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": template["spec"]})

    def _status(self, replica_set: Object, pods: list[Object]) -> Object:
        ready = [pod for pod in pods if is_true(pod, "Ready")]
        least = replica_set["spec"].get("minReadySeconds", 0)
        available = [pod for pod in ready if self._is_available(replica_set, pod, least)]
        status: Object = {"replicas": len(pods), "fullyLabeledReplicas": len(pods)}
        status |= {"readyReplicas": len(ready), "availableReplicas": len(available)}
        status = {name: number for name, number in status.items() if number or name == "replicas"}
        return {**status, "observedGeneration": replica_set["metadata"]["generation"]}

    def _is_available(self, replica_set: Object, pod: Object, least: int) -> bool:
        found = condition(pod, "Ready")
        if not least or found is None:
            return True
        left = least - (self._cluster.now() - moment(found["lastTransitionTime"])).total_seconds()
        if left > 0:
            self._cluster.look_again(self, (namespace_of(replica_set), name_of(replica_set)), left)
        return left <= 0


def pods_of(cluster: Cluster, owner: Object) -> list[Object]:
    """The pods that `owner` has made and that are not on their way out."""
    return [
        pod
        for pod in cluster.made_by(owner, POD)
        if not is_terminating(pod) and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]


def _worth(pod: Object) -> tuple[bool, bool, float]:
    """Which pod is kept longest: one that has a node, that is ready, that is old."""
    age = -moment(pod["metadata"]["creationTimestamp"]).timestamp()
    return "nodeName" in pod["spec"], is_true(pod, "Ready"), age
