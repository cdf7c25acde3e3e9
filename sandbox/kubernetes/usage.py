"""metrics.k8s.io: the CPU and memory of pods and nodes now; those of production are the world's."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from sandbox.kubernetes.objects import Object, labels_of, name_of, namespace_of, status_of, timestamp
from sandbox.kubernetes.quantities import as_bytes, as_cores
from sandbox.kubernetes.resources.main import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Store
from sandbox.world import World
from sandbox.world.services import NAMESPACE

MIB = 1024.0 * 1024
OWN_CPU, OWN_MEMORY = 0.35, 1800 * MIB  # of a node, besides its pods


class Usage:
    def __init__(self, store: Store, world: World) -> None:
        self._store = store
        self._world = world

    def cpu(self, pod: Object) -> float:
        """Cores."""
        return self._of(pod)[0]

    def pods(self) -> list[Object]:
        return [self._pod(pod) for pod in self._store.all(POD) if status_of(pod).get("phase") == "Running"]

    def nodes(self) -> list[Object]:
        standing: dict[str, list[Object]] = {}
        for pod in self._store.all(POD):
            if status_of(pod).get("phase") == "Running":
                standing.setdefault(pod["spec"]["nodeName"], []).append(pod)
        return [self._node(node, standing.get(name_of(node), [])) for node in self._store.all(NODE)]

    def _of(self, pod: Object) -> tuple[float, float]:
        """Cores and bytes of a pod."""
        service = labels_of(pod).get("app", "")
        swing = 0.9 + 0.2 * hashlib.sha256(f"{name_of(pod)}/{self._world.at // 15_000}".encode()).digest()[0] / 255
        if namespace_of(pod) == NAMESPACE and service in self._world.deployments:
            deployment = self._world.deployments[service]
            known = next((one for one in deployment.pods if one.name == name_of(pod)), None)
            if known is not None and known.is_ready(self._world.at):
                return self._world.figures(service).cpu * swing, known.source.memory
        return 0.02 * swing, 60 * MIB * swing

    def _pod(self, pod: Object) -> Object:
        cpu, memory = self._of(pod)
        containers = pod["spec"]["containers"]
        usage = [
            {"name": one["name"], "usage": {"cpu": as_cores(cpu), "memory": as_bytes(memory)}}
            if index == 0
            else {"name": one["name"], "usage": {"cpu": "2000000n", "memory": "8192Ki"}}
            for index, one in enumerate(containers)
        ]
        metadata = {
            "name": name_of(pod),
            "namespace": namespace_of(pod),
            "creationTimestamp": self._now(),
            "labels": dict(labels_of(pod)),
        }
        return {**self._head("PodMetrics"), "metadata": metadata, "window": "15s", "containers": usage}

    def _node(self, node: Object, pods: list[Object]) -> Object:
        used = [self._of(pod) for pod in pods]
        cpu = OWN_CPU + sum(one[0] for one in used)
        memory = OWN_MEMORY + sum(one[1] for one in used)
        metadata = {"name": name_of(node), "creationTimestamp": self._now(), "labels": dict(labels_of(node))}
        usage = {"cpu": as_cores(cpu), "memory": as_bytes(memory)}
        return {**self._head("NodeMetrics"), "metadata": metadata, "window": "20s", "usage": usage}

    def _head(self, kind: str) -> Object:
        return {"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "timestamp": self._now()}

    def _now(self) -> str:

        return timestamp(datetime.fromtimestamp(self._world.at / 1000, UTC))
