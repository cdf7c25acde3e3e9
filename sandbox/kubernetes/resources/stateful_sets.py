"""StatefulSets: numbered pods, one after the other; and the ControllerRevisions of their templates."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import AGE, Kind, computed_column, container_columns, path_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    controller_named,
    deep_copy,
    is_terminating,
    is_true,
    key_of,
    labels_of,
    name_of,
    name_suffix,
    namespace_of,
    owner_reference,
)
from sandbox.kubernetes.resources.deployments import ready_replicas_cell
from sandbox.kubernetes.resources.pods import POD, active_pods, default_pod_template, workload_rules
from sandbox.kubernetes.state import Change

REVISION_HASH = "controller-revision-hash"


def _default_stateful_set(stateful_set: Object) -> None:
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    default_pod_template(spec)


STATEFUL_SET = Kind(
    "apps",
    "v1",
    "statefulsets",
    "StatefulSet",
    ("sts",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(computed_column("Ready", ready_replicas_cell), AGE, *container_columns("spec.template.spec")),
    default=_default_stateful_set,
    validate=workload_rules,
)
CONTROLLER_REVISION = Kind(
    "apps",
    "v1",
    "controllerrevisions",
    "ControllerRevision",
    columns=(path_column("Revision", "revision", type="integer"), AGE),
)

KINDS = (STATEFUL_SET, CONTROLLER_REVISION)


class StatefulSets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is STATEFUL_SET:
            yield key_of(change.object)
        elif kind is POD and (owner := controller_named(change.object, "StatefulSet")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        stateful_set = self._cluster.store.get(STATEFUL_SET, namespace, name)
        if stateful_set is None or is_terminating(stateful_set):
            return
        revision = name_of(self._current_revision(stateful_set))
        pods = {name_of(pod): pod for pod in active_pods(self._cluster, stateful_set)}
        ordinals = [f"{name}-{number}" for number in range(stateful_set["spec"]["replicas"])]
        missing = [pod for pod in ordinals if self._cluster.store.get(POD, namespace, pod) is None]
        surplus = sorted((pod for pod in pods if pod not in ordinals), key=_ordinal, reverse=True)
        if all(is_true(pod, "Ready") for pod in pods.values()):  # one at a time, as OrderedReady wants it
            if missing:
                pods[missing[0]] = self._create_pod(stateful_set, missing[0], revision)
            elif surplus:
                self._cluster.writer.delete(POD, pods.pop(surplus[0]))
            else:
                self._replace_one(pods, revision)
        self._cluster.writer.set_status(STATEFUL_SET, stateful_set, _status(stateful_set, pods, revision))

    def _current_revision(self, stateful_set: Object) -> Object:
        """Return the revision of the template as it is, with the highest number; it is created if it is new."""
        template = {**deep_copy(stateful_set["spec"]["template"]), "$patch": "replace"}
        data = {"spec": {"template": template}}
        digest = name_suffix(json.dumps(template, sort_keys=True), 10)
        revisions = self._cluster.controlled_by(stateful_set, CONTROLLER_REVISION)
        highest = max((revision["revision"] for revision in revisions), default=0)
        existing = next((one for one in revisions if labels_of(one).get(REVISION_HASH) == digest), None)
        if existing is not None and existing["revision"] == highest:
            return existing
        if existing is not None:
            return self._cluster.store.put(CONTROLLER_REVISION, {**deep_copy(existing), "revision": highest + 1})
        metadata = {
            "name": f"{name_of(stateful_set)}-{digest}",
            "namespace": namespace_of(stateful_set),
            "labels": {REVISION_HASH: digest},
            "ownerReferences": [owner_reference(stateful_set)],
        }
        created = {"metadata": metadata, "data": data, "revision": highest + 1}
        return self._cluster.writer.create(CONTROLLER_REVISION, created)

    def _create_pod(self, stateful_set: Object, name: str, revision: str) -> Object:
        template = stateful_set["spec"]["template"]
        metadata = {
            **template["metadata"],
            "labels": {**template["metadata"].get("labels", {}), REVISION_HASH: revision},
            "name": name,
            "namespace": namespace_of(stateful_set),
            "ownerReferences": [owner_reference(stateful_set)],
        }
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": template["spec"]})

    def _replace_one(self, pods: dict[str, Object], revision: str) -> None:
        old = [pod for pod in pods.values() if labels_of(pod).get(REVISION_HASH) != revision]
        if old:
            self._cluster.writer.delete(POD, max(old, key=lambda pod: _ordinal(name_of(pod))))


def _ordinal(name: str) -> int:
    return int(name.rpartition("-")[2])


def _status(stateful_set: Object, pods: dict[str, Object], revision: str) -> Object:
    updated = [pod for pod in pods.values() if labels_of(pod).get(REVISION_HASH) == revision]
    ready = sum(is_true(pod, "Ready") for pod in pods.values())
    before = (stateful_set.get("status") or {}).get("currentRevision", revision)
    is_updated = len(updated) == len(pods) == stateful_set["spec"]["replicas"] == ready
    return {
        "observedGeneration": stateful_set["metadata"]["generation"],
        "replicas": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "updatedReplicas": len(updated),
        "currentReplicas": len(pods) - len(updated) if not is_updated else len(pods),
        "currentRevision": revision if is_updated else before,
        "updateRevision": revision,
    }
