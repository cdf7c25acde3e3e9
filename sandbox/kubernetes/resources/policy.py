"""What limits pods: PodDisruptionBudgets, with the evictions that they allow, and ResourceQuotas, which only count."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.errors import StatusError, conflict
from sandbox.kubernetes.kinds import AGE, Cause, Kind, count_column, path_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    is_true,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    parse_quantity,
    scaled_value,
    selector_matches,
    status_of,
    timestamp,
    uid_of,
)
from sandbox.kubernetes.resources.deployments import REPLICA_SET
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.resources.stateful_sets import STATEFUL_SET
from sandbox.kubernetes.state import Change, Store, Writer

SCALABLE = {"ReplicaSet": REPLICA_SET, "StatefulSet": STATEFUL_SET}
EVICTED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _rules(budget: Object, _before: Object | None) -> Iterator[Cause]:
    spec = budget.get("spec") or {}
    if {"minAvailable", "maxUnavailable"} <= spec.keys():
        yield "spec", f"Invalid value: {json.dumps(spec)}: minAvailable and maxUnavailable cannot be both set"


DISRUPTION_BUDGET = Kind(
    "policy",
    "v1",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    ("pdb",),
    subresources=("status",),
    columns=(
        path_column("Min Available", "spec.minAvailable", default="N/A"),
        path_column("Max Unavailable", "spec.maxUnavailable", default="N/A"),
        count_column("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ),
    validate=_rules,
)

RESOURCE_QUOTA = Kind(
    "",
    "v1",
    "resourcequotas",
    "ResourceQuota",
    ("quota",),
    subresources=("status",),
    columns=(AGE,),
    has_generation=False,
    returns_deleted=True,
)
KINDS = (DISRUPTION_BUDGET, RESOURCE_QUOTA)
OVER = ("Succeeded", "Failed")


class DisruptionBudgets:
    """Counts how many pods may be evicted now."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DISRUPTION_BUDGET:
            yield key_of(change.object)
        elif kind in (POD, REPLICA_SET, STATEFUL_SET):
            for budget in self._cluster.store.all(DISRUPTION_BUDGET, namespace_of(change.object)):
                if kind is not POD or _covers(budget, change.object):
                    yield key_of(budget)

    def reconcile(self, namespace: str, name: str) -> None:
        budget = self._cluster.store.get(DISRUPTION_BUDGET, namespace, name)
        if budget is not None:
            self._cluster.writer.set_status(DISRUPTION_BUDGET, budget, self._status(budget))

    def _status(self, budget: Object) -> Object:
        pods = [pod for pod in self._cluster.store.all(POD, namespace_of(budget)) if _covers(budget, pod)]
        healthy = sum(is_true(pod, "Ready") and not is_terminating(pod) for pod in pods)
        expected = self._expected(pods)
        spec = budget["spec"]
        if "maxUnavailable" in spec:
            desired = max(expected - scaled_value(spec["maxUnavailable"], expected, round_up=True), 0)
        else:
            desired = scaled_value(spec.get("minAvailable", 1), expected, round_up=True)
        allowed = max(healthy - desired, 0)
        condition = {
            "type": "DisruptionAllowed",
            "status": str(allowed > 0),
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
            "observedGeneration": budget["metadata"]["generation"],
            "lastTransitionTime": timestamp(self._cluster.now()),
        }
        before = (status_of(budget).get("conditions") or [{}])[0]
        if before.get("status") == condition["status"]:
            condition["lastTransitionTime"] = before["lastTransitionTime"]
        return {
            "observedGeneration": budget["metadata"]["generation"],
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "conditions": [condition],
        }

    def _expected(self, pods: Sequence[Object]) -> int:
        """Return how many pods their controllers want; a pod without a controller counts as one."""
        controllers = {
            (controller["kind"], namespace_of(pod), controller["name"])
            for pod in pods
            if (controller := controller_of(pod))
        }
        expected = sum(controller_of(pod) is None for pod in pods)
        for kind, namespace, name in controllers:
            workload = self._cluster.store.get(SCALABLE[kind], namespace, name) if kind in SCALABLE else None
            expected += workload["spec"]["replicas"] if workload else 0
        return expected


class ResourceQuotas:
    """Counts what the pods of a namespace use of its quotas. None is refused."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is RESOURCE_QUOTA:
            yield key_of(change.object)
        elif kind is POD:
            for quota in self._cluster.store.all(RESOURCE_QUOTA, namespace_of(change.object)):
                yield key_of(quota)

    def reconcile(self, namespace: str, name: str) -> None:
        quota = self._cluster.store.get(RESOURCE_QUOTA, namespace, name)
        if quota is None:
            return
        pods = [pod for pod in self._cluster.store.all(POD, namespace) if status_of(pod).get("phase") not in OVER]
        hard = dict(quota["spec"].get("hard") or {})
        used = {resource: _quantity(sum(_needed(resource, pod) for pod in pods)) for resource in hard}
        self._cluster.writer.set_status(RESOURCE_QUOTA, quota, {"hard": hard, "used": used})


def _needed(resource: str, pod: Object) -> float:
    """Return how much of a quota's resource a pod needs; 0 of what is not counted here."""
    if resource in ("pods", "count/pods"):
        return 1
    part, dot, name = resource.partition(".")
    if not dot:
        part, name = "requests", resource
    resources = (container.get("resources") or {} for container in pod["spec"]["containers"])
    return sum(parse_quantity((one.get(part) or {}).get(name, "0")) for one in resources)


def _quantity(amount: float) -> str:
    return str(round(amount)) if amount == round(amount) else f"{round(amount * 1000)}m"


def evict(writer: Writer, pod: Object, options: Object, *, dry_run: bool) -> Object:
    """Delete a pod if the disruption budgets allow it; `options` are the DeleteOptions of the Eviction.

    Raises StatusError 429 if a budget does not allow it, 409 if the pod is not the one with the uid that is asked for.
    """
    uid = (options.get("preconditions") or {}).get("uid")
    if uid not in (None, "", uid_of(pod)):
        raise conflict(POD, name_of(pod), f"Precondition failed: UID in precondition: {uid}")
    if is_terminating(pod):
        return EVICTED
    if status_of(pod).get("phase") == "Running":
        _check_budgets(writer.store, pod)
    if not (dry_run or options.get("dryRun")):
        writer.delete(POD, pod, options.get("gracePeriodSeconds"))
    return EVICTED


def _check_budgets(store: Store, pod: Object) -> None:
    budgets = [budget for budget in store.all(DISRUPTION_BUDGET, namespace_of(pod)) if _covers(budget, pod)]
    if len(budgets) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", message)
    for budget in budgets:
        if not is_true(pod, "Ready"):
            continue
        status = status_of(budget)
        if status.get("disruptionsAllowed", 0) <= 0:
            why = (
                f"The disruption budget {name_of(budget)} needs {status.get('desiredHealthy', 0)} healthy pods "
                f"and has {status.get('currentHealthy', 0)} currently"
            )
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            causes = [{"reason": "DisruptionBudget", "message": why}]
            raise StatusError(429, "TooManyRequests", message, {"causes": causes})


def _covers(budget: Object, pod: Object) -> bool:
    return selector_matches(budget["spec"].get("selector"), labels_of(pod))
