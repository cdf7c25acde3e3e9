"""HorizontalPodAutoscalers: replicas by the CPU that the pods use.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, is_true, labels_of, name_of, namespace_of, status_of, timestamp
from sandbox.kubernetes.quantities import cores
from sandbox.kubernetes.resources.apps import DEPLOYMENT
from sandbox.kubernetes.resources.others import AUTOSCALER
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.selectors import selects
from sandbox.kubernetes.store import Change, Key

PERIOD = 15.0  # s between two looks
TOLERANCE = 0.1
STABLE = timedelta(seconds=300)  # nothing is scaled down that was needed so shortly before

Usage = Callable[[Object], float]


class Autoscalers:
    """`usage` is the CPU of a pod now, in cores."""

    def __init__(self, cluster: Cluster, usage: Usage) -> None:
        self._cluster = cluster
        self._usage = usage
        self._wanted: dict[Key, list[tuple[datetime, int]]] = {}

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is AUTOSCALER and change.type != "DELETED":
            yield namespace_of(change.object), name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        autoscaler = self._cluster.store.get(AUTOSCALER, namespace, name)
        if autoscaler is None:
            return
        self._cluster.look_again(self, (namespace, name), PERIOD)
        target = self._cluster.store.get(DEPLOYMENT, namespace, autoscaler["spec"]["scaleTargetRef"]["name"])
        if target is None or not target["spec"]["replicas"]:
            return  # one that was scaled to zero by hand is left alone
        percent = self._utilisation(target)
        current = target["spec"]["replicas"]
        desired = self._desired(autoscaler, current, percent)
        if desired != current:

            def change(deployment: Object) -> None:
                deployment["spec"]["replicas"] = desired

            self._cluster.writer.change(DEPLOYMENT, target, change)
            told = f"New size: {desired}; reason: cpu resource utilization (percentage of request) above target"
            self._cluster.event(autoscaler, "SuccessfulRescale", told, source="horizontal-pod-autoscaler")
        self._show(autoscaler, current, desired, percent)

    def _utilisation(self, deployment: Object) -> int | None:
        """The pods' CPU in percent of what they request."""
        pods = [
            pod
            for pod in self._cluster.store.all(POD, namespace_of(deployment))
            if selects(deployment["spec"]["selector"], labels_of(pod)) and is_true(pod, "Ready")
        ]
        requested = sum(
            cores((container.get("resources", {}).get("requests") or {}).get("cpu", "0"))
            for pod in pods
            for container in pod["spec"]["containers"]
        )
        return round(100 * sum(self._usage(pod) for pod in pods) / requested) if requested else None

    def _desired(self, autoscaler: Object, current: int, percent: int | None) -> int:
        spec = autoscaler["spec"]
        goal = next((one["resource"]["target"].get("averageUtilization") for one in spec.get("metrics") or ()), None)
        wanted: int = current
        if goal and percent is not None and abs(percent / goal - 1) > TOLERANCE:
            wanted = math.ceil(current * percent / goal)
        wanted = min(max(wanted, spec["minReplicas"]), spec["maxReplicas"])
        key, now = (namespace_of(autoscaler), name_of(autoscaler)), self._cluster.now()
        recent = [(at, number) for at, number in self._wanted.get(key, []) if now - at < STABLE]
        self._wanted[key] = [*recent, (now, wanted)]
        needed = max(number for _, number in self._wanted[key])
        return max(wanted, min(current, needed))

    def _show(self, autoscaler: Object, current: int, desired: int, percent: int | None) -> None:
        now = timestamp(self._cluster.now())
        status: Object = {"currentReplicas": current, "desiredReplicas": desired}
        if percent is not None:
            measured = {"averageUtilization": percent, "averageValue": f"{percent * 10}m"}
            status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": measured}}]
        if desired != current:
            status["lastScaleTime"] = now
        elif "lastScaleTime" in status_of(autoscaler):
            status["lastScaleTime"] = status_of(autoscaler)["lastScaleTime"]
        began = {one["type"]: one["lastTransitionTime"] for one in status_of(autoscaler).get("conditions") or ()}
        status["conditions"] = [
            {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": began.get(kind, now)}
            for kind, reason in (("AbleToScale", "ReadyForNewScale"), ("ScalingActive", "ValidMetricFound"))
        ]
        self._cluster.writer.set_status(AUTOSCALER, autoscaler, status)
