"""Seeded worlds for the causes: services that call each other, their pods and nodes, one hidden cause and decoys.

`World.evidence` is all that the diagnosis is given, in the form in which the bot reads Prometheus and the cluster; what
is hidden is `World.truth`. A sample is 15 s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bot.causes.evidence import Evidence, PodSeries, ServiceEvidence
from bot.domain.change import Change, ChangeKind, PodTraits

Floats: TypeAlias = NDArray[np.float64]

STEP = 15.0  # s
LENGTH = 560
WINDOW = 160
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SHIFTED = ("bad_version", "memory_leak", "more_load", "slow_dependency")  # have other ranges in the reporting worlds

CAUSES = (
    "bad_version", "bad_canary", "bad_configuration", "more_load", "too_few_replicas", "node_loss", "noisy_neighbour",
    "memory_leak", "cpu_throttling", "slow_dependency", "database", "network_policy", "autoscaler_limit", "certificate",
    "zone_trouble", "quota_reached",
)  # fmt: skip
OUTSIDE = ("slow_dns", "slow_disk", "retry_storm", "lock_contention", "cold_cache", "expired_licence")
SOURCES = ("metrics_by_pod", "usage", "changes", "nodes", "autoscaler", "dependencies", "database", "certificates")


@dataclass(slots=True)
class Pod:
    """A pod from `start` to `end` (samples); the series are factors and shares over all samples."""

    name: str
    node: int
    zone: int
    template: str
    start: int = 0
    end: int = LENGTH
    slow: Floats = field(default_factory=lambda: np.ones(LENGTH))
    errors: Floats = field(default_factory=lambda: np.zeros(LENGTH))
    work: Floats = field(default_factory=lambda: np.ones(LENGTH))
    limit: Floats = field(default_factory=lambda: np.ones(LENGTH))
    memory: Floats = field(default_factory=lambda: np.full(LENGTH, 0.5))

    @property
    def alive(self) -> NDArray[np.bool_]:
        at = np.arange(LENGTH)
        return (at >= self.start) & (at < self.end)


@dataclass(slots=True)
class Service:
    """A service: `use` is its processors' use at normal load."""

    name: str
    rate: float
    base: float
    use: float
    pods: list[Pod]
    calls: list[int] = field(default_factory=list)
    most: int | None = None
    uses_database: bool = False
    changes: list[tuple[int, ChangeKind, dict[str, object]]] = field(default_factory=list)
    quota_from: int = LENGTH
    killed_from: int = LENGTH
    certificate_from: int = LENGTH
    load: Floats = field(default_factory=lambda: np.ones(LENGTH))
    alerts: bool = True
    own_latency: Floats = field(default_factory=lambda: np.ones(LENGTH))
    own_errors: Floats = field(default_factory=lambda: np.zeros(LENGTH))
    latency: Floats = field(default_factory=lambda: np.ones(LENGTH))
    errors: Floats = field(default_factory=lambda: np.zeros(LENGTH))


