"""Resource metrics (metrics.k8s.io), and the HorizontalPodAutoscalers that scale by them.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import (
    AGE,
    NONE,
    Kind,
    computed_column,
    count_column,
    format_pairs,
    path_column,
)
from sandbox.kubernetes.objects import (
    Key,
    Object,
    format_bytes,
    format_cores,
    is_true,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    parse_quantity,
    selector_matches,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.nodes import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.state import Change, Store
from sandbox.world.services import NAMESPACE
from sandbox.world.world import World

# --- resource metrics

MIB = 1024.0 * 1024
NODE_CPU, NODE_MEMORY = 0.35, 1800 * MIB  # of a node itself, besides its pods
IDLE_CPU, IDLE_MEMORY = 0.02, 60 * MIB  # of a pod outside of production
SIDECAR_USAGE = {"cpu": "2000000n", "memory": "8192Ki"}

POD_METRICS = Kind(
    "metrics.k8s.io",
    "v1beta1",
    "pods",
    "PodMetrics",
    verbs=("get", "list"),
    has_generation=False,
    custom=True,
    columns=(
        computed_column("CPU", lambda metrics: metrics["containers"][0]["usage"]["cpu"]),
        computed_column("Memory", lambda metrics: metrics["containers"][0]["usage"]["memory"]),
    ),
)
NODE_METRICS = Kind(
    "metrics.k8s.io",
    "v1beta1",
    "nodes",
    "NodeMetrics",
    namespaced=False,
    verbs=("get", "list"),
    has_generation=False,
    custom=True,
    columns=(computed_column("Usage", lambda metrics: format_pairs(metrics["usage"])),),
)


class ResourceUsage:
    """The CPU and memory that pods and nodes use now. Pods of production use what the world says."""

    def __init__(self, store: Store, world: World) -> None:
        self._store = store
        self._world = world

    def cpu(self, pod: Object) -> float:
        """Return the cores that a pod uses."""
        return self._usage(pod)[0]

    def pod_metrics(self) -> list[Object]:
        self._world.advance()
        return [self._pod_metrics(pod) for pod in self._running_pods()]

    def node_metrics(self) -> list[Object]:
        self._world.advance()
        pods: dict[str, list[Object]] = {}
        for pod in self._running_pods():
            pods.setdefault(pod["spec"]["nodeName"], []).append(pod)
        return [self._node_metrics(node, pods.get(name_of(node), [])) for node in self._store.all(NODE)]

    def _running_pods(self) -> list[Object]:
        return [pod for pod in self._store.all(POD) if status_of(pod).get("phase") == "Running"]

    def _usage(self, pod: Object) -> tuple[float, float]:
        """Return the cores and the bytes that a pod uses."""
        service = labels_of(pod).get("app", "")
        digest = hashlib.sha256(f"{name_of(pod)}/{self._world.at // 15_000}".encode()).digest()
        noise = 0.9 + 0.2 * digest[0] / 255
        if namespace_of(pod) == NAMESPACE and service in self._world.deployments:
            deployment = self._world.deployments[service]
            world_pod = next((world_pod for world_pod in deployment.pods if world_pod.name == name_of(pod)), None)
            if world_pod is not None and world_pod.is_ready(self._world.at):
                return self._world.figures(service).cpu * noise, world_pod.source.memory
        return IDLE_CPU * noise, IDLE_MEMORY * noise

    def _pod_metrics(self, pod: Object) -> Object:
        cpu, memory = self._usage(pod)
        first, *sidecars = pod["spec"]["containers"]
        containers = [
            {"name": first["name"], "usage": {"cpu": format_cores(cpu), "memory": format_bytes(memory)}},
            *({"name": sidecar["name"], "usage": dict(SIDECAR_USAGE)} for sidecar in sidecars),
        ]
        metadata = {
            "name": name_of(pod),
            "namespace": namespace_of(pod),
            "creationTimestamp": self._now(),
            "labels": dict(labels_of(pod)),
        }
        return {**self._head(POD_METRICS), "metadata": metadata, "window": "15s", "containers": containers}

    def _node_metrics(self, node: Object, pods: Sequence[Object]) -> Object:
        usages = [self._usage(pod) for pod in pods]
        cpu = NODE_CPU + sum(cpu for cpu, _ in usages)
        memory = NODE_MEMORY + sum(memory for _, memory in usages)
        metadata = {"name": name_of(node), "creationTimestamp": self._now(), "labels": dict(labels_of(node))}
        usage = {"cpu": format_cores(cpu), "memory": format_bytes(memory)}
        return {**self._head(NODE_METRICS), "metadata": metadata, "window": "20s", "usage": usage}

    def _head(self, kind: Kind) -> Object:
        return {"kind": kind.name, "apiVersion": kind.api_version, "timestamp": self._now()}

    def _now(self) -> str:
        return timestamp(datetime.fromtimestamp(self._world.at / 1000, UTC))


# --- HorizontalPodAutoscalers

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
STABILIZATION = timedelta(seconds=300)  # nothing is scaled down that was needed so recently


def _default_autoscaler(autoscaler: Object) -> None:
    autoscaler["spec"].setdefault("minReplicas", 1)


def _reference_cell(autoscaler: Object) -> str:
    target = autoscaler["spec"]["scaleTargetRef"]
    return f"{target['kind']}/{target['name']}"


def _targets_cell(autoscaler: Object) -> str:
    """`cpu: 42%/85%`"""
    current = {
        metric["resource"]["name"]: metric["resource"]["current"]
        for metric in status_of(autoscaler).get("currentMetrics") or ()
    }
    targets = []
    for metric in autoscaler["spec"].get("metrics") or ():
        name, target = metric["resource"]["name"], metric["resource"]["target"].get("averageUtilization")
        utilization = current.get(name, {}).get("averageUtilization", "<unknown>")
        percent = "%" if utilization != "<unknown>" else ""
        targets.append(f"{name}: {utilization}{percent}/{target}%")
    return ", ".join(targets) or NONE


AUTOSCALER = Kind(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    ("hpa",),
    subresources=("status",),
    categories=("all",),
    columns=(
        computed_column("Reference", _reference_cell),
        computed_column("Targets", _targets_cell),
        path_column("MinPods", "spec.minReplicas", type="integer"),
        path_column("MaxPods", "spec.maxReplicas", type="integer"),
        count_column("Replicas", "status.currentReplicas"),
        AGE,
    ),
    default=_default_autoscaler,
)

KINDS = (AUTOSCALER, POD_METRICS, NODE_METRICS)


class Autoscalers:
    """Scales Deployments by the CPU of their pods. `cpu` gives the cores that a pod uses now."""

    def __init__(self, cluster: Cluster, cpu: Callable[[Object], float]) -> None:
        self._cluster = cluster
        self._cpu = cpu
        self._recommendations: dict[Key, list[tuple[datetime, int]]] = {}

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is AUTOSCALER and change.type != "DELETED":
            yield key_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        autoscaler = self._cluster.store.get(AUTOSCALER, namespace, name)
        if autoscaler is None:
            return
        self._cluster.enqueue(self, (namespace, name), SYNC_SECONDS)
        target = self._cluster.store.get(DEPLOYMENT, namespace, autoscaler["spec"]["scaleTargetRef"]["name"])
        if target is None or not target["spec"]["replicas"]:
            return  # a deployment that was scaled to zero by hand is left alone
        utilization = self._utilization(target)
        current = target["spec"]["replicas"]
        desired = self._desired(autoscaler, current, utilization)
        if desired != current:
            self._scale(autoscaler, target, desired)
        self._set_status(autoscaler, current, desired, utilization)

    def _utilization(self, deployment: Object) -> int | None:
        """Return the CPU of the ready pods in percent of what they request, None if they request nothing."""
        pods = [
            pod
            for pod in self._cluster.store.all(POD, namespace_of(deployment))
            if selector_matches(deployment["spec"]["selector"], labels_of(pod)) and is_true(pod, "Ready")
        ]
        requested = sum(
            parse_quantity((container.get("resources", {}).get("requests") or {}).get("cpu", "0"))
            for pod in pods
            for container in pod["spec"]["containers"]
        )
        return round(100 * sum(self._cpu(pod) for pod in pods) / requested) if requested else None

    def _desired(self, autoscaler: Object, current: int, utilization: int | None) -> int:
        spec = autoscaler["spec"]
        targets = (metric["resource"]["target"].get("averageUtilization") for metric in spec.get("metrics") or ())
        target = next(targets, None)
        recommended: int = current
        if target and utilization is not None and abs(utilization / target - 1) > TOLERANCE:
            recommended = math.ceil(current * utilization / target)
        recommended = min(max(recommended, spec["minReplicas"]), spec["maxReplicas"])
        key, now = key_of(autoscaler), self._cluster.now()
        recent = [(at, replicas) for at, replicas in self._recommendations.get(key, []) if now - at < STABILIZATION]
        self._recommendations[key] = [*recent, (now, recommended)]
        highest = max(replicas for _, replicas in self._recommendations[key])
        return max(recommended, min(current, highest))

    def _scale(self, autoscaler: Object, target: Object, replicas: int) -> None:
        def change(deployment: Object) -> None:
            deployment["spec"]["replicas"] = replicas

        self._cluster.writer.update(DEPLOYMENT, target, change)
        message = f"New size: {replicas}; reason: cpu resource utilization (percentage of request) above target"
        self._cluster.record_event(autoscaler, "SuccessfulRescale", message, source="horizontal-pod-autoscaler")

    def _set_status(self, autoscaler: Object, current: int, desired: int, utilization: int | None) -> None:
        now = timestamp(self._cluster.now())
        status: Object = {"currentReplicas": current, "desiredReplicas": desired}
        if utilization is not None:
            measured = {"averageUtilization": utilization, "averageValue": f"{utilization * 10}m"}
            status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": measured}}]
        if desired != current:
            status["lastScaleTime"] = now
        elif "lastScaleTime" in status_of(autoscaler):
            status["lastScaleTime"] = status_of(autoscaler)["lastScaleTime"]
        before = status_of(autoscaler).get("conditions") or ()
        since = {condition["type"]: condition["lastTransitionTime"] for condition in before}
        status["conditions"] = [
            {"type": type, "status": "True", "reason": reason, "lastTransitionTime": since.get(type, now)}
            for type, reason in (("AbleToScale", "ReadyForNewScale"), ("ScalingActive", "ValidMetricFound"))
        ]
        self._cluster.writer.set_status(AUTOSCALER, autoscaler, status)
