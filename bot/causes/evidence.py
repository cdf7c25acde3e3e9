"""From what the sources say of a service to findings: each a number from 0 (it is not so) to 1 (it is), or not known.

A finding compares the service with itself in the minutes before its onset, and its pods with each other. Ramps between
"surely not" and "surely" are the two numbers of each `ramp`, chosen on the tuning seeds of `benchmarks/why.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bot.causes.onset import NO_ONSET, Floats, Onset, onset
from bot.domain.change import Change, ChangeKind, PodTraits
from bot.domain.diagnosis import Finding
from bot.domain.findings import ILL
from bot.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyModule("numpy")

# How long before the onset a change may have been made: versions may hurt late, settings when they are rolled out; a
# policy acts within seconds, and clocks may differ by 90 s.
BEFORE: Mapping[ChangeKind, timedelta] = {
    ChangeKind.VERSION: timedelta(minutes=20),
    ChangeKind.CONFIGURATION: timedelta(minutes=6),
    ChangeKind.LIMITS: timedelta(minutes=6),
    ChangeKind.REPLICAS: timedelta(minutes=6),
    ChangeKind.POLICY: timedelta(minutes=2),
}
AFTER = timedelta(minutes=1)  # clocks of sources differ, and samples are late
ALERTED = 0.8  # how ill a service is at least while its alert fires: somebody's threshold says so, and may be wrong
NOTICEABLE = 4.0  # strength of an onset from which it is one, as in `health_of`
LOOKED_INTO = 3  # services, where nobody has said what calls what
PARTS = 8  # of a series, whose means tell a climb from noise
SETTLED_SAMPLES = 12  # after which a rollout that went on would have gone further
ROLLED_OUT = 0.6  # share of the pods from which a new version is no canary


@dataclass(frozen=True, slots=True)
class PodSeries:
    """Series of pods: a row a pod, a column a sample, NaN where a pod was not there. None: not measured.

    `latency` in any unit, `errors` a ratio, `traffic` in requests a second, `cpu` in cores, `memory` in bytes,
    `throttled` a ratio of periods.
    """

    pods: Sequence[PodTraits]
    latency: Floats | None = None
    errors: Floats | None = None
    traffic: Floats | None = None
    cpu: Floats | None = None
    memory: Floats | None = None
    throttled: Floats | None = None


@dataclass(frozen=True, slots=True)
class ServiceEvidence:
    """What is known of one service. Series have a value a sample, NaN for gaps; None: not measured.

    `connections` is the share of the database's connections in use, `accelerator` the use of GPUs, a ratio.
    `ready` is the number of pods that serve. The others are what the cluster says now; None: it could not be asked.
    """

    name: str
    latency: Floats | None = None
    errors: Floats | None = None
    traffic: Floats | None = None
    accelerator: Floats | None = None
    connections: Floats | None = None
    ready: Floats | None = None
    pods: PodSeries | None = None
    changes: Sequence[Change] | None = None
    autoscaler_at_most: bool | None = None
    quota_refuses: bool | None = None
    killed_for_memory: bool | None = None
    certificate_ended: bool | None = None
    depends_on: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was asked for: `samples` values, `step` seconds apart, the last one at `until`.

    `lost_nodes` are those that are not ready, `busy_nodes` those that became busy, each with how much. None: not known.
    `alerting`: an alert of the service fires, on a metric that may be none of these.
    """

    service: str
    until: datetime
    step: float
    services: Mapping[str, ServiceEvidence]
    lost_nodes: Sequence[str] | None = None
    busy_nodes: Mapping[str, float] | None = None
    policies: Sequence[Change] | None = None
    alerting: bool = False

    def at(self, ago: int) -> datetime:
        """Return the time of a sample, counted from the last one."""
        return self.until - timedelta(seconds=ago * self.step)


