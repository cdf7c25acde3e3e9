"""The world: causes and effects on one clock, and the metrics that come of them."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from sandbox.clock import Clock
from sandbox.prometheus.tsdb import Floats, Tsdb
from sandbox.world.deployments import (
    HARMLESS,
    LEAK_LIMIT,
    SETTLE,
    Cluster,
    Deployment,
    Fault,
    Placed,
    Pod,
    Template,
    Version,
)
from sandbox.world.effects import Causes, Figures, figures
from sandbox.world.metrics import GpuSource, PodSource, Source, Work, do_work
from sandbox.world.scenario import (
    Action,
    Deploy,
    EndFault,
    Env,
    GitOps,
    Load,
    LoseNode,
    NodeSelector,
    ReturnNode,
    RunAs,
    Scale,
    Scenario,
    StartFault,
)
from sandbox.world.services import GPU_NODES, GPU_POWER, SERVICES, GpuNode, Service

TICK = 15_000  # ms between two samples
HOUR = 3_600_000  # ms
HISTORY = 2 * HOUR  # ms of healthy samples that exist from the start
PAST = 3 * 86_400.0  # s of traffic that the counters have seen before that
RETENTION = 12 * HOUR  # ms
NEVER = 1 << 62  # ms
RESCHEDULE = 40_000  # ms until the pods of a lost node are started elsewhere
PERIODS = (41.0, 97.0, 263.0)  # seconds; prime, so that the sum does not repeat within hours
FREQUENCIES = np.array([[math.tau / period] for period in PERIODS])  # radians a second


@dataclass(frozen=True)
class Change:
    """A change of the world: when (ms), what, and to which service if to one."""

    at: int
    what: str
    service: str | None = None


class World:
    """TAMV's production. Its methods change a cause; the effects show within a minute or two of world time.

    Nothing runs by itself: the world advances to the clock's time when it is read (`advance`) or changed.
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
        self._noise = _Noise(seed)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ended: list[Source] = []
        self._exporting: set[str] = set()
        self._moving = self._working = False
        self._at = self._worked = (self._clock_ms() - HISTORY) // TICK * TICK
        for deployment in self.deployments.values():
            deployment.fill(self.nodes.values(), self._at - int(PAST * 1000), start=0)
        self._work(np.array([PAST]))
        self.advance()

    # Observing.

    @property
    def at(self) -> int:
        """The time the world has advanced to, in ms."""
        return self._at

    @property
    def due(self) -> int | None:
        """The time of the next scheduled event, in ms."""
        return self._events[0][0] if self._events else None

    def advance(self) -> None:
        """Advance to the clock's time. A call from an event on the way, or while work is done, does nothing more."""
        self.run_due()
        self._work_until_now()

    def run_due(self) -> None:
        """Advance to the clock's time and do what is due, but none of the work that only shows in the metrics: that is
        done when somebody looks at them or a cause changes. Does nothing when called from an event on the way.
        """
        if self._moving:
            return
        self._moving = True
        try:
            target = self._clock_ms()
            while self._at < target:
                self._at = min(target, self._events[0][0] if self._events else target)
                if self._leaks():  # a container may be killed by now
                    self._work_until_now()
                while self._events and self._events[0][0] <= self._at:
                    heapq.heappop(self._events)[2]()
        finally:
            self._moving = False

    def figures(self, service: str) -> Figures:
        """Return the figures of a service now, without noise: the means over its pods."""
        self.run_due()
        deployment = self.deployments[service]
        felt = _felt(deployment.felt, self._causes(deployment), (self._at - self._worked) / 1000)
        ready = [pod.template.hash for pod in deployment.ready(self._worked)]
        each = [figures(deployment.service, felt[key]) for key in ready or felt]
        means = (sum(getattr(one, field.name) for one in each) / len(each) for field in fields(Figures))
        return Figures(*means)

    def pods(self, service: str) -> list[Pod]:
        """Return the pods of a service, starting ones included."""
        self.advance()
        return list(self.deployments[service].pods)

    def sources(self) -> list[Source]:
        """Return what has exported metrics since the last change."""
        ready = [pod.source for d in self.deployments.values() for pod in d.ready(self._worked)]
        gpus = [self._gpus[name] for name in sorted(self._exporting)]
        return [*ready, *gpus, *(deployment.source for deployment in self.deployments.values())]

    # Changing causes.

    def set_load(self, factor: float, service: str | None = None) -> None:
        """Set the traffic as a multiple of the normal, of one service or of all."""
        self.advance()
        if service is None:
            self.load = factor
        else:
            self.deployments[service].load = factor
        self._record_change(f"load {factor:g}", service)

    def scale(self, service: str, replicas: int) -> None:
        """Set the number of replicas."""
        deployment = self._deployment(service)
        deployment.replicas = replicas
        self._record_change(f"scale {replicas}", service)
        if self.cluster is not None:
            self.cluster.scale(service, replicas)
        self._reconcile(deployment)

    def set_env(self, service: str, values: Mapping[str, str | None]) -> None:
        """Set environment variables of the service's pods; None removes one. Replaces the pods."""
        template = self._deployment(service).template
        env = {name: value for name, value in {**template.env, **values}.items() if value is not None}
        self._roll_out(service, replace(template, env=env), f"env {dict(values)}")

    def set_version(self, service: str, version: str) -> None:
        """Set the image's tag; `images` says what a bad one does. Replaces the pods."""
        template = self._deployment(service).template
        self._roll_out(service, replace(template, version=version), f"version {version}")

    def set_node_selector(self, service: str, selector: Mapping[str, str]) -> None:
        """Set the node selector of the pods, `{"node-type": "gpu-high-memory"}`. Replaces the pods."""
        template = self._deployment(service).template
        self._roll_out(service, replace(template, node_selector=dict(selector)), f"node selector {dict(selector)}")

    def restart(self, service: str) -> None:
        """Replace the pods by new ones of the same template."""
        template = self._deployment(service).template
        self._roll_out(service, replace(template, restarted=self._at), "restart")

    def lose_node(self, node: str) -> None:
        """Remove a GPU node and its pods, which are rescheduled if another node fits."""
        self.advance()
        del self.nodes[node]
        self._record_change(f"node lost: {node}")
        if self.cluster is not None:
            self.cluster.lose_node(node)
            return
        for deployment in self.deployments.values():
            self._remove(deployment, [pod for pod in deployment.pods if pod.node == node])
            self.after(RESCHEDULE, partial(self._reconcile, deployment))

    def return_node(self, node: str) -> None:
        """Bring a lost node back."""
        self.advance()
        self.nodes[node] = next(gpu_node for gpu_node in GPU_NODES if gpu_node.name == node)
        self._record_change(f"node back: {node}")
        if self.cluster is not None:
            self.cluster.return_node(node)
        for deployment in self.deployments.values():
            self._reconcile(deployment)

    def place(self, service: str, pods: Sequence[Placed]) -> None:
        """Set the pods that a cluster runs for the service."""
        self._work_until_now()
        deployment = self.deployments[service]
        existing = {pod.name: pod for pod in deployment.pods}
        names = {pod.name for pod in pods}
        self._remove(deployment, [pod for pod in deployment.pods if pod.name not in names])
        for placed in pods:
            pod = existing.get(placed.name)
            if pod is None:
                source = PodSource(self.tsdb, deployment.service, placed.name)
                pod = Pod(placed.name, placed.node, placed.template, self._at, NEVER, source)
                deployment.pods.append(pod)
            if not placed.ready:
                pod.ready_at = NEVER
            elif pod.ready_at > self._at:
                pod.ready_at = self._at

    def inject(self, service: str, name: str, fault: Fault) -> None:
        """Start a fault of a service, until `clear`."""
        self._deployment(service).faults[name] = fault
        self._record_change(f"fault {name}", service)

    def clear(self, service: str, name: str) -> None:
        self._deployment(service).faults.pop(name, None)
        self._record_change(f"no fault {name}", service)

    def after(self, ms: int, do: Callable[[], None]) -> None:
        """Call `do` when the world has advanced by `ms`."""
        heapq.heappush(self._events, (self._at + ms, next(self._order), do))

    def play(self, scenario: Scenario) -> None:
        """Start a scenario now."""
        self.advance()
        self.scenario, self.performed = scenario, []
        self.images |= {name: image.version() for name, image in scenario.images.items()}
        self._record_change(f"scenario {scenario.name}")
        timed = [(step.at, step.actions) for step in scenario.steps]
        timed += [(inject.at, inject.actions) for inject in scenario.injects]
        for seconds, actions in timed:
            self.after(round(seconds * 1000), partial(self.act, actions))

    def perform(self, word: str) -> None:
        """Do the actions of one of the scenario's words. Raises ValueError for an unknown word."""
        words = self.scenario.words if self.scenario is not None else {}
        if word not in words:
            raise ValueError(f"no such word: {word}; known are: {', '.join(words) or 'none'}")
        self.advance()
        self.performed.append(word)
        self.act(words[word])

    def act(self, actions: Sequence[Action]) -> None:
        """Do the actions of a scenario or an exercise."""
        for action in actions:
            match action:
                case Load():
                    self.set_load(action.factor, action.service)
                case Scale():
                    self.scale(action.service, action.replicas)
                case Env():
                    self.set_env(action.service, action.values)
                case Deploy():
                    self.set_version(action.service, action.version)
                case NodeSelector():
                    self.set_node_selector(action.service, action.selector)
                case LoseNode():
                    self.lose_node(action.node)
                case ReturnNode():
                    self.return_node(action.node)
                case StartFault():
                    self.inject(action.service, action.name, Fault(action.latency, action.errors))
                case EndFault():
                    self.clear(action.service, action.name)
                case RunAs() if self.cluster is not None:
                    self.cluster.run_as_stateful_set(action.service)
                case GitOps() if self.cluster is not None:
                    self.cluster.put_into_git(action.service, action.by)

    # Moving in time.

    def _clock_ms(self) -> int:
        return int(self.clock.now().timestamp() * 1000)

    def _leaks(self) -> bool:
        pods = ((deployment, pod) for deployment in self.deployments.values() for pod in deployment.pods)
        return any(self.images.get(deployment.image(pod), HARMLESS).leak for deployment, pod in pods)

    def _work_until_now(self) -> None:
        """Work with the causes that have been there since the last work: before one changes, or a figure is read."""
        if self._working:
            return
        self._working = True
        try:
            while self._worked < self._at:
                next_tick = (self._worked // TICK + 1) * TICK
                self._work_until(min(self._at, next_tick) if self._leaks() else self._at)
        finally:
            self._working = False

    def _work_until(self, stop: int) -> None:
        begin = self._worked
        ticks = np.arange((begin // TICK + 1) * TICK, stop + 1, TICK, dtype=np.int64)
        ends = ticks if stop % TICK == 0 else np.append(ticks, stop)
        self._work(np.diff(ends, prepend=begin) / 1000)
        if len(ticks):
            self._stop_exporting(int(ticks[0]))
            for source in self.sources():
                source.record(ticks)
        if stop // HOUR > begin // HOUR:
            self.tsdb.drop_before(stop - RETENTION)
        self._worked = stop

    def _work(self, seconds: Floats) -> None:
        """Work through intervals of so many seconds, the first of which begins where the last work ended."""
        for deployment in self.deployments.values():
            target = self._causes(deployment)
            felt = []
            for span in seconds.tolist():
                deployment.felt = _felt(deployment.felt, target, span)
                felt.append(deployment.felt)
            self._serve(deployment, felt, seconds)

    def _causes(self, deployment: Deployment) -> Mapping[str, Causes]:
        """Return what has acted on a deployment's pods since the last work, once all of it has taken effect."""
        gpu_power = deployment.power(self.nodes, self._worked) / GPU_POWER
        return deployment.causes(self.images, self.load, gpu_power, self._worked)

    def _serve(self, deployment: Deployment, felt: Sequence[Mapping[str, Causes]], seconds: Floats) -> None:
        service, noise = deployment.service, self._noise
        now = (self._worked + np.concatenate([[0.0], np.cumsum(seconds[:-1] * 1000)])) // TICK * TICK / 1000
        expected = {key: self._expected(service, [one[key] for one in felt]) for key in felt[0]}
        rate, _, _, gpu, _, _ = next(iter(expected.values()))  # the same for all pods
        rate = rate * (1 + 0.03 * noise(now, f"{service.name}/rate")[0])
        ready = deployment.ready(self._worked)
        if ready:
            _, p95, errors, _, frames, cpu = np.stack([expected[pod.template.hash] for pod in ready], axis=1)
            swings = [
                noise(now, *(f"{pod.name}/{figure}" for pod in ready)) for figure in ("p95", "frames", "cpu", "memory")
            ]
            leaked = np.array([[self._leaked(deployment, pod)] for pod in ready])
            work = Work(
                seconds,
                rate=rate / len(ready),
                errors=errors,
                p95=p95 * (1 + 0.04 * swings[0]),
                frames=frames * (1 + 0.02 * swings[1]),
                cpu=cpu * (1 + 0.05 * swings[2]),
                memory=service.memory * (1 + 0.02 * swings[3]) + leaked,
            )
            for pod in itertools.compress(ready, work.memory.max(axis=1) > LEAK_LIMIT * service.memory):
                pod.restarts, pod.started = pod.restarts + 1, self._worked
                pod.source.reset()
                if self.cluster is not None:
                    self.cluster.container_killed(service.name, pod.name)
            do_work([pod.source for pod in ready], work)
        for node in {pod.node for pod in ready} & self.nodes.keys():
            self._gpus[node].work(gpu + 2 * noise(now, f"{node}/gpu")[0] * np.minimum(1.0, (100 - gpu) / 20))
        loads = np.array([next(iter(one.values())).load for one in felt])
        deployment.source.work(service.users * loads * (1 + 0.02 * noise(now, "users")[0]), loads)
        deployment.source.count(deployment.replicas, len(deployment.pods), len(ready))

    @staticmethod
    def _expected(service: Service, felt: Sequence[Causes]) -> Floats:
        """Return the figures without noise: rate, p95, errors, GPU, frames and processor, a row each."""
        rows: list[tuple[float, ...]] = []
        for number, causes in enumerate(felt):
            if number and causes is felt[number - 1]:
                rows.append(rows[-1])
            else:
                one = figures(service, causes)
                rows.append((one.rate, one.p95, one.errors, one.gpu, one.frames, one.cpu))
        return np.array(rows).T

    def _leaked(self, deployment: Deployment, pod: Pod) -> float:
        leak = self.images.get(deployment.image(pod), HARMLESS).leak
        return leak * (self._worked - pod.started) / 1000

    def _stop_exporting(self, at: int) -> None:
        """End the series of what has gone, at `at` ms."""
        for source in self._ended:
            source.end(at)
        self._ended.clear()
        ready = (pod for deployment in self.deployments.values() for pod in deployment.ready(self._worked))
        serving = {pod.node for pod in ready} & self._gpus.keys()
        for node in self._exporting - serving:
            self._gpus[node].end(at)
        self._exporting = serving

    # Deployments.

    def _deployment(self, service: str) -> Deployment:
        self.advance()
        return self.deployments[service]

    def _roll_out(self, service: str, template: Template, what: str) -> None:
        deployment = self.deployments[service]
        deployment.template = template
        self._record_change(what, service)
        if self.cluster is not None:
            self.cluster.roll_out(service, template)
        self._reconcile(deployment)

    def _reconcile(self, deployment: Deployment) -> None:
        """Start missing pods, remove surplus ones, now and again when the new pods are ready."""
        if self.cluster is not None:
            return
        self._work_until_now()
        deployment.fill(self.nodes.values(), self._at)
        self._remove(deployment, deployment.surplus(self._at))
        for ready_at in {pod.ready_at for pod in deployment.pods if not pod.is_ready(self._at)}:
            self.after(ready_at - self._at, partial(self._finish, deployment))

    def _finish(self, deployment: Deployment) -> None:
        self._work_until_now()
        if self.cluster is None:
            self._remove(deployment, deployment.surplus(self._at))

    def _remove(self, deployment: Deployment, pods: list[Pod]) -> None:
        deployment.pods = [pod for pod in deployment.pods if pod not in pods]
        self._ended += [pod.source for pod in pods]

    def _record_change(self, what: str, service: str | None = None) -> None:
        self.changes.append(Change(self._at, what, service))


def _felt(felt: Mapping[str, Causes], target: Mapping[str, Causes], seconds: float) -> dict[str, Causes]:
    """Return the causes of each template after `seconds`; one that is new begins where the newest of the others is."""
    newest = list(felt.values())[-1]
    return {key: _approach(felt.get(key, newest), causes, seconds) for key, causes in target.items()}


def _approach(felt: Causes, target: Causes, seconds: float) -> Causes:
    """Return the causes after `seconds`: the distance to the target shrinks by e each SETTLE seconds."""
    if felt == target:
        return felt
    rest = math.exp(-seconds / SETTLE)
    return Causes(
        **{
            field.name: getattr(target, field.name) + (getattr(felt, field.name) - getattr(target, field.name)) * rest
            for field in fields(Causes)
        }
    )


class _Noise:
    """Smooth noise in -1..1, deterministic in seed, key and time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._phases: dict[tuple[str, ...], Floats] = {}

    def __call__(self, seconds: Floats, *keys: str) -> Floats:
        """Return the noise of each key, a row each, at these times."""
        phases = self._phases.get(keys)
        if phases is None:
            phases = self._phases[keys] = np.array([self._phases_of(key) for key in keys])[:, :, None]
        noise: Floats = np.sin(seconds * FREQUENCIES + phases).sum(axis=1) / len(PERIODS)
        return noise

    def _phases_of(self, key: str) -> list[float]:
        chance = random.Random(f"{self._seed}/{key}")
        return [chance.uniform(0, math.tau) for _ in PERIODS]
