"""Deployments: a ReplicaSet for each template, and the way from one to the next.

The arithmetic of a rolling update is that of the Kubernetes controller (pkg/controller/deployment/rolling.go):
never more pods than `replicas + maxSurge`, never fewer available ones than `replicas - maxUnavailable`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from sandbox.kubernetes.controllers import deployment_status
from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.deletion import delete
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    annotations_of,
    copied,
    is_terminating,
    moment,
    name_of,
    namespace_of,
    owned_by,
    owner_of,
    status_of,
    uid_of,
)
from sandbox.kubernetes.resources.apps import DEPLOYMENT, REPLICA_SET
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key
from sandbox.kubernetes.writes import suffix

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)


class Deployments:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DEPLOYMENT:
            yield namespace_of(change.object), name_of(change.object)
        elif kind is REPLICA_SET and (owner := owner_of(change.object)):
            yield namespace_of(change.object), owner["name"]

    def reconcile(self, namespace: str, name: str) -> None:
        deployment = self._cluster.store.get(DEPLOYMENT, namespace, name)
        if deployment is None or is_terminating(deployment):
            return
        sets = self._replica_sets(deployment)
        new = next((one for one in sets if _template(one) == deployment["spec"]["template"]), None)
        if deployment["spec"].get("paused"):
            self._resize(deployment, sets)
        else:
            new = self._newest(deployment, sets, new)
            deployment = self._cluster.store.get(DEPLOYMENT, namespace, name) or deployment
            self._roll(deployment, self._replica_sets(deployment), new)
            self._forget_old(deployment, uid_of(new))
        self._tell(deployment, None if new is None else uid_of(new))

    def _replica_sets(self, deployment: Object) -> list[Object]:
        return sorted(self._cluster.made_by(deployment, REPLICA_SET), key=_revision)

    # --- the ReplicaSet of the present template

    def _newest(self, deployment: Object, sets: list[Object], new: Object | None) -> Object:
        """The ReplicaSet of the present template, made when it is missing, with the highest revision."""
        highest = max((_revision(one) for one in sets if one is not new), default=0)
        revision = highest + 1 if new is None or _revision(new) <= highest else _revision(new)
        copied_on = {key: value for key, value in annotations_of(deployment).items() if key not in NOT_COPIED}
        copied_on |= {
            REVISION: str(revision),
            "deployment.kubernetes.io/desired-replicas": str(deployment["spec"]["replicas"]),
            "deployment.kubernetes.io/max-replicas": str(deployment["spec"]["replicas"] + bounds(deployment)[0]),
        }
        if new is None:
            new = self._cluster.writer.create(REPLICA_SET, replica_set_of(deployment, copied_on))
            self._event(deployment, "ScalingReplicaSet", f"Scaled up replica set {name_of(new)} from 0 to 1")
        elif dict(annotations_of(new)) != copied_on:
            changed = copied(new)
            changed["metadata"]["annotations"] = copied_on
            new = self._cluster.store.put(REPLICA_SET, changed)
        if annotations_of(deployment).get(REVISION) != str(revision):
            changed = copied(deployment)
            changed["metadata"].setdefault("annotations", {})[REVISION] = str(revision)
            self._cluster.store.put(DEPLOYMENT, changed)
        return new

    def _forget_old(self, deployment: Object, new: str) -> None:
        """Keep as many old ReplicaSets as `revisionHistoryLimit` says."""
        idle = [
            one
            for one in self._replica_sets(deployment)
            if uid_of(one) != new and not one["spec"]["replicas"] and not status_of(one).get("replicas")
        ]
        for one in idle[: max(len(idle) - deployment["spec"]["revisionHistoryLimit"], 0)]:
            delete(self._cluster.writer, REPLICA_SET, one)

    # --- rolling

    def _roll(self, deployment: Object, sets: list[Object], newest: Object) -> None:
        new = next(one for one in sets if uid_of(one) == uid_of(newest))
        old = [one for one in sets if one is not new]
        wanted = deployment["spec"]["replicas"]
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            for one in old:
                self._scale(deployment, one, 0)
            if not any(status_of(one).get("replicas") or self._cluster.made_by(one, POD) for one in old):
                self._scale(deployment, new, wanted)
            return
        surge, unavailable = bounds(deployment)
        room = wanted + surge - sum(one["spec"]["replicas"] for one in sets)
        have = new["spec"]["replicas"]
        self._scale(deployment, new, wanted if have > wanted else min(wanted, have + max(room, 0)))
        self._scale_down(deployment, old, new, wanted - unavailable)

    def _scale_down(self, deployment: Object, old: list[Object], new: Object, least: int) -> None:
        """Take from the old ReplicaSets what `least` available pods allow, those that are not available first."""
        counts = {uid_of(one): one["spec"]["replicas"] for one in old}
        present = self._cluster.store.get(REPLICA_SET, namespace_of(new), name_of(new)) or new
        missing = present["spec"]["replicas"] - status_of(present).get("availableReplicas", 0)
        room = sum(counts.values()) + present["spec"]["replicas"] - least - missing
        if room <= 0:
            return
        for one in old:
            idle = counts[uid_of(one)] - status_of(one).get("availableReplicas", 0)
            taken = max(min(room, idle, counts[uid_of(one)]), 0)
            counts[uid_of(one)] -= taken
            room -= taken
        available = sum(status_of(one).get("availableReplicas", 0) for one in [*old, present])
        spare = available - least
        for one in old:
            taken = max(min(spare, counts[uid_of(one)]), 0)
            counts[uid_of(one)] -= taken
            spare -= taken
        for one in old:
            self._scale(deployment, one, counts[uid_of(one)])

    def _resize(self, deployment: Object, sets: list[Object]) -> None:
        """A paused deployment is still scaled: by its newest ReplicaSet that has pods, or had them last."""
        active = [one for one in sets if one["spec"]["replicas"]] or sets[-1:]
        others = sum(one["spec"]["replicas"] for one in active[:-1])
        for one in active[-1:]:
            self._scale(deployment, one, max(deployment["spec"]["replicas"] - others, 0))

    def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> None:
        have = replica_set["spec"]["replicas"]
        if have == replicas:
            return

        def change(one: Object) -> None:
            one["spec"]["replicas"] = replicas

        self._cluster.writer.change(REPLICA_SET, replica_set, change)
        direction = "up" if replicas > have else "down"
        told = f"Scaled {direction} replica set {name_of(replica_set)} from {have} to {replicas}"
        self._event(deployment, "ScalingReplicaSet", told)

    # --- telling

    def _tell(self, deployment: Object, new: str | None) -> None:
        present = self._cluster.store.get(DEPLOYMENT, namespace_of(deployment), name_of(deployment))
        if present is None:
            return
        sets = self._replica_sets(present)
        newest = next((one for one in sets if uid_of(one) == new), None)
        status = deployment_status.status(present, sets, newest, self._cluster.now(), bounds(present)[1])
        self._cluster.writer.set_status(DEPLOYMENT, present, status)
        progressing = next((one for one in status["conditions"] if one["type"] == "Progressing"), None)
        if progressing and progressing["reason"] in deployment_status.UNDER_WAY:
            spent = (self._cluster.now() - moment(progressing["lastUpdateTime"])).total_seconds()
            left = present["spec"]["progressDeadlineSeconds"] - spent
            self._cluster.look_again(self, (namespace_of(present), name_of(present)), max(left, 0) + 0.001)

    def _event(self, deployment: Object, reason: str, message: str) -> None:
        self._cluster.event(deployment, reason, message, source="deployment-controller")


def bounds(deployment: Object) -> tuple[int, int]:
    """How many pods may be too many, and how many too few, during an update: (maxSurge, maxUnavailable)."""
    rolling = deployment["spec"]["strategy"].get("rollingUpdate") or {}
    wanted = deployment["spec"]["replicas"]
    surge = share(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return (surge, unavailable) if surge or unavailable else (surge, 1)


def share(value: int | str, of: int, *, up: bool) -> int:
    """A number, or a percentage of `of`."""
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * of / 100
    return math.ceil(exact) if up else math.floor(exact)


def _revision(replica_set: Object) -> int:
    return int(annotations_of(replica_set).get(REVISION, 0))


def _template(replica_set: Object) -> Object:
    """The template as the deployment had it, without the hash."""
    template = copied(replica_set["spec"]["template"])
    template["metadata"].get("labels", {}).pop(HASH, None)
    return template


def replica_set_of(deployment: Object, annotations: dict[str, str], hashed: str | None = None) -> Object:
    """A ReplicaSet for the deployment's template, without pods yet. `hashed` is the end of its name."""
    template = copied(deployment["spec"]["template"])
    number = hashed or suffix(json.dumps(template, sort_keys=True), 10)
    labels = {**(template["metadata"].get("labels") or {}), HASH: number}
    template["metadata"]["labels"] = labels
    selector = copied(deployment["spec"]["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: number}
    spec = {"replicas": 0, "selector": selector, "template": template}
    if "minReadySeconds" in deployment["spec"]:
        spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
    metadata = {
        "name": f"{name_of(deployment)}-{number}",
        "namespace": namespace_of(deployment),
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owned_by(deployment)],
    }
    return {"metadata": metadata, "spec": spec}
