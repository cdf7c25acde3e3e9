"""DaemonSets: a pod on each node that it may stand on."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.controllers.replica_sets import pods_of
from sandbox.kubernetes.controllers.scheduler import why_not
from sandbox.kubernetes.deletion import terminate
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    is_terminating,
    is_true,
    labels_of,
    name_of,
    namespace_of,
    owned_by,
    owner_named,
    uid_of,
)
from sandbox.kubernetes.resources.apps import DAEMON_SET
from sandbox.kubernetes.resources.main import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key
from sandbox.kubernetes.writes import suffix

HASH = "controller-revision-hash"
TOLERATED = [
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists"}
    for what in ("not-ready", "unreachable", "unschedulable")
]


class DaemonSets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made = 0

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DAEMON_SET:
            yield namespace_of(change.object), name_of(change.object)
        elif kind is POD and (owner := owner_named(change.object, "DaemonSet")):
            yield namespace_of(change.object), owner
        elif kind is NODE:
            for one in self._cluster.store.all(DAEMON_SET):
                yield namespace_of(one), name_of(one)

    def reconcile(self, namespace: str, name: str) -> None:
        daemon_set = self._cluster.store.get(DAEMON_SET, namespace, name)
        if daemon_set is None or is_terminating(daemon_set):
            return
        pods = {pod["spec"]["nodeName"]: pod for pod in pods_of(self._cluster, daemon_set)}
        template = self._template(daemon_set)
        nodes = [name_of(node) for node in self._cluster.store.all(NODE) if why_not(template, node) is None]
        for node in nodes:
            if node not in pods:
                pods[node] = self._start(daemon_set, template, node)
        for node, pod in pods.items():
            if node not in nodes and self._cluster.store.get(NODE, "", node) is None:
                terminate(self._cluster.writer, pod, 0)
        self._replace_one(list(pods.values()), _hash(template))
        self._show(daemon_set, nodes, list(pods.values()), _hash(template))

    def _template(self, daemon_set: Object) -> Object:
        spec = daemon_set["spec"]["template"]["spec"]
        return {
            **daemon_set["spec"]["template"],
            "spec": {**spec, "tolerations": [*(spec.get("tolerations") or ()), *TOLERATED]},
        }

    def _start(self, daemon_set: Object, template: Object, node: str) -> Object:
        self._made += 1
        metadata = {
            **template["metadata"],
            "labels": {**template["metadata"].get("labels", {}), HASH: _hash(template)},
            "name": f"{name_of(daemon_set)}-{suffix(f'{uid_of(daemon_set)}/{node}/{self._made}', 5)}",
            "namespace": namespace_of(daemon_set),
            "ownerReferences": [owned_by(daemon_set)],
        }
        spec = {**template["spec"], "nodeName": node}
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": spec})

    def _replace_one(self, pods: list[Object], hashed: str) -> None:
        """A changed template replaces the pods one after the other."""
        old = [pod for pod in pods if labels_of(pod).get(HASH) != hashed]
        if old and all(is_true(pod, "Ready") for pod in pods if pod not in old):
            terminate(self._cluster.writer, old[0])

    def _show(self, daemon_set: Object, nodes: list[str], pods: list[Object], hashed: str) -> None:
        ready = sum(is_true(pod, "Ready") for pod in pods)
        status = {
            "currentNumberScheduled": len(pods),
            "desiredNumberScheduled": len(nodes),
            "numberAvailable": ready,
            "numberMisscheduled": 0,
            "numberReady": ready,
            "observedGeneration": daemon_set["metadata"]["generation"],
            "updatedNumberScheduled": sum(labels_of(pod).get(HASH) == hashed for pod in pods),
        }
        if len(nodes) > ready:
            status["numberUnavailable"] = len(nodes) - ready
        self._cluster.writer.set_status(DAEMON_SET, daemon_set, status)


def _hash(template: Object) -> str:
    return suffix(json.dumps(template, sort_keys=True), 9)
