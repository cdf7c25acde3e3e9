"""The world: causes and effects on one clock, and the metrics that come of them."""

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

from sandbox.clock import Clock
from sandbox.prometheus.tsdb import Tsdb
from sandbox.world.cluster import Cluster, Placed
from sandbox.world.deployments import LEAK_LIMIT, SETTLE, Deployment, Fault, Pod, Template, Version
from sandbox.world.effects import Causes, Figures, figures
from sandbox.world.metrics import GpuSource, PodSource, Source
from sandbox.world.noise import Noise
from sandbox.world.scenario import Action, Scenario
from sandbox.world.services import GPU_NODES, GPU_POWER, SERVICES, GpuNode

TICK = 15_000  # ms between two samples
HISTORY = 2 * 3_600_000  # ms of healthy samples that exist from the start
PAST = 3 * 86_400.0  # s of traffic that the counters have seen before that
RETENTION = 12 * 3_600_000  # ms
NEVER = 1 << 62  # ms
RESCHEDULE = 40_000  # ms until the pods of a lost node are started elsewhere


@dataclass(frozen=True)
class Change:
    """Something that was done to the world: when (ms), what, and to which service if to one."""

    at: int
    what: str
    service: str | None = None


class World:
    """TAMV's production. Its methods change a cause; the effects show within a minute or two of world time.

    Nothing runs by itself: the world moves up to the clock's time when it is looked at (`advance`) or changed.
    An unknown service or node is a KeyError.
    """

    def __init__(self, clock: Clock, *, seed: int = 1) -> None:
        self.clock = clock
        self.tsdb = Tsdb()
        self.images: dict[str, Version] = {}
        self.scenario: Scenario | None = None
        self.performed: list[str] = []
        self.load = 1.0
        self.changes: list[Change] = []
        self.cluster: Cluster | None = None
        self.nodes: dict[str, GpuNode] = {node.name: node for node in GPU_NODES}
        self.deployments = {service.name: Deployment(service, self.tsdb, seed) for service in SERVICES}
        self._gpus = {node.name: GpuSource(self.tsdb, node) for node in GPU_NODES}
        self._noise = Noise(seed)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._gone: list[Source] = []
        self._exporting: set[str] = set()
        self._moving = False
        self._at = (self._clock_ms() - HISTORY) // TICK * TICK
        for deployment in self.deployments.values():
            deployment.fill(self.nodes.values(), self._at - int(PAST * 1000), start=0)
        self._work(PAST)
        self.advance()

    # --- looking

    @property
    def at(self) -> int:
        """How far the world has come, in ms."""
        return self._at

    @property
    def due(self) -> int | None:
        """When the next thing happens that is due, in ms."""
        return self._events[0][0] if self._events else None

    def advance(self) -> None:
        """Come up to the clock's time; while it is on its way, what happens then happens at that moment."""
        if not self._moving:
            self._moving = True
            try:
                self._advance_to(self._clock_ms())
            finally:
                self._moving = False

    def figures(self, service: str) -> Figures:
        """The figures of a service now, without noise."""
        self.advance()
        deployment = self.deployments[service]
        return figures(deployment.service, deployment.felt)

    def pods(self, service: str) -> list[Pod]:
        """The pods of a service, those that are still starting too."""
        self.advance()
        return list(self.deployments[service].pods)

    def sources(self) -> list[Source]:
        """What exports metrics now."""
        ready = [pod.source for d in self.deployments.values() for pod in d.ready(self._at)]
        gpus = [self._gpus[name] for name in sorted(self._exporting)]
        return [*ready, *gpus, *(deployment.source for deployment in self.deployments.values())]

    # --- changing

    def set_load(self, factor: float, service: str | None = None) -> None:
        """Traffic as a multiple of the normal, of one service or of all."""
        self.advance()
        if service is None:
            self.load = factor
        else:
            self.deployments[service].load = factor
        self._told(f"load {factor:g}", service)

    def scale(self, service: str, replicas: int) -> None:
        """So many replicas."""
        deployment = self._deployment(service)
        deployment.replicas = replicas
        self._told(f"scale {replicas}", service)
        if self.cluster is not None:
            self.cluster.scale(service, replicas)
        self._reconcile(deployment)

    def set_env(self, service: str, values: Mapping[str, str | None]) -> None:
        """Environment variables of the service's pods; None takes one away. Replaces the pods."""
        template = self._deployment(service).template
        env = {name: value for name, value in {**template.env, **values}.items() if value is not None}
        self._roll_out(service, replace(template, env=env), f"env {dict(values)}")

    def set_version(self, service: str, version: str) -> None:
        """The image's tag; what a bad one does stands in `images`. Replaces the pods."""
        template = self._deployment(service).template
        self._roll_out(service, replace(template, version=version), f"version {version}")

    def set_node_selector(self, service: str, selector: Mapping[str, str]) -> None:
        """Which nodes the pods may stand on, `{"node-type": "gpu-high-memory"}`. Replaces the pods."""
        template = self._deployment(service).template
        self._roll_out(service, replace(template, node_selector=dict(selector)), f"node selector {dict(selector)}")

    def restart(self, service: str) -> None:
        """Replace the pods by new ones of the same kind."""
        template = self._deployment(service).template
        self._roll_out(service, replace(template, restarted=self._at), "restart")

    def lose_node(self, node: str) -> None:
        """A GPU node goes, and its pods with it; they are started elsewhere if there is a node for them."""
        self.advance()
        del self.nodes[node]
        self._told(f"node lost: {node}")
        if self.cluster is not None:
            self.cluster.lose_node(node)
            return
        for deployment in self.deployments.values():
            self._remove(deployment, [pod for pod in deployment.pods if pod.node == node])
            self.after(RESCHEDULE, partial(self._reconcile, deployment))

    def return_node(self, node: str) -> None:
        """A node that was lost is back."""
        self.advance()
        self.nodes[node] = next(known for known in GPU_NODES if known.name == node)
        self._told(f"node back: {node}")
        if self.cluster is not None:
            self.cluster.return_node(node)
        for deployment in self.deployments.values():
            self._reconcile(deployment)

    def place(self, service: str, pods: Sequence[Placed]) -> None:
        """The service's pods are these now: how a cluster tells what it runs."""
        deployment = self.deployments[service]
        standing = {pod.name: pod for pod in deployment.pods}
        wanted = {pod.name for pod in pods}
        self._remove(deployment, [pod for pod in deployment.pods if pod.name not in wanted])
        for placed in pods:
            pod = standing.get(placed.name)
            if pod is None:
                source = PodSource(self.tsdb, deployment.service, placed.name)
                pod = Pod(placed.name, placed.node, placed.template, self._at, NEVER, source)
                deployment.pods.append(pod)
            if not placed.ready:
                pod.ready_at = NEVER
            elif pod.ready_at > self._at:
                pod.ready_at = self._at

    def inject(self, service: str, name: str, fault: Fault) -> None:
        """Something outside goes wrong for a service, until `clear`."""
        self._deployment(service).faults[name] = fault
        self._told(f"fault {name}", service)

    def clear(self, service: str, name: str) -> None:
        self._deployment(service).faults.pop(name, None)
        self._told(f"no fault {name}", service)

    def after(self, ms: int, do: Callable[[], None]) -> None:
        """Call `do` when the world has come `ms` further."""
        heapq.heappush(self._events, (self._at + ms, next(self._order), do))

    def play(self, scenario: Scenario) -> None:
        """Let a scenario begin now."""
        self.advance()
        self.scenario, self.performed = scenario, []
        self.images |= {name: image.version() for name, image in scenario.images.items()}
        self._told(f"scenario {scenario.name}")
        timed = [(step.at, step.actions) for step in scenario.steps]
        timed += [(inject.at, inject.actions) for inject in scenario.injects]
        for seconds, actions in timed:
            self.after(round(seconds * 1000), partial(self._act, actions))

    def perform(self, word: str) -> None:
        """Do what the scenario has for an operator's word. ValueError when it has nothing."""
        words = self.scenario.words if self.scenario is not None else {}
        if word not in words:
            raise ValueError(f"no such word: {word}; known are: {', '.join(words) or 'none'}")
        self.advance()
        self.performed.append(word)
        self._act(words[word])

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            action.act(self)

    # --- moving

    def _clock_ms(self) -> int:
        return int(self.clock.now().timestamp() * 1000)

    def _advance_to(self, target: int) -> None:
        while self._at < target:
            tick = (self._at // TICK + 1) * TICK
            stop = min(tick, target, self._events[0][0] if self._events else target)
            self._work((stop - self._at) / 1000)
            self._at = stop
            while self._events and self._events[0][0] <= self._at:
                heapq.heappop(self._events)[2]()
            if self._at == tick:
                self._record()

    def _work(self, seconds: float) -> None:
        """Let `seconds` pass with the causes as they are now."""
        for deployment in self.deployments.values():
            gpu_power = deployment.power(self.nodes, self._at) / GPU_POWER
            wanted = deployment.causes(self.images, self.load, gpu_power, self._at)
            deployment.felt = _nearer(deployment.felt, wanted, seconds)
            self._serve(deployment, seconds)

    def _serve(self, deployment: Deployment, seconds: float) -> None:
        service, noise, now = deployment.service, self._noise, self._at // TICK * TICK / 1000
        expected = figures(service, deployment.felt)
        rate = expected.rate * (1 + 0.03 * noise(f"{service.name}/rate", now))
        ready = deployment.ready(self._at)
        for pod in ready:
            seen = replace(
                expected,
                p95=expected.p95 * (1 + 0.04 * noise(f"{pod.name}/p95", now)),
                frames=expected.frames * (1 + 0.02 * noise(f"{pod.name}/frames", now)),
                cpu=expected.cpu * (1 + 0.05 * noise(f"{pod.name}/cpu", now)),
            )
            memory = service.memory * (1 + 0.02 * noise(f"{pod.name}/memory", now))
            memory += self._leaked(deployment, pod)
            if memory > LEAK_LIMIT * service.memory:
                pod.restarts, pod.started = pod.restarts + 1, self._at
                pod.source.reset()
                if self.cluster is not None:
                    self.cluster.container_killed(service.name, pod.name)
            pod.source.add(seconds, rate / len(ready), seen, memory)
        for node in {pod.node for pod in ready} & self.nodes.keys():
            swing = 2 * noise(f"{node}/gpu", now) * min(1.0, (100 - expected.gpu) / 20)
            self._gpus[node].utilisation = expected.gpu + swing
        deployment.source.users = service.users * deployment.felt.load * (1 + 0.02 * noise("users", now))

    def _leaked(self, deployment: Deployment, pod: Pod) -> float:
        leak = self.images.get(deployment.image(pod), Version()).leak
        return leak * (self._at - pod.started) / 1000

    def _record(self) -> None:
        for source in self._gone:
            source.end(self._at)
        self._gone.clear()
        standing = {pod.node for d in self.deployments.values() for pod in d.ready(self._at)} & self._gpus.keys()
        for node in self._exporting - standing:
            self._gpus[node].end(self._at)
        self._exporting = standing
        for deployment in self.deployments.values():
            source = deployment.source
            source.wanted, source.pods = deployment.replicas, len(deployment.pods)
            source.ready = len(deployment.ready(self._at))
        for each in self.sources():
            each.record(self._at)
        if self._at % 3_600_000 == 0:
            self.tsdb.drop_before(self._at - RETENTION)

    # --- deployments

    def _deployment(self, service: str) -> Deployment:
        self.advance()
        return self.deployments[service]

    def _roll_out(self, service: str, template: Template, what: str) -> None:
        deployment = self.deployments[service]
        deployment.template = template
        self._told(what, service)
        if self.cluster is not None:
            self.cluster.roll_out(service, template)
        self._reconcile(deployment)

    def _reconcile(self, deployment: Deployment) -> None:
        """Start what is missing, remove what is too much now, and again when the new pods are ready."""
        if self.cluster is not None:
            return
        deployment.fill(self.nodes.values(), self._at)
        self._remove(deployment, deployment.surplus(self._at))
        for ready_at in {pod.ready_at for pod in deployment.pods if not pod.is_ready(self._at)}:
            self.after(ready_at - self._at, partial(self._finish, deployment))

    def _finish(self, deployment: Deployment) -> None:
        if self.cluster is None:
            self._remove(deployment, deployment.surplus(self._at))

    def _remove(self, deployment: Deployment, pods: list[Pod]) -> None:
        deployment.pods = [pod for pod in deployment.pods if pod not in pods]
        self._gone += [pod.source for pod in pods]

    def _told(self, what: str, service: str | None = None) -> None:
        self.changes.append(Change(self._at, what, service))


def _nearer(felt: Causes, wanted: Causes, seconds: float) -> Causes:
    """The causes after `seconds` on the way to the wanted ones: the rest shrinks by e each SETTLE seconds."""
    if felt == wanted:
        return felt
    rest = math.exp(-seconds / SETTLE)
    return Causes(
        **{
            field.name: getattr(wanted, field.name) + (getattr(felt, field.name) - getattr(wanted, field.name)) * rest
            for field in fields(Causes)
        }
    )