class World:
    """One world. `kind` is one, two, quiet or outside; `hard`: more noise, clocks that are off, likelier decoys."""

    def __init__(
        self, seed: int, kind: str, causes: Sequence[str] = (), *, shifted: bool = False, hard: bool = False
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.kind, self.shifted, self.hard = kind, shifted, hard
        self.noise = 2.5 if hard else 1.0
        self.truth: list[tuple[str, str]] = []
        self.nodes = int(self.random.integers(4, 7))
        self.lost: dict[int, int] = {}
        self.busy: dict[int, tuple[int, float]] = {}
        self.policies: list[tuple[int, str]] = []
        self.connections = np.full(LENGTH, 0.35)
        self.edge = np.exp(self._wander(0.03)) * (1 + 0.1 * np.sin(np.arange(LENGTH) / 150))
        self.services = self._services()
        self.onset = int(self.random.integers(390, 440))
        for number, cause in enumerate(causes):
            self.at = self.onset + (int(self.random.integers(-10, 11)) if number else 0)
            planted: Callable[[Service], str] = getattr(self, f"_{cause}")
            service = self.services[int(self.random.integers(0, len(self.services)))]
            self.truth.append((cause, planted(service)))
        self._decoys()
        self._skew = {kind: self.random.uniform(-1, 1) * (90 if hard else 20) for kind in ChangeKind}
        self._missing = set(self.random.choice(SOURCES, 1)) if hard and self.random.random() < 0.5 else set()
        self._solve()
        self.service, self.alert, self.fired = self._find_alert()

    # --- what there is

    def _services(self) -> list[Service]:
        count = int(self.random.integers(4, 7))
        services = []
        for number in range(count):
            name = f"s{number}"
            pods = [self._pod(name, "t0") for _ in range(int(self.random.integers(3, 7)))]
            service = Service(
                name, self.random.uniform(40, 160), self.random.uniform(40, 200), self.random.uniform(0.3, 0.5), pods
            )
            service.uses_database = bool(self.random.random() < 0.5) or number == count - 1
            if self.random.random() < 0.5:
                service.most = len(pods) + int(self.random.integers(2, 5))
            services.append(service)
        for number in range(count - 1):
            later = np.arange(number + 1, count)
            chosen = self.random.choice(later, min(len(later), int(self.random.integers(1, 3))), replace=False)
            services[number].calls = sorted(int(one) for one in chosen)
        return services

    def _pod(self, service: str, template: str, start: int = 0) -> Pod:
        node = int(self.random.integers(0, self.nodes))
        name = f"{service}-{template}-{self.random.integers(1 << 40):x}"
        memory = self.random.uniform(0.35, 0.6) + self._wander(0.01)
        return Pod(name, node, node % 3, template, start, memory=memory)

    def _wander(self, size: float) -> Floats:
        """Return noise that remembers: each value is six tenths of the one before."""
        steps = self.random.normal(0, size * 0.8, LENGTH)
        values = np.zeros(LENGTH)
        for at in range(1, LENGTH):
            values[at] = 0.6 * values[at - 1] + steps[at]
        return values

    def _from(self, at: int, length: int = 1) -> Floats:
        return np.clip((np.arange(LENGTH) - at) / max(length, 1), 0, 1)

    def _is_far(self, cause: str) -> bool:
        return self.shifted and cause in SHIFTED

    def _hurt(self, pods: Sequence[Pod], at: int, strength: float) -> None:
        """Make pods slow, failing or hungry for CPU from a moment on."""
        how = self.random.choice(["slow", "errors", "work"])
        for pod in pods:
            since = max(at, pod.start)
            if how == "slow":
                pod.slow[since:] *= strength
            elif how == "errors":
                pod.errors[since:] += 0.03 * strength
            else:
                pod.work[since:] *= 1 + 0.35 * (strength - 1)
                pod.slow[since:] *= 1.5

    def _roll_out(self, service: Service, share: float = 1.0, length: int | None = None) -> list[Pod]:
        """Replace pods one after the other by such of a new template; return the new ones."""
        old = [pod for pod in service.pods if pod.end == LENGTH]
        count = max(1, round(len(old) * share))
        length = length or int(self.random.integers(3, 14))
        template = f"t{len({pod.template for pod in service.pods})}"
        new = []
        for pod, at in zip(old[:count], np.linspace(self.at, self.at + length, count).astype(int), strict=True):
            pod.end = int(at) + 1
            new.append(self._pod(service.name, template, int(at) + 1))
        service.pods += new
        return new

    def _change(self, service: Service, kind: ChangeKind, **facts: object) -> None:
        service.changes.append((self.at, kind, facts))

    # --- causes

    def _bad_version(self, service: Service) -> str:
        strength = self.random.uniform(1.9, 2.8) if self._is_far("bad_version") else self.random.uniform(2.2, 5)
        self._change(service, ChangeKind.VERSION, **{"from": "1", "to": "2"})
        self._hurt(self._roll_out(service), self.at, strength)
        return service.name

    def _bad_canary(self, service: Service) -> str:
        self._change(service, ChangeKind.VERSION, **{"from": "1", "to": "2"})
        new = self._roll_out(service, self.random.uniform(0.15, 0.4))
        how, strength = self.random.choice(["slow", "errors"]), self.random.uniform(4, 8)
        for pod in new:
            if how == "slow":
                pod.slow[pod.start :] *= strength
            else:
                pod.errors[pod.start :] += 0.06 * strength
        return service.name

    def _bad_configuration(self, service: Service) -> str:
        settings = [{"name": "FLAG", "from": "off", "to": "on"}]
        self._change(service, ChangeKind.CONFIGURATION, settings=settings)
        if self.random.random() < 0.7:
            self._hurt(self._roll_out(service, length=4), self.at, self.random.uniform(2.2, 5))
        else:
            self._hurt(service.pods, self.at, self.random.uniform(2.2, 5))
        return service.name

    def _more_load(self, service: Service) -> str:
        far = self._is_far("more_load")
        by = self.random.uniform(1.5, 1.8) if far else self.random.uniform(1.7, 2.8)
        length = int(self.random.integers(10, 40) if far else self.random.integers(2, 30))
        hot = max(self.services, key=lambda one: one.use)
        hot.use = max(hot.use, self.random.uniform(0.52, 0.62))
        for one in self.services:
            one.most = None
        self.edge = self.edge * (1 + (by - 1) * self._from(self.at, length))
        return "load"

    def _autoscaler_limit(self, service: Service) -> str:
        service.use, service.most = self.random.uniform(0.52, 0.6), len(service.pods)
        by, length = self.random.uniform(1.5, 2.2), int(self.random.integers(10, 60))
        service.load = 1 + (by - 1) * self._from(self.at, length)
        return service.name

    def _too_few_replicas(self, service: Service) -> str:
        service.use, service.most = self.random.uniform(0.5, 0.6), None
        gone = max(1, round(len(service.pods) * self.random.uniform(0.4, 0.6)))
        if self.random.random() < 0.7:
            self._change(service, ChangeKind.REPLICAS, to=len(service.pods) - gone)
        for number, pod in enumerate(service.pods[:gone]):
            pod.end = self.at
            pod.node = number % self.nodes
        return service.name

    def _node_loss(self, service: Service) -> str:
        node = int(self.random.integers(0, self.nodes))
        service.use = self.random.uniform(0.5, 0.6)
        for pod in service.pods[: max(1, round(len(service.pods) * 0.5))]:
            pod.node = node
        self.lost[node] = self.at + 3  # a node is not ready 40 s after it has gone silent
        back = self.at + int(self.random.integers(20, 60))
        for one in self.services:
            for pod in [pod for pod in one.pods if pod.node == node]:
                pod.end = self.at
                new = self._pod(one.name, pod.template, back)
                new.node = (node + 1) % self.nodes
                one.pods.append(new)
        return f"node{node}"

    def _noisy_neighbour(self, service: Service) -> str:
        node = int(self.random.integers(0, self.nodes))
        for number, pod in enumerate(service.pods):
            pod.node = node if number < max(1, len(service.pods) // 3) else (node + 1 + number) % self.nodes
        self.busy[node] = (self.at, self.random.uniform(0.3, 0.5))
        slow = self.random.uniform(3, 6)
        for one in self.services:
            for pod in [pod for pod in one.pods if pod.node % self.nodes == node]:
                pod.slow[self.at :] *= slow
        return f"node{node}"

    def _zone_trouble(self, service: Service) -> str:
        zone = int(self.random.integers(0, 3))
        slow, errors = self.random.uniform(3, 6), self.random.uniform(0.1, 0.3)
        how = self.random.choice(["slow", "errors"])
        for one in self.services:
            for number, pod in enumerate(one.pods):
                pod.zone = number % 3
                if pod.zone == zone and how == "slow":
                    pod.slow[self.at :] *= slow
                elif pod.zone == zone:
                    pod.errors[self.at :] += errors
        return f"zone{zone}"

    def _memory_leak(self, service: Service) -> str:
        length = int(self.random.integers(60, 90) if self._is_far("memory_leak") else self.random.integers(80, 200))
        for pod in service.pods:
            pod.memory = pod.memory + 0.45 * self._from(self.at - length, length)
            pod.slow[self.at :] *= self.random.uniform(1.8, 3)
        if self.random.random() < 0.5:
            service.killed_from = self.at + 4
        return service.name

    def _cpu_throttling(self, service: Service) -> str:
        self._change(service, ChangeKind.LIMITS, limits=[{"name": "cpu", "from": "2", "to": "500m"}])
        for pod in self._roll_out(service, length=4):
            pod.limit[pod.start :] = 0.5
            pod.slow[pod.start :] *= self.random.uniform(1.8, 3.5)
        return service.name

    def _slow_dependency(self, service: Service) -> str:
        """Let a service be slow for no reason that anybody can see: those that call it suffer."""
        callers = [one for one in self.services if one.calls]
        caller = callers[int(self.random.integers(0, len(callers)))]
        called = self.services[caller.calls[0]]
        slow = self.random.uniform(3, 5) if self._is_far("slow_dependency") else self.random.uniform(4, 9)
        called.own_latency = called.own_latency * (1 + (slow - 1) * self._from(self.at))
        called.alerts = False
        return called.name

    def _database(self, service: Service) -> str:
        self.connections = self.connections + 0.62 * self._from(self.at, 4)
        slow = self.random.uniform(2.5, 5)
        for one in self.services:
            if one.uses_database:
                one.own_latency = one.own_latency * (1 + (slow - 1) * self._from(self.at, 4))
        return "database"

    def _network_policy(self, service: Service) -> str:
        self.policies.append((self.at, f"deny-{service.name}"))
        service.own_errors[self.at :] += self.random.uniform(0.2, 0.8)
        return service.name

    def _certificate(self, service: Service) -> str:
        service.certificate_from = self.at
        service.own_errors[self.at :] += self.random.uniform(0.2, 0.9)
        return service.name

    def _quota_reached(self, service: Service) -> str:
        service.use, service.most = self.random.uniform(0.52, 0.6), len(service.pods) + 4
        service.load = 1 + (self.random.uniform(1.5, 2.2) - 1) * self._from(self.at, int(self.random.integers(4, 30)))
        service.quota_from = self.at + 2
        return service.name

    # --- what is on nobody's list

    def _slow_dns(self, service: Service) -> str:
        for one in self.services:
            one.own_latency = one.own_latency * (1 + self.random.uniform(0.8, 2) * self._from(self.at, 3))
        return "dns"

    def _slow_disk(self, service: Service) -> str:
        for pod in service.pods[: max(1, len(service.pods) - 1)]:
            pod.slow[self.at :] *= self.random.uniform(2.5, 5)
        return service.name

    def _retry_storm(self, service: Service) -> str:
        service.load = 1 + self.random.uniform(0.8, 1.5) * self._from(self.at, 6)
        service.own_errors[self.at :] += self.random.uniform(0.1, 0.3)
        return service.name

    def _lock_contention(self, service: Service) -> str:
        service.own_latency = service.own_latency * (1 + self.random.uniform(1.5, 4) * self._from(self.at))
        return service.name

    def _cold_cache(self, service: Service) -> str:
        for pod in service.pods:
            pod.work[self.at :] *= 1.6
            pod.slow[self.at :] *= 2.5
        return service.name

    def _expired_licence(self, service: Service) -> str:
        service.own_errors[self.at :] += self.random.uniform(0.2, 0.9)
        return service.name

    # --- decoys: what changes and harms nothing

    def _decoys(self) -> None:
        for _ in range(int(self.random.integers(0, 4))):
            service = self.services[int(self.random.integers(0, len(self.services)))]
            if any(place == service.name for _, place in self.truth) and not self.hard:
                continue
            self.at = self.onset - int(self.random.integers(3, 70))
            what = self.random.choice(["version", "configuration", "policy"])
            if what == "version":
                self._change(service, ChangeKind.VERSION, **{"from": "0", "to": "1"})
            elif what == "configuration":
                self._change(service, ChangeKind.CONFIGURATION, settings=[{"name": "LEVEL", "from": "1", "to": "2"}])
            else:
                self.policies.append((self.at, "allow-all"))

    # --- effects

    def _solve(self) -> None:
        """Compute latency and errors of each service: its pods' own, and what those that it calls add."""
        for service in reversed(self.services):
            alive = np.array([pod.alive for pod in service.pods])
            count = np.maximum(alive.sum(0), 1)
            requests = service.rate * self.edge * service.load
            normal = service.rate / max(sum(pod.start == 0 for pod in service.pods), 1)
            rows = []
            for pod in service.pods:
                use = service.use * requests / count / normal * pod.work / pod.limit
                queue = 1 / (1 - np.minimum(use, 0.96)) * (1 - service.use)
                overload = np.clip(use - 1, 0, 1) * 0.5
                rows.append((service.base * pod.slow * queue, pod.errors + overload, use))
            latency, errors = (np.array([row[column] for row in rows]) for column in (0, 1))
            service.latency = (np.where(alive, latency, 0).sum(0) / count) * service.own_latency
            service.errors = np.where(alive, errors, 0).sum(0) / count + service.own_errors
            for number in service.calls:
                called = self.services[number]
                service.latency = service.latency + 0.7 * (called.latency - np.median(called.latency[:300]))
                service.errors = service.errors + 0.8 * (called.errors - np.median(called.errors[:300]))
            service.errors = np.clip(service.errors + 0.002, 0, 1)

    def _find_alert(self) -> tuple[str, int, bool]:
        """Return which service's alert fires first and when; the planted one 20 samples later if none does."""
        best: tuple[int, float, str] | None = None
        for service in (one for one in self.services if one.alerts):
            bad = (service.latency > 1.6 * np.median(service.latency[:300])) | (service.errors > 0.03)
            held = np.convolve(bad, np.ones(4), "full")[:LENGTH] >= 4
            since = np.flatnonzero(held & (np.arange(LENGTH) >= self.onset - 15))
            if len(since) and since[0] < self.onset + 60:
                worse = float(
                    service.latency[since[0]] / np.median(service.latency[:300]) + service.errors[since[0]] * 20
                )
                if best is None or (since[0], -worse) < (best[0], -best[1]):
                    best = int(since[0]), worse, service.name
        if best:
            return best[2], best[0], True
        planted = next((place for _, place in self.truth if place.startswith("s")), self.services[0].name)
        return planted, self.onset + 20, False

    # --- what may be seen

    def evidence(self, name: str, at: int, without: Collection[str] = ()) -> Evidence:
        """Return what the sources say at a sample of a service; `without` some of the sources."""
        missing = {*without, *self._missing}
        random = np.random.default_rng([at, self.services[0].pods[0].node, len(name)])
        until = BEGAN + timedelta(seconds=at * STEP)
        services = {one.name: self._seen(one, at, random, missing, own=one.name == name) for one in self.services}
        node_names = [f"node{node}" for node, since in self.lost.items() if since <= at]
        busy = {f"node{node}": float(random.normal(0, 0.01)) for node in range(self.nodes)}
        for node, (since, more) in self.busy.items():
            busy[f"node{node}"] += more if since <= at - 3 else 0.0
        return Evidence(
            name,
            until,
            STEP,
            services,
            None if "nodes" in missing else node_names,
            None if "nodes" in missing else busy,
            None if "changes" in missing else [
                Change(ChangeKind.POLICY, self._time(ChangeKind.POLICY, moment), policy)
                for moment, policy in self.policies
                if moment <= at
            ],
            alerting=self.fired and name == self.service,
        )  # fmt: skip

    def _seen(
        self, service: Service, at: int, random: np.random.Generator, missing: Collection[str], *, own: bool
    ) -> ServiceEvidence:
        window = slice(at - WINDOW + 1, at + 1)

        def noisy(values: Floats, size: float) -> Floats:
            return values[..., window] * np.exp(random.normal(0, size * self.noise, values[..., window].shape))

        latency, errors = noisy(service.latency, 0.04), noisy(service.errors, 0.1)
        if random.random() < 0.1:
            gap = int(random.integers(0, WINDOW - 10))
            latency[gap : gap + int(random.integers(2, 8))] = np.nan
        traffic = noisy(service.rate * self.edge * service.load, 0.03)
        alive_now = sum(pod.alive[at] for pod in service.pods)
        changes = [
            Change(kind, self._time(kind, moment), service.name, facts)
            for moment, kind, facts in service.changes
            if moment <= at
        ]
        return ServiceEvidence(
            service.name,
            latency,
            errors,
            traffic,
            None,
            self.connections[window] if own and "database" not in missing and service.uses_database else None,
            None,
            self._pods_seen(service, window, noisy, missing) if own else None,
            None if "changes" in missing else changes,
            None if "autoscaler" in missing else service.most is not None and alive_now >= service.most,
            None if "changes" in missing else at >= service.quota_from,
            None if "changes" in missing else at >= service.killed_from,
            None if "certificates" in missing else at >= service.certificate_from,
            [] if "dependencies" in missing else [self.services[number].name for number in service.calls],
        )

    def _pods_seen(
        self, service: Service, window: slice, noisy: Callable[[Floats, float], Floats], missing: Collection[str]
    ) -> PodSeries:
        pods = [pod for pod in service.pods if pod.alive[window].any()]
        alive = np.array([pod.alive for pod in pods])
        count = np.maximum(np.array([pod.alive for pod in service.pods]).sum(0), 1)
        requests = service.rate * self.edge * service.load / count
        normal = service.rate / max(sum(pod.start == 0 for pod in service.pods), 1)
        use = np.array([service.use * requests / normal * pod.work for pod in pods])
        limits = np.array([pod.limit for pod in pods])
        added = service.latency - np.array([self._own(service)])[0]
        queue = 1 / (1 - np.minimum(use / limits, 0.96)) * (1 - service.use)
        latency = np.array([pod.slow for pod in pods]) * service.base * queue * service.own_latency + added
        errors = np.array([pod.errors for pod in pods]) + np.clip(use / limits - 1, 0, 1) * 0.5 + 0.002
        errors = np.clip(errors + service.own_errors, 0, 1)

        def seen(values: Floats, size: float) -> Floats:
            return np.where(alive[:, window], noisy(values, size), np.nan)

        by_pod, usage = "metrics_by_pod" not in missing, "usage" not in missing
        return PodSeries(
            [PodTraits(pod.name, f"node{pod.node}", f"zone{pod.zone}", pod.template) for pod in pods],
            seen(np.maximum(latency, 1.0), 0.05) if by_pod else None,
            seen(errors, 0.15) if by_pod else None,
            seen(np.broadcast_to(requests, alive.shape), 0.04) if by_pod else None,
            seen(use, 0.04) if usage else None,
            seen(np.array([pod.memory for pod in pods]), 0.004) if usage else None,
            seen(np.clip(use / limits - 0.8, 0.001, 1), 0.1) if usage else None,
        )

    def _own(self, service: Service) -> Floats:
        """Return a service's latency without what those that it calls add."""
        own = service.latency.copy()
        for number in service.calls:
            called = self.services[number]
            own -= 0.7 * (called.latency - np.median(called.latency[:300]))
        return own

    def _time(self, kind: ChangeKind, at: int) -> datetime:
        return BEGAN + timedelta(seconds=at * STEP + self._skew[kind])


def worlds(count: int, first: int, *, shifted: bool, hard: bool) -> Iterator[World]:
    """Yield worlds in the fixed mix: 60 % one cause, 10 % two, 15 % quiet, 15 % of a cause on nobody's list."""
    for number in range(count):
        seed, share = first + number, number % 20
        kind, causes = "quiet", list[str]()
        if share < 12:
            kind, causes = "one", [CAUSES[number * 7 % len(CAUSES)]]
        elif share < 14:
            kind = "two"
            causes = [str(cause) for cause in np.random.default_rng(seed).choice(CAUSES, 2, replace=False)]
        elif share >= 17:
            kind, causes = "outside", [OUTSIDE[number % len(OUTSIDE)]]
        yield World(seed, kind, causes, shifted=shifted, hard=hard)
