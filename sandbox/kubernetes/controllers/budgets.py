"""PodDisruptionBudgets: how many pods may be evicted now."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.controllers.deployments import share
from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    is_terminating,
    is_true,
    labels_of,
    name_of,
    namespace_of,
    owner_of,
    timestamp,
)
from sandbox.kubernetes.problems import Problem
from sandbox.kubernetes.resources.apps import REPLICA_SET, STATEFUL_SET
from sandbox.kubernetes.resources.others import DISRUPTION_BUDGET
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.selectors import selects
from sandbox.kubernetes.store import Change, Key, Store

OWNERS = {"ReplicaSet": REPLICA_SET, "StatefulSet": STATEFUL_SET}


class Budgets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DISRUPTION_BUDGET:
            yield namespace_of(change.object), name_of(change.object)
        elif kind in (POD, REPLICA_SET, STATEFUL_SET):
            for budget in self._cluster.store.all(DISRUPTION_BUDGET, namespace_of(change.object)):
                if kind is not POD or selects(budget["spec"].get("selector"), labels_of(change.object)):
                    yield namespace_of(budget), name_of(budget)

    def reconcile(self, namespace: str, name: str) -> None:
        budget = self._cluster.store.get(DISRUPTION_BUDGET, namespace, name)
        if budget is not None:
            counted = self._status(budget)
            self._cluster.writer.set_status(DISRUPTION_BUDGET, budget, counted)

    def _status(self, budget: Object) -> Object:
        pods = [
            pod
            for pod in self._cluster.store.all(POD, namespace_of(budget))
            if selects(budget["spec"].get("selector"), labels_of(pod))
        ]
        healthy = sum(is_true(pod, "Ready") and not is_terminating(pod) for pod in pods)
        expected = self._expected(pods)
        spec = budget["spec"]
        if "maxUnavailable" in spec:
            desired = max(expected - share(spec["maxUnavailable"], expected, up=True), 0)
        else:
            desired = share(spec.get("minAvailable", 1), expected, up=True)
        allowed = max(healthy - desired, 0)
        condition = {
            "type": "DisruptionAllowed",
            "status": str(allowed > 0),
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
            "observedGeneration": budget["metadata"]["generation"],
            "lastTransitionTime": timestamp(self._cluster.now()),
        }
        before = (budget.get("status") or {}).get("conditions") or [{}]
        if before[0].get("status") == condition["status"]:
            condition["lastTransitionTime"] = before[0]["lastTransitionTime"]
        return {
            "observedGeneration": budget["metadata"]["generation"],
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "conditions": [condition],
        }

    def _expected(self, pods: list[Object]) -> int:
        """How many pods their controllers want; one without a controller counts by itself."""
        owners = {(owner["kind"], owner["name"], namespace_of(pod)) for pod in pods if (owner := owner_of(pod))}
        alone = sum(owner_of(pod) is None for pod in pods)
        wanted = 0
        for kind, name, namespace in owners:
            found = self._cluster.store.get(OWNERS[kind], namespace, name) if kind in OWNERS else None
            wanted += found["spec"]["replicas"] if found else 0
        return wanted + alone


def check_budgets(store: Store, pod: Object) -> None:
    """Problem 429 when a budget does not let the pod be evicted."""
    for budget in store.all(DISRUPTION_BUDGET, namespace_of(pod)):
        if not selects(budget["spec"].get("selector"), labels_of(pod)) or not is_true(pod, "Ready"):
            continue
        status = budget.get("status") or {}
        if status.get("disruptionsAllowed", 0) <= 0:
            told = (
                f"The disruption budget {name_of(budget)} needs {status.get('desiredHealthy', 0)} healthy pods "
                f"and has {status.get('currentHealthy', 0)} currently"
            )
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Problem(
                429, "TooManyRequests", message, {"causes": [{"reason": "DisruptionBudget", "message": told}]}
            )
