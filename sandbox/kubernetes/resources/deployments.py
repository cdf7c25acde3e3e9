"""Deployments and their ReplicaSets: one ReplicaSet for each pod template, and the rolling update between them.

The arithmetic of a rolling update is that of the Kubernetes controller (pkg/controller/deployment/rolling.go):
never more pods than `replicas + maxSurge`, never fewer available ones than `replicas - maxUnavailable`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import AGE, Kind, computed_column, container_columns, count_column, selector_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    annotations_of,
    condition,
    controller_named,
    controller_of,
    deep_copy,
    is_terminating,
    is_true,
    key_of,
    name_of,
    name_suffix,
    namespace_of,
    owner_reference,
    parse_time,
    scaled_value,
    status_of,
    timestamp,
    uid_of,
)
from sandbox.kubernetes.resources.pods import POD, active_pods, default_pod_template, workload_rules
from sandbox.kubernetes.state import Change

REVISION = "deployment.kubernetes.io/revision"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)  # annotations, to the ReplicaSet
TEMPLATE_HASH = "pod-template-hash"
IN_PROGRESS = ("NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated")  # reasons of Progressing


# --- kinds


def _default_deployment(deployment: Object) -> None:
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy: dict[str, Any] = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    default_pod_template(spec)


def _default_replica_set(replica_set: Object) -> None:
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_pod_template(spec)


def ready_replicas_cell(workload: Object) -> str:
    return f"{status_of(workload).get('readyReplicas', 0)}/{workload['spec'].get('replicas', 0)}"


DEPLOYMENT = Kind(
    "apps",
    "v1",
    "deployments",
    "Deployment",
    ("deploy",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(
        computed_column("Ready", ready_replicas_cell),
        count_column("Up-to-date", "status.updatedReplicas"),
        count_column("Available", "status.availableReplicas"),
        AGE,
        *container_columns("spec.template.spec"),
        selector_column(),
    ),
    default=_default_deployment,
    validate=workload_rules,
)
REPLICA_SET = Kind(
    "apps",
    "v1",
    "replicasets",
    "ReplicaSet",
    ("rs",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(
        count_column("Desired", "spec.replicas"),
        count_column("Current", "status.replicas"),
        count_column("Ready", "status.readyReplicas"),
        AGE,
        *container_columns("spec.template.spec"),
        selector_column(),
    ),
    default=_default_replica_set,
    validate=workload_rules,
    selectable_fields=("status.replicas",),
)

KINDS = (DEPLOYMENT, REPLICA_SET)


def replica_set_for(deployment: Object, annotations: dict[str, str], template_hash: str | None = None) -> Object:
    """Build a ReplicaSet without pods for the deployment's template. `template_hash` is the end of its name."""
    template = deep_copy(deployment["spec"]["template"])
    template_hash = template_hash or name_suffix(json.dumps(template, sort_keys=True), 10)
    labels = {**(template["metadata"].get("labels") or {}), TEMPLATE_HASH: template_hash}
    template["metadata"]["labels"] = labels
    selector = deep_copy(deployment["spec"]["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), TEMPLATE_HASH: template_hash}
    spec = {"replicas": 0, "selector": selector, "template": template}
    if "minReadySeconds" in deployment["spec"]:
        spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
    metadata = {
        "name": f"{name_of(deployment)}-{template_hash}",
        "namespace": namespace_of(deployment),
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owner_reference(deployment)],
    }
    return {"metadata": metadata, "spec": spec}


# --- the controller of Deployments


class Deployments:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DEPLOYMENT:
            yield key_of(change.object)
        elif kind is REPLICA_SET and (owner := controller_of(change.object)):
            yield namespace_of(change.object), owner["name"]

    def reconcile(self, namespace: str, name: str) -> None:
        deployment = self._cluster.store.get(DEPLOYMENT, namespace, name)
        if deployment is None or is_terminating(deployment):
            return
        replica_sets = self._replica_sets(deployment)
        template = deployment["spec"]["template"]
        new = next((replica_set for replica_set in replica_sets if _own_template(replica_set) == template), None)
        if deployment["spec"].get("paused"):
            self._scale_paused(deployment, replica_sets)
        else:
            new = self._new_replica_set(deployment, replica_sets, new)
            deployment = self._cluster.store.get(DEPLOYMENT, namespace, name) or deployment
            self._roll(deployment, self._replica_sets(deployment), new)
            self._prune_history(deployment, uid_of(new))
        self._update_status(deployment, None if new is None else uid_of(new))

    def _replica_sets(self, deployment: Object) -> list[Object]:
        return sorted(self._cluster.controlled_by(deployment, REPLICA_SET), key=_revision)

    def _new_replica_set(self, deployment: Object, replica_sets: Sequence[Object], new: Object | None) -> Object:
        """Return the ReplicaSet of the current template, created if it is missing, with the highest revision."""
        highest = max((_revision(replica_set) for replica_set in replica_sets if replica_set is not new), default=0)
        revision = highest + 1 if new is None or _revision(new) <= highest else _revision(new)
        annotations = {key: value for key, value in annotations_of(deployment).items() if key not in NOT_COPIED}
        annotations |= {
            REVISION: str(revision),
            DESIRED_REPLICAS: str(deployment["spec"]["replicas"]),
            MAX_REPLICAS: str(deployment["spec"]["replicas"] + _bounds(deployment)[0]),
        }
        if new is None:
            new = self._cluster.writer.create(REPLICA_SET, replica_set_for(deployment, annotations))
            self._record_scaling(deployment, f"Scaled up replica set {name_of(new)} from 0 to 1")
        elif dict(annotations_of(new)) != annotations:
            annotated = deep_copy(new)
            annotated["metadata"]["annotations"] = annotations
            new = self._cluster.store.put(REPLICA_SET, annotated)
        if annotations_of(deployment).get(REVISION) != str(revision):
            annotated = deep_copy(deployment)
            annotated["metadata"].setdefault("annotations", {})[REVISION] = str(revision)
            self._cluster.store.put(DEPLOYMENT, annotated)
        return new

    def _prune_history(self, deployment: Object, new: str) -> None:
        """Delete the oldest idle ReplicaSets beyond `revisionHistoryLimit`."""
        idle = [
            replica_set
            for replica_set in self._replica_sets(deployment)
            if uid_of(replica_set) != new
            and not replica_set["spec"]["replicas"]
            and not status_of(replica_set).get("replicas")
        ]
        for replica_set in idle[: max(len(idle) - deployment["spec"]["revisionHistoryLimit"], 0)]:
            self._cluster.writer.delete(REPLICA_SET, replica_set)

    def _roll(self, deployment: Object, replica_sets: Sequence[Object], newest: Object) -> None:
        new = next(replica_set for replica_set in replica_sets if uid_of(replica_set) == uid_of(newest))
        old = [replica_set for replica_set in replica_sets if replica_set is not new]
        replicas = deployment["spec"]["replicas"]
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            for replica_set in old:
                self._scale(deployment, replica_set, 0)
            if not any(self._has_pods(replica_set) for replica_set in old):
                self._scale(deployment, new, replicas)
            return
        max_surge, max_unavailable = _bounds(deployment)
        room = replicas + max_surge - sum(replica_set["spec"]["replicas"] for replica_set in replica_sets)
        present = new["spec"]["replicas"]
        self._scale(deployment, new, replicas if present > replicas else min(replicas, present + max(room, 0)))
        self._scale_down(deployment, old, new, replicas - max_unavailable)

    def _has_pods(self, replica_set: Object) -> bool:
        return bool(status_of(replica_set).get("replicas") or self._cluster.controlled_by(replica_set, POD))

    def _scale_down(self, deployment: Object, old: Sequence[Object], new: Object, min_available: int) -> None:
        """Scale the old ReplicaSets down as far as `min_available` allows, by their unavailable pods first."""
        replicas = {uid_of(replica_set): replica_set["spec"]["replicas"] for replica_set in old}
        new = self._cluster.store.get(REPLICA_SET, *key_of(new)) or new
        new_unavailable = new["spec"]["replicas"] - _available(new)
        room = sum(replicas.values()) + new["spec"]["replicas"] - min_available - new_unavailable
        if room <= 0:
            return
        for replica_set in old:
            uid = uid_of(replica_set)
            taken = max(min(room, replicas[uid] - _available(replica_set), replicas[uid]), 0)
            replicas[uid] -= taken
            room -= taken
        spare = sum(_available(replica_set) for replica_set in [*old, new]) - min_available
        for replica_set in old:
            uid = uid_of(replica_set)
            taken = max(min(spare, replicas[uid]), 0)
            replicas[uid] -= taken
            spare -= taken
        for replica_set in old:
            self._scale(deployment, replica_set, replicas[uid_of(replica_set)])

    def _scale_paused(self, deployment: Object, replica_sets: Sequence[Object]) -> None:
        """Scale a paused deployment by its newest ReplicaSet that has pods, or else by the newest."""
        active = [replica_set for replica_set in replica_sets if replica_set["spec"]["replicas"]] or replica_sets[-1:]
        others = sum(replica_set["spec"]["replicas"] for replica_set in active[:-1])
        for replica_set in active[-1:]:
            self._scale(deployment, replica_set, max(deployment["spec"]["replicas"] - others, 0))

    def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> None:
        before = replica_set["spec"]["replicas"]
        if before == replicas:
            return

        def change(latest: Object) -> None:
            latest["spec"]["replicas"] = replicas

        self._cluster.writer.update(REPLICA_SET, replica_set, change)
        direction = "up" if replicas > before else "down"
        message = f"Scaled {direction} replica set {name_of(replica_set)} from {before} to {replicas}"
        self._record_scaling(deployment, message)

    def _record_scaling(self, deployment: Object, message: str) -> None:
        self._cluster.record_event(deployment, "ScalingReplicaSet", message, source="deployment-controller")

    def _update_status(self, deployment: Object, new: str | None) -> None:
        latest = self._cluster.store.get(DEPLOYMENT, *key_of(deployment))
        if latest is None:
            return
        replica_sets = self._replica_sets(latest)
        newest = next((replica_set for replica_set in replica_sets if uid_of(replica_set) == new), None)
        status = _deployment_status(latest, replica_sets, newest, self._cluster.now())
        self._cluster.writer.set_status(DEPLOYMENT, latest, status)
        progressing = next(condition for condition in status["conditions"] if condition["type"] == "Progressing")
        if progressing["reason"] in IN_PROGRESS:
            spent = (self._cluster.now() - parse_time(progressing["lastUpdateTime"])).total_seconds()
            left = latest["spec"]["progressDeadlineSeconds"] - spent
            self._cluster.enqueue(self, key_of(latest), max(left, 0) + 0.001)


def _bounds(deployment: Object) -> tuple[int, int]:
    """Return how many pods may be too many, and how many unavailable, during an update: (maxSurge, maxUnavailable)."""
    rolling = deployment["spec"]["strategy"].get("rollingUpdate") or {}
    replicas = deployment["spec"]["replicas"]
    max_surge = scaled_value(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    max_unavailable = scaled_value(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    return (max_surge, max_unavailable) if max_surge or max_unavailable else (max_surge, 1)


def _revision(replica_set: Object) -> int:
    return int(annotations_of(replica_set).get(REVISION, 0))


def _available(replica_set: Object) -> int:
    return int(status_of(replica_set).get("availableReplicas", 0))


def _own_template(replica_set: Object) -> Object:
    """Return the template as the deployment had it, without the hash."""
    template = deep_copy(replica_set["spec"]["template"])
    template["metadata"].get("labels", {}).pop(TEMPLATE_HASH, None)
    return template


# --- the status of a Deployment: counts, and the conditions that `kubectl rollout status` waits for
# https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status


def _deployment_status(deployment: Object, replica_sets: Sequence[Object], new: Object | None, now: datetime) -> Object:
    replicas = deployment["spec"]["replicas"]
    total, available = _total(replica_sets, "replicas"), _total(replica_sets, "availableReplicas")
    counts = {
        "replicas": total,
        "updatedReplicas": status_of(new).get("replicas", 0) if new else 0,
        "readyReplicas": _total(replica_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(max(total, replicas) - available, 0),
    }
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        **{name: count for name, count in counts.items() if count},
        "conditions": [_available_condition(deployment, available, now), _progressing(deployment, counts, new, now)],
    }


def _total(replica_sets: Sequence[Object], count: str) -> int:
    return sum(status_of(replica_set).get(count, 0) for replica_set in replica_sets)


def _available_condition(deployment: Object, available: int, now: datetime) -> Object:
    enough = available >= deployment["spec"]["replicas"] - _bounds(deployment)[1]
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    message = f"Deployment {'has' if enough else 'does not have'} minimum availability."
    return _condition(deployment, "Available", str(enough), reason, message, now)


def _progressing(deployment: Object, counts: dict[str, int], new: Object | None, now: datetime) -> Object:
    before = condition(deployment, "Progressing")
    if deployment["spec"].get("paused"):
        return _condition(deployment, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    name = name_of(new) if new else ""
    if counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == deployment["spec"]["replicas"]:
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition(deployment, "Progressing", "True", "NewReplicaSetAvailable", message, now)
    is_new_rollout = before is None or before["reason"] in ("NewReplicaSetAvailable", "DeploymentPaused")
    if before is None or is_new_rollout or _has_progressed(deployment, counts):
        message = f'ReplicaSet "{name}" is progressing.'
        return _condition(deployment, "Progressing", "True", "ReplicaSetUpdated", message, now, is_update=True)
    spent = (now - parse_time(before["lastUpdateTime"])).total_seconds()
    if spent < deployment["spec"]["progressDeadlineSeconds"] or before["reason"] == "ProgressDeadlineExceeded":
        return before
    message = f'ReplicaSet "{name}" has timed out progressing.'
    return _condition(deployment, "Progressing", "False", "ProgressDeadlineExceeded", message, now)


def _has_progressed(deployment: Object, counts: dict[str, int]) -> bool:
    """Return True if the counts are nearer to the end than in the deployment's status, or its spec is another."""
    before = status_of(deployment)
    if before.get("observedGeneration") != deployment["metadata"]["generation"]:
        return True
    old = counts["replicas"] - counts["updatedReplicas"]
    if old < before.get("replicas", 0) - before.get("updatedReplicas", 0):
        return True
    growing = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return any(counts[name] > before.get(name, 0) for name in growing)


def _condition(
    deployment: Object, type: str, status: str, reason: str, message: str, now: datetime, *, is_update: bool = False
) -> Object:
    """Build a condition. Its times stay while nothing about it changes, unless it `is_update`."""
    before = condition(deployment, type)
    is_same = before and (before["status"], before["reason"], before["message"]) == (status, reason, message)
    if before is not None and is_same and not is_update:
        return before
    has_changed = before is None or before["status"] != status
    return {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": timestamp(now),
        "lastTransitionTime": timestamp(now) if before is None or has_changed else before["lastTransitionTime"],
    }


# --- the controller of ReplicaSets


class ReplicaSets:
    """Keeps as many pods of a template as are wanted."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._created = 0

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is REPLICA_SET:
            yield key_of(change.object)
        elif kind is POD and (owner := controller_named(change.object, "ReplicaSet")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        replica_set = self._cluster.store.get(REPLICA_SET, namespace, name)
        if replica_set is None:
            return
        pods = active_pods(self._cluster, replica_set)
        replicas = 0 if is_terminating(replica_set) else replica_set["spec"]["replicas"]
        for _ in range(replicas - len(pods)):
            pods.append(self._create_pod(replica_set))
        if len(pods) > replicas:
            pods.sort(key=_keep_order, reverse=True)
            for pod in pods[replicas:]:
                self._cluster.writer.delete(POD, pod)
            pods = pods[:replicas]
        self._cluster.writer.set_status(REPLICA_SET, replica_set, self._status(replica_set, pods))

    def _create_pod(self, replica_set: Object) -> Object:
        self._created += 1
        template = replica_set["spec"]["template"]
        metadata = {
            **template["metadata"],
            "name": f"{name_of(replica_set)}-{name_suffix(f'{uid_of(replica_set)}/{self._created}', 5)}",
            "namespace": namespace_of(replica_set),
            "ownerReferences": [owner_reference(replica_set)],
        }
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": template["spec"]})

    def _status(self, replica_set: Object, pods: Sequence[Object]) -> Object:
        ready = [pod for pod in pods if is_true(pod, "Ready")]
        counts = {
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": len(ready),
            "availableReplicas": sum(self._is_available(replica_set, pod) for pod in ready),
        }
        return {
            "replicas": len(pods),
            **{name: count for name, count in counts.items() if count},
            "observedGeneration": replica_set["metadata"]["generation"],
        }

    def _is_available(self, replica_set: Object, pod: Object) -> bool:
        """Return True for a pod that has been ready for `minReadySeconds`; else reconcile again when it has."""
        min_ready_seconds = replica_set["spec"].get("minReadySeconds", 0)
        ready = condition(pod, "Ready")
        if not min_ready_seconds or ready is None:
            return True
        spent = (self._cluster.now() - parse_time(ready["lastTransitionTime"])).total_seconds()
        if spent < min_ready_seconds:
            self._cluster.enqueue(self, key_of(replica_set), min_ready_seconds - spent)
        return bool(spent >= min_ready_seconds)


def _keep_order(pod: Object) -> tuple[bool, bool, float]:
    """Sort key of the pods that are kept longest: on a node, ready, old."""
    age = -parse_time(pod["metadata"]["creationTimestamp"]).timestamp()
    return "nodeName" in pod["spec"], is_true(pod, "Ready"), age
