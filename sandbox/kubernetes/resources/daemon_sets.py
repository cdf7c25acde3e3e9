"""DaemonSets: one pod on each node that it may run on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import (
    AGE,
    Kind,
    computed_column,
    container_columns,
    count_column,
    format_pairs,
    selector_column,
)
from sandbox.kubernetes.objects import (
    Key,
    Object,
    controller_named,
    is_terminating,
    is_true,
    key_of,
    labels_of,
    name_of,
    name_suffix,
    namespace_of,
    owner_reference,
    uid_of,
)
from sandbox.kubernetes.resources.nodes import NODE, why_unschedulable
from sandbox.kubernetes.resources.pods import POD, active_pods, default_pod_template, workload_rules
from sandbox.kubernetes.state import Change

REVISION_HASH = "controller-revision-hash"
TOLERATIONS = [
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists"}
    for taint in ("not-ready", "unreachable", "unschedulable")
]


def _default_daemon_set(daemon_set: Object) -> None:
    spec = daemon_set.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    default_pod_template(spec)


def _node_selector_cell(daemon_set: Object) -> str:
    return format_pairs(daemon_set["spec"]["template"]["spec"].get("nodeSelector"))


DAEMON_SET = Kind(
    "apps",
    "v1",
    "daemonsets",
    "DaemonSet",
    ("ds",),
    subresources=("status",),
    categories=("all",),
    columns=(
        count_column("Desired", "status.desiredNumberScheduled"),
        count_column("Current", "status.currentNumberScheduled"),
        count_column("Ready", "status.numberReady"),
        count_column("Up-to-date", "status.updatedNumberScheduled"),
        count_column("Available", "status.numberAvailable"),
        computed_column("Node Selector", _node_selector_cell),
        AGE,
        *container_columns("spec.template.spec"),
        selector_column(),
    ),
    default=_default_daemon_set,
    validate=workload_rules,
)
KINDS = (DAEMON_SET,)


class DaemonSets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._created = 0

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DAEMON_SET:
            yield key_of(change.object)
        elif kind is POD and (owner := controller_named(change.object, "DaemonSet")):
            yield namespace_of(change.object), owner
        elif kind is NODE:
            for daemon_set in self._cluster.store.all(DAEMON_SET):
                yield key_of(daemon_set)

    def reconcile(self, namespace: str, name: str) -> None:
        daemon_set = self._cluster.store.get(DAEMON_SET, namespace, name)
        if daemon_set is None or is_terminating(daemon_set):
            return
        pods = {pod["spec"]["nodeName"]: pod for pod in active_pods(self._cluster, daemon_set)}
        template = _pod_template(daemon_set)
        nodes = [name_of(node) for node in self._cluster.store.all(NODE) if why_unschedulable(template, node) is None]
        for node in nodes:
            if node not in pods:
                pods[node] = self._create_pod(daemon_set, template, node)
        for node, pod in pods.items():
            if node not in nodes and self._cluster.store.get(NODE, "", node) is None:
                self._cluster.writer.delete(POD, pod, grace_period=0)
        template_hash = _hash(template)
        self._replace_one(list(pods.values()), template_hash)
        status = _daemon_set_status(daemon_set, len(nodes), list(pods.values()), template_hash)
        self._cluster.writer.set_status(DAEMON_SET, daemon_set, status)

    def _create_pod(self, daemon_set: Object, template: Object, node: str) -> Object:
        self._created += 1
        metadata = {
            **template["metadata"],
            "labels": {**template["metadata"].get("labels", {}), REVISION_HASH: _hash(template)},
            "name": f"{name_of(daemon_set)}-{name_suffix(f'{uid_of(daemon_set)}/{node}/{self._created}', 5)}",
            "namespace": namespace_of(daemon_set),
            "ownerReferences": [owner_reference(daemon_set)],
        }
        spec = {**template["spec"], "nodeName": node}
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": spec})

    def _replace_one(self, pods: Sequence[Object], template_hash: str) -> None:
        """Delete one pod of an old template, if all pods of the new one are ready."""
        old = [pod for pod in pods if labels_of(pod).get(REVISION_HASH) != template_hash]
        if old and all(is_true(pod, "Ready") for pod in pods if pod not in old):
            self._cluster.writer.delete(POD, old[0])


def _pod_template(daemon_set: Object) -> Object:
    """Return the template of its pods, which tolerate nodes that others are not scheduled to."""
    template = daemon_set["spec"]["template"]
    tolerations = [*(template["spec"].get("tolerations") or ()), *TOLERATIONS]
    return {**template, "spec": {**template["spec"], "tolerations": tolerations}}


def _daemon_set_status(daemon_set: Object, desired: int, pods: Sequence[Object], template_hash: str) -> Object:
    ready = sum(is_true(pod, "Ready") for pod in pods)
    status = {
        "currentNumberScheduled": len(pods),
        "desiredNumberScheduled": desired,
        "numberAvailable": ready,
        "numberMisscheduled": 0,
        "numberReady": ready,
        "observedGeneration": daemon_set["metadata"]["generation"],
        "updatedNumberScheduled": sum(labels_of(pod).get(REVISION_HASH) == template_hash for pod in pods),
    }
    if desired > ready:
        status["numberUnavailable"] = desired - ready
    return status


def _hash(template: Object) -> str:
    return name_suffix(json.dumps(template, sort_keys=True), 9)