@dataclass(slots=True)
class Found:
    """Findings of a service, and the places that they point at: `node`, `zone`, `dependency`.

    `suffering` are the services from which its trouble may come where nobody has said what calls what, at most three;
    `ill` are all others that suffer, the worst first.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    suffering: Sequence[str] = ()
    ill: Sequence[str] = ()

    def add(self, name: str, value: float | None, /, **facts: Any) -> None:
        """Add a finding; None is left out, as it is not known."""
        if value is not None and np.isfinite(value):
            known = {key: fact for key, fact in facts.items() if not isinstance(fact, float) or np.isfinite(fact)}
            self.findings[name] = Finding(round(float(value), 3), known if value >= ILL else {})

    def value(self, name: str) -> float:
        return self.findings[name].value if name in self.findings else 0.0


@dataclass(frozen=True, slots=True)
class Health:
    """How ill a service is, 0 to 1: by latency, by errors; and the onset of the worse one."""

    slow: float | None
    failing: float | None
    latency: Onset
    errors: Onset

    @property
    def ill(self) -> float | None:
        known = [value for value in (self.slow, self.failing) if value is not None]
        return max(known) if known else None

    @property
    def onset(self) -> Onset:
        return self.errors if (self.failing or 0) > (self.slow or 0) else self.latency


def find(evidence: Evidence) -> Found:
    """Return the findings about the service of the evidence."""
    return _Finder(evidence).find()


def _is_just_before(change: Change, onset: datetime) -> bool:
    return onset - BEFORE[change.kind] <= change.at <= onset + AFTER


def health_of(service: ServiceEvidence) -> Health:
    slow = failing = None
    latency = errors = NO_ONSET
    if service.latency is not None:
        latency = onset(_log(service.latency), 0.05)
        slow = min(ramp(latency.size, 0.2, 0.55), ramp(latency.strength, 4, 9))
    if service.errors is not None:
        errors = onset(np.sqrt(service.errors), 0.01)
        failing = min(ramp(errors.size, 0.05, 0.12), ramp(errors.strength, 4, 9))
    return Health(slow, failing, latency, errors)


def ramp(value: float, low: float, high: float) -> float:
    """Return 0 up to `low`, 1 from `high` on, and a straight line between; 0 for NaN."""
    return float(min(max((value - low) / (high - low), 0.0), 1.0)) if np.isfinite(value) else 0.0


class _Finder:
    """Looks for each finding about one service."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.service = evidence.services[evidence.service]
        self.health = health_of(self.service)
        self.ill = self.health.ill
        if evidence.alerting:
            self.ill = max(self.ill or 0.0, ALERTED)
        shifted = (self.health.ill or 0) >= ILL or (evidence.alerting and self.health.onset.strength >= NOTICEABLE)
        self.began = evidence.at(self.health.onset.ago) if shifted else evidence.until
        self.by_errors = (self.health.failing or 0) > ILL
        self.found = Found()
        self.add = self.found.add

    def find(self) -> Found:
        self._health()
        self._load()
        self._changes()
        self._cluster()
        self._pods()
        self._others()
        return self.found

    def _health(self) -> None:
        service, health, since = self.service, self.health, self.began.isoformat()
        self.add("ill", self.ill, since=since)
        if service.latency is not None:
            self.add("slow", health.slow, since=since, **_levels(service.latency, health.latency))
        if service.errors is not None:
            self.add("failing", health.failing, since=since, **_levels(service.errors, health.errors))
        if (self.ill or 0) > 0.3 and health.onset.strength:
            self.add("sudden", ramp(health.onset.sudden, 0.3, 0.8), since=since)

    def _load(self) -> None:
        service = self.service
        if service.traffic is not None:
            more = onset(_log(service.traffic), 0.05)
            value = min(ramp(more.size, 0.12, 0.3), ramp(more.strength, 3, 6))
            since = self.evidence.at(more.ago).isoformat()
            self.add("more_requests", value, since=since, **_levels(service.traffic, more))
            self.add("more_requests_only_here", min(value, 1 - self._more_at_callers()))
        if service.accelerator is not None:
            now = _last(service.accelerator)
            self.add("accelerator_full", ramp(now, 0.8, 0.95), now=now)
        if service.connections is not None:
            now = _last(service.connections)
            self.add("database_full", ramp(now, 0.8, 0.93), now=now)
        if service.certificate_ended is not None:
            self.add("certificate_ended", float(service.certificate_ended))

    def _more_at_callers(self) -> float:
        """Return whether those that call the service get more requests too; 1 if nobody is known to call it."""
        calls = {name: set(service.depends_on) for name, service in self.evidence.services.items()}
        callers = _callers(self.service.name, calls) - {self.service.name}
        traffic = [self.evidence.services[name].traffic for name in callers]
        rises = [onset(_log(series), 0.05) for series in traffic if series is not None]
        return max((min(ramp(one.size, 0.12, 0.3), ramp(one.strength, 3, 6)) for one in rises), default=1.0)

    def _changes(self) -> None:
        """Findings about what was changed shortly before the onset."""
        if self.service.changes is not None:
            for finding, kind in (
                ("new_version", ChangeKind.VERSION),
                ("new_configuration", ChangeKind.CONFIGURATION),
                ("new_limits", ChangeKind.LIMITS),
                ("scaled", ChangeKind.REPLICAS),
            ):
                fitting = [
                    change
                    for change in self.service.changes
                    if change.kind is kind and change.about == self.service.name and _is_just_before(change, self.began)
                ]
                facts = {"change": fitting[-1].facts, "at": fitting[-1].at.isoformat()} if fitting else {}
                self.add(finding, float(bool(fitting)), **facts)
        if self.evidence.policies is not None:
            failed = self.evidence.at(self.health.errors.ago) if self.by_errors else self.began
            policies = [change for change in self.evidence.policies if _is_just_before(change, failed)]
            facts = {"at": policies[-1].at.isoformat(), "name": policies[-1].about} if policies else {}
            self.add("policy_changed", float(bool(policies)), **facts)

    def _cluster(self) -> None:
        for name in ("autoscaler_at_most", "quota_refuses", "killed_for_memory"):
            value = getattr(self.service, name)
            self.add(name, None if value is None else float(value))
        lost, busy = self.evidence.lost_nodes, self.evidence.busy_nodes
        if lost is not None:
            self.add("node_not_ready", float(bool(lost)), nodes=", ".join(lost))
            if lost:
                self.found.places["node"] = lost[0]
        if busy is not None:
            node, more = max(busy.items(), key=lambda item: item[1], default=("", 0.0))
            self.add("node_busy", ramp(more, 0.1, 0.3), node=node)
            self.found.places.setdefault("busy_node", node)

    def _pods(self) -> None:
        pods = self.service.pods
        if pods is None or not pods.pods:
            return
        serving = _serving(pods)
        if serving is not None:
            self._numbers(pods, serving)
            if self.by_errors and pods.errors is not None and self.service.errors is not None:
                self._health_by_pod(pods, serving, np.sqrt(pods.errors), np.sqrt(self.service.errors))
            elif pods.latency is not None and self.service.latency is not None:
                self._health_by_pod(pods, serving, _log(pods.latency), _log(self.service.latency))
        self._usage(pods)

    def _numbers(self, pods: PodSeries, serving: Any) -> None:
        """Findings about how many pods there are, and how many requests each of them gets."""
        count = serving.sum(0)
        now = int(np.median(count[-3:]))
        start = max(len(count) - self.health.onset.ago - 4, 1)
        before = float(np.median(count[max(0, start - 120) : start]))
        self.add("fewer_pods", ramp(1 - now / max(before, 1.0), 0.05, 0.2), **{"from": int(before), "to": now})
        lost = serving[:, max(0, start - 3)] & ~serving[:, -1]
        nodes = {pod.node for pod, went in zip(pods.pods, lost, strict=True) if went}
        stays = {pod.node for pod, is_here in zip(pods.pods, serving[:, -1], strict=True) if is_here}
        gone = len(nodes) == 1 and None not in nodes and not nodes & stays
        rescheduled = self.found.value("node_not_ready") and not nodes & stays
        self.add("pods_gone_with_node", float(bool((lost.sum() > 1 and gone) or (lost.any() and rescheduled))))
        if gone and nodes:
            self.found.places.setdefault("node", str(next(iter(nodes))))
        if self.service.traffic is not None:
            per_pod = onset(_log(self.service.traffic / np.maximum(count, 1)), 0.05)
            self.add("more_requests_per_pod", ramp(per_pod.size, 0.12, 0.3))

    def _health_by_pod(self, pods: PodSeries, serving: Any, rows: Floats, service: Floats) -> None:
        """Findings about which pods are ill: all, some, those of one node, zone or version."""
        start = max(len(service) - self.health.onset.ago, 1)
        level = _median(service[max(0, start - 100) : start])
        enough = 0.04 if self.by_errors else 0.25
        here = serving[:, -1]
        now = np.array([_median(row[-4:]) for row in rows])
        ill = here & (now - level > enough)
        number, of = int(ill.sum()), int(here.sum())
        if of < 2:
            return
        share = number / of
        self.add("all_pods_ill", ramp(share, 0.6, 0.95) if number else 0.0)
        self.add("some_pods_ill", ramp(1 - share, 0.1, 0.3) if number else 0.0, ill=number, of=of)
        for finding, trait, place in (
            ("one_node_ill", "node", "busy_node"),
            ("one_zone_ill", "zone", "zone"),
            ("one_version_ill", "template", "version"),
        ):
            value, name = _only_in(ill, here, [getattr(pod, trait) for pod in pods.pods])
            if value is not None:
                self.add(finding, ramp(value, 0.4, 0.8), name=name)
                if value > 0.4 and name:
                    self.found.places[place] = name
        self._new_pods(pods, serving, rows)

    def _new_pods(self, pods: PodSeries, serving: Any, rows: Floats) -> None:
        """Compare the pods of the newest template with older ones: at the same time, or with the last of them."""
        first_seen: dict[str, int] = {}
        for pod, served in zip(pods.pods, serving, strict=True):
            if pod.template and served.any():
                first_seen[pod.template] = min(first_seen.get(pod.template, len(served)), int(np.argmax(served)))
        newest = max(first_seen, key=lambda template: first_seen[template], default=None)
        if newest is None:
            return
        if first_seen[newest] == 0 or len(first_seen) < 2:
            self.add("new_pods_worse", 0.0)
            self.add("versions_side_by_side", 0.0)
            return
        is_new = np.array([pod.template == newest for pod in pods.pods])
        new = np.where(serving & is_new[:, None], rows, np.nan)
        old = np.where(serving & ~is_new[:, None], rows, np.nan)
        together = np.isfinite(new).any(0) & np.isfinite(old).any(0)
        start = first_seen[newest]
        scores = [_median(new[:, start : start + 12]) - _median(old[:, max(0, start - 20) : start])]
        if together.sum() >= 2:
            scores.append(_median(new[:, together]) - _median(old[:, together]))
        self._versions(serving[:, -1], is_new, serving.shape[1] - start)
        low, high = (0.04, 0.12) if self.by_errors else (0.15, 0.45)
        self.add("new_pods_worse", ramp(min(scores), low, high))

    def _versions(self, here: Any, is_new: Any, age: int) -> None:
        """Whether two versions serve beside each other to stay so: not known while a rollout may be under way."""
        share = float((here & is_new).sum() / max(here.sum(), 1))
        if share >= ROLLED_OUT:
            self.add("versions_side_by_side", 0.0)
        elif age >= SETTLED_SAMPLES and share > 0:
            self.add("versions_side_by_side", 1.0)

    def _usage(self, pods: PodSeries) -> None:
        if pods.cpu is not None:
            with np.errstate(all="ignore"):
                total = np.nansum(pods.cpu, 0)
                more = onset(_log(total), 0.03)
                self.add("more_cpu", min(ramp(more.size, 0.12, 0.35), ramp(more.strength, 3, 6)))
                if self.service.traffic is not None:
                    traffic = np.where(self.service.traffic > 0, self.service.traffic, np.nan)
                    work = onset(_log(total / traffic), 0.03)
                    self.add("more_work_per_request", min(ramp(work.size, 0.12, 0.3), ramp(work.strength, 3, 6)))
        if pods.throttled is not None:
            self.add("throttled", ramp(_median(pods.throttled[:, -4:]), 0.03, 0.15))
        if pods.memory is not None:
            self.add("memory_climbs", max((_climbs(row) for row in pods.memory), default=0.0))

    def _others(self) -> None:
        """Findings about the other services: whether they suffer too, and whether one that this one calls did first."""
        others = {name: health_of(one) for name, one in self.evidence.services.items() if name != self.service.name}
        known = {name: other for name, other in others.items() if other.ill is not None}
        if known:
            ill = {name: other.onset.strength for name, other in known.items() if (other.ill or 0) >= ILL}
            self.add("others_ill", ramp(len(ill) / len(known), 0.1, 0.5), services=", ".join(sorted(ill)))
            self.found.ill = sorted(ill, key=lambda name: -ill[name])
        calls = {name: set(service.depends_on) for name, service in self.evidence.services.items()}
        if not any(calls.values()):  # nobody has said what calls what
            self.found.suffering = self._suffering(known)[:LOOKED_INTO]
            return
        if not any(name in known for name in self.service.depends_on):
            return
        root = self._root(calls, known)
        self.add("dependency_ill", (known[root].ill if root else 0.0) or 0.0, service=root)
        if root:
            self.found.places["dependency"] = root
            explained = _callers(root, calls) | {root}
            unrelated = [other.ill or 0.0 for name, other in known.items() if name not in explained]
            self.add("unrelated_ill", max(unrelated, default=0.0))

    def _suffering(self, known: Mapping[str, Health]) -> list[str]:
        """Return the services that began to suffer no later, those whose latency (or errors) grew most first.

        What a service waits for adds to its latency at most what it has grown itself.
        """
        if (self.ill or 0.0) < ILL:
            return []
        latest = self.health.onset.ago - 2
        ill = [name for name, one in known.items() if (one.ill or 0.0) >= ILL and one.onset.ago >= latest]
        return sorted(ill, key=lambda name: -self._growth(name, known[name]))

    def _growth(self, name: str, health: Health) -> float:
        """Return by how much a service's latency, or its errors where this one fails, has risen in its own unit."""
        service = self.evidence.services[name]
        series, shift = (service.errors, health.errors) if self.by_errors else (service.latency, health.latency)
        if series is None or not shift.strength:
            return 0.0
        levels = _levels(series, shift)
        return levels["to"] - levels["from"]

    def _root(self, calls: Mapping[str, set[str]], known: Mapping[str, Health]) -> str | None:
        """Return where the trouble comes from: an ill service, called over ill ones, that calls none that is ill."""
        latest = self.health.onset.ago - 2
        ill = {name for name, one in known.items() if (one.ill or 0.0) >= ILL and one.onset.ago >= latest}
        reached, edge = set[str](), {self.service.name}
        while edge:
            edge = {name for one in edge for name in calls.get(one, ())} & ill - reached
            reached |= edge
        roots = [name for name in reached if not calls.get(name, set()) & reached - {name}]
        # Where several are as ill, the one whose figures moved most; the same evidence has the same answer.
        return max(sorted(roots), key=lambda name: (known[name].ill or 0.0, known[name].onset.strength), default=None)


