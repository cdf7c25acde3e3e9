"""The deployments of the world: their pods, the pods' nodes, how pods are replaced; or a cluster that does it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.prometheus.tsdb import Tsdb
from sandbox.world.effects import Causes
from sandbox.world.metrics import DeploymentSource, PodSource
from sandbox.world.services import NODE_TYPE, STANDARD_GPU, GpuNode, Service, feature_work

POD_START = 20_000  # ms until a pod is ready
SETTLE = 15.0  # s, the time constant with which a change takes effect
LEAK_LIMIT = 2.0  # a container that needs this many times its normal memory is killed


@dataclass(frozen=True)
class Version:
    """What an image does to its service: factors of work, an added ratio of errors, a leak in bytes a second."""

    work: float = 1.0
    latency: float = 1.0
    errors: float = 0.0
    leak: float = 0.0


HARMLESS = Version()


@dataclass(frozen=True)
class Fault:
    """A fault of a service with a cause outside of it."""

    latency: float = 1.0
    errors: float = 0.0


@dataclass(frozen=True)
class Template:
    """The pod template of a deployment; a change replaces the pods. `restarted` is a time in ms."""

    version: str
    env: Mapping[str, str]
    node_selector: Mapping[str, str]
    restarted: int = 0

    @property
    def hash(self) -> str:
        text = repr((self.version, sorted(self.env.items()), sorted(self.node_selector.items()), self.restarted))
        return hashlib.sha256(text.encode()).hexdigest()[:9]


@dataclass(eq=False)
class Pod:
    """One pod. `started` and `ready_at` are ms; `restarts` counts killed containers."""

    name: str
    node: str
    template: Template
    started: int
    ready_at: int
    source: PodSource = field(repr=False)
    restarts: int = 0

    def is_ready(self, at: int) -> bool:
        return self.ready_at <= at


class Deployment:
    """A deployed service: the desired state (`template`, `replicas`) and the present one (`pods`).

    `felt` are the causes as far as they have taken effect, by the hash of the pods' template.
    """

    def __init__(self, service: Service, tsdb: Tsdb, seed: int) -> None:
        selector = {NODE_TYPE: STANDARD_GPU} if service.gpu_share else {}
        self.service = service
        self.replicas = service.replicas
        self.template = Template(service.version, dict(service.env), selector)
        self.load = 1.0
        self.faults: dict[str, Fault] = {}
        self.pods: list[Pod] = []
        self.source = DeploymentSource(tsdb, service)
        self.felt = {self.template.hash: Causes(replicas=float(service.replicas))}
        self._tsdb = tsdb
        self._seed = seed
        self._made = 0

    def image(self, pod: Pod) -> str:
        """The pod's image, `service:tag`."""
        return f"{self.service.name}:{pod.template.version}"

    def ready(self, at: int) -> list[Pod]:
        return [pod for pod in self.pods if pod.is_ready(at)]

    def fill(self, nodes: Iterable[GpuNode], at: int, start: int = POD_START) -> None:
        """Start the missing pods, spread over the nodes that the selector allows."""
        allowed = self._allowed(nodes)
        while allowed and sum(pod.template == self.template for pod in self.pods) < self.replicas:
            nodes_in_use = [pod.node for pod in self.pods if pod.template == self.template]
            self.pods.append(self._pod(min(allowed, key=nodes_in_use.count), at, at + start))

    def _allowed(self, nodes: Iterable[GpuNode]) -> list[str]:
        if not self.service.gpu_share:
            return [f"node-{number}" for number in (1, 2, 3, 4)]
        node_type = self.template.node_selector.get(NODE_TYPE, STANDARD_GPU)
        return [node.name for node in nodes if node.type == node_type]

    def _pod(self, node: str, at: int, ready_at: int) -> Pod:
        self._made += 1
        text = f"{self._seed}/{self.service.name}/{self._made}"
        suffix = hashlib.sha256(text.encode()).hexdigest()[:5]
        name = f"{self.service.name}-{self.template.hash}-{suffix}"
        return Pod(name, node, self.template, at, ready_at, PodSource(self._tsdb, self.service, name))

    def surplus(self, at: int) -> list[Pod]:
        """Return the pods to remove: too many, or of an old template and no longer needed."""
        current = [pod for pod in self.pods if pod.template == self.template]
        old = [pod for pod in self.pods if pod.template != self.template]
        needed = max(self.replicas - sum(pod.is_ready(at) for pod in current), 0)
        old.sort(key=lambda pod: not pod.is_ready(at))
        return [*old[needed:], *current[self.replicas :]]

    def power(self, nodes: Mapping[str, GpuNode], at: int) -> float:
        """Return the capacity of the GPU nodes that the ready pods run on."""
        return sum(nodes[name].power for name in {pod.node for pod in self.ready(at)} if name in nodes)

    def causes(self, versions: Mapping[str, Version], load: float, gpu_power: float, at: int) -> dict[str, Causes]:
        """Return the causes once everything has taken effect, by the hash of the ready pods' template.

        An image's work, answer times and errors are those of its own pods; the GPUs are shared by all. Without a ready
        pod, they are those of the pods to come.
        """
        ready = self.ready(at)
        templates = {pod.template.hash: pod.template for pod in ready} or {self.template.hash: self.template}
        effects = {key: versions.get(f"{self.service.name}:{one.version}", HARMLESS) for key, one in templates.items()}
        features = {key: feature_work(one.env) for key, one in templates.items()}
        keys = [pod.template.hash for pod in ready] or list(templates)
        gpu_work = sum(effects[key].work * features[key][1] for key in keys) / len(keys)
        slower, failing = 1.0, 0.0
        for fault in self.faults.values():
            slower, failing = slower * fault.latency, failing + fault.errors
        return {
            key: Causes(
                float(len(ready)),
                load * self.load,
                version.work * features[key][0],
                gpu_work,
                gpu_power,
                version.latency * slower,
                version.errors + failing,
            )
            for key, version in effects.items()
        }


class Cluster(Protocol):
    """Runs the pods instead of the world: it gets the desired state, and reports its pods by `World.place`."""

    def scale(self, service: str, replicas: int) -> None: ...

    def roll_out(self, service: str, template: Template) -> None: ...

    def lose_node(self, node: str) -> None: ...

    def return_node(self, node: str) -> None: ...

    def container_killed(self, service: str, pod: str) -> None: ...

    def run_as_stateful_set(self, service: str) -> None: ...

    def put_into_git(self, service: str, by: str) -> None: ...


@dataclass(frozen=True)
class Placed:
    """A pod of a cluster: its node, its template, and whether it serves."""

    name: str
    node: str
    template: Template
    ready: bool