def _callers(service: str, calls: Mapping[str, set[str]]) -> set[str]:
    """Return all services that call one, by others too."""
    found = {service}
    for _ in calls:
        found |= {name for name, called in calls.items() if called & found}
    return found


def _serving(pods: PodSeries) -> Any:
    """Return which pods served at which sample; None if that was not measured."""
    if pods.traffic is not None:
        return np.isfinite(pods.traffic) & (pods.traffic > 0)
    rows = pods.latency if pods.latency is not None else pods.cpu
    return None if rows is None else np.isfinite(rows)


def _only_in(ill: Any, serving: Any, traits: Sequence[str | None]) -> tuple[float | None, str | None]:
    """Return how well a trait tells the ill pods from the others, 0 to 1, and which; None if all have the same one."""
    here = {trait for trait, serves in zip(traits, serving, strict=True) if serves} - {None}
    if len(here) < 2:
        return None, None
    best, name = 0.0, None
    for trait in sorted(here, key=str):
        inside = serving & np.array([other == trait for other in traits])
        outside = serving & ~inside
        if not ill.any() or not outside.any():
            continue
        value = ill[inside].mean() * (1 - ill[outside].mean()) * (ill & inside).sum() / ill.sum()
        if value > best:
            best, name = float(value), trait
    return best, name


def _climbs(memory: Floats) -> float:
    """Return whether a pod's memory rises steadily and far: 0 to 1."""
    known = memory[np.isfinite(memory)][-120:]
    if len(known) < 2 * PARTS:
        return 0.0
    levels = np.array([part.mean() for part in np.array_split(known, PARTS)])
    rise = float(np.log(levels[-1] / levels[0])) if levels[0] > 0 else 0.0
    up = float((np.diff(levels) > 0).mean())
    return min(ramp(rise, 0.1, 0.25), ramp(up, 0.6, 0.9))


def _levels(series: Floats, shift: Onset) -> dict[str, float]:
    """Return the level before, the level now, and how many times as high that is."""
    start = max(len(series) - shift.ago, 1)
    before, now = _rounded(_median(series[max(0, start - 100) : start])), _rounded(_last(series))
    return {"from": before, "to": now, **({"times": _rounded(now / before)} if before else {})}


def _log(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(values > 0, np.log(np.maximum(values, 1e-9)), np.nan)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _last(series: Floats) -> float:
    return _median(series[-4:])


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
