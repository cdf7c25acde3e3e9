"""Ask all sources at once what they know of a service: metrics, the cluster, Helm, GitHub, the bot's own runs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bot.causes.evidence import Evidence, PodSeries, ServiceEvidence
from bot.causes.onset import Floats
from bot.deps import Deps
from bot.domain.change import Change, ChangeKind, PodTraits, merged_changes
from bot.domain.errors import BotError, NotFound
from bot.domain.incident import Milestone
from bot.integrations.prometheus import Line, Prometheus, fill, narrowed
from bot.lazy import LazyModule
from bot.team import PRODUCTION, Query, Service, Signal, TeamFile

if TYPE_CHECKING:
    import numpy as np

    from bot.integrations.kubernetes.history import NodeState, WorkloadHistory
    from bot.integrations.kubernetes.kubernetes import Kubernetes
else:
    np = LazyModule("numpy")

T = TypeVar("T")

BEFORE_ONSET = timedelta(minutes=40)  # that are looked at, to know what is normal
LONGEST = timedelta(hours=3)
CHANGES_SINCE = timedelta(hours=6)
STEP_SECONDS = 15
MOST_SAMPLES = 240
NARROW = 120  # seconds; a longer range blurs when something began
OTHER_SERVICES = 8  # that are compared with this one
AT_ONCE = 6
ASK_FOR = 12.0  # seconds; what has not answered by then is missing

CPU = 'sum by (pod) (rate(container_cpu_usage_seconds_total{namespace="$namespace",pod=~"$pods",container!=""}[2m]))'
MEMORY = 'sum by (pod) (container_memory_working_set_bytes{namespace="$namespace",pod=~"$pods",container!=""})'
THROTTLED = (
    'sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{namespace="$namespace",pod=~"$pods"}[2m]))'
    ' / sum by (pod) (rate(container_cpu_cfs_periods_total{namespace="$namespace",pod=~"$pods"}[2m]))'
)
CERTIFICATES = 'min(probe_ssl_earliest_cert_expiry{instance=~".*$service.*"}) - time()'
NODES_CPU = '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[2m]))'


@dataclass(slots=True)
class Gathered:
    """What was found: the evidence, all changes (oldest first), and the sources that could not be asked."""

    evidence: Evidence
    changes: list[Change]
    missing: list[str] = field(default_factory=list)


async def gather(deps: Deps, service: str, since: datetime | None = None, *, alerting: bool = False) -> Gathered:
    """Ask for what happened to a service until now. Never raises BotError.

    `since` is when the incident began; `alerting`: an alert of the service fires.
    """
    now = deps.clock.now().replace(microsecond=0)
    asked = _Asked(deps, service, now, min(since or now, now))
    gathered = await asked.gather()
    return replace(gathered, evidence=replace(gathered.evidence, alerting=alerting))


class _Asked:
    def __init__(self, deps: Deps, service: str, now: datetime, since: datetime) -> None:
        self._deps = deps
        self._team: TeamFile = deps.team
        self._service = service
        self._now = now
        span = min(max(now - since + BEFORE_ONSET / 2, BEFORE_ONSET), LONGEST)
        self._step = STEP_SECONDS * math.ceil(span.total_seconds() / STEP_SECONDS / MOST_SAMPLES)
        self._samples = int(span.total_seconds() // self._step)
        self._start = now - timedelta(seconds=self._step * (self._samples - 1))
        self._changes_since = min(since, now) - CHANGES_SINCE
        self._free = asyncio.Semaphore(AT_ONCE)
        self._missing: dict[str, None] = {}
        self._ended_certificates: list[Change] = []
        self._runs_as: Sequence[str] = ()  # the service's workloads in production, as they are there

    async def gather(self) -> Gathered:
        names = self._compared()
        nodes, (changes, others_changes) = await asyncio.gather(self._nodes(), self._elsewhere())
        histories = await self._histories(names, nodes or {})
        services = dict(zip(names, await asyncio.gather(*(self._of(name, histories) for name in names)), strict=True))
        busy, policies, objects = await asyncio.gather(self._busy_nodes(), self._policies(), self._configuration())
        found = [*changes, *others_changes, *(policies or ()), *objects, *self._ended_certificates]
        found += [change for node in (nodes or {}).values() for change in node.changes]
        for history in histories.values():
            found += history.changes if history else ()
        merged = merged_changes(found, since=self._changes_since, until=self._now + timedelta(minutes=1))
        own = services[self._service]
        if own.changes is not None:
            services[self._service] = replace(own, changes=merged)
        lost = None if nodes is None else [node.name for node in nodes.values() if not node.ready]
        evidence = Evidence(self._service, self._now, self._step, services, lost, busy, policies)
        return Gathered(evidence, merged, sorted(self._missing))

    def _compared(self) -> list[str]:
        """Return the service, those that it calls, and some others."""
        own = self._team.services[self._service]
        others = [*own.depends_on, *self._team.services]
        return list(dict.fromkeys([self._service, *others]))[: OTHER_SERVICES + 1]

    # --- metrics

    async def _of(self, name: str, histories: Mapping[str, WorkloadHistory | None]) -> ServiceEvidence:
        service, history = self._team.services[name], histories.get(name)
        own = name == self._service
        signals: tuple[Signal, ...] = ("latency", "errors", "traffic", *(("accelerator", "connections") if own else ()))
        series = dict(
            zip(signals, await asyncio.gather(*(self._signal(name, signal) for signal in signals)), strict=True)
        )
        if own and series["latency"] is None and series["errors"] is None:
            self._missing["metrics"] = None
        pods = await self._pods(name, service, history) if own else None
        return ServiceEvidence(
            name,
            **series,
            pods=pods,
            changes=None if history is None else history.changes,
            killed_for_memory=None if history is None else history.killed_for_memory,
            quota_refuses=None if history is None else history.quota_refuses,
            autoscaler_at_most=await self._autoscaler(history) if own else None,
            certificate_ended=await self._certificate(name) if own else None,
            depends_on=service.depends_on,
        )

    async def _signal(self, service: str, signal: Signal) -> Floats | None:
        query = self._query(service, signal)
        if query is None:
            return None
        lines = await self._lines(self._filled(query.promql, service))
        if not lines:
            return None
        values = np.nanmax([self._row(line) for line in lines], axis=0) if len(lines) > 1 else self._row(lines[0])
        return values / 100 if query.unit == "%" else values

    def _query(self, service: str, signal: Signal) -> Query | None:
        """Return the query for a signal: of the service's board, or else the first of the catalogue."""
        board = self._team.boards.get(self._team.services[service].board or "")
        names = [*(board.queries if board else ()), *self._team.queries]
        return next((self._team.queries[name] for name in names if self._team.queries[name].signal == signal), None)

    async def _pods(self, name: str, service: Service, history: WorkloadHistory | None) -> PodSeries | None:
        namespace = service.namespaces.get(PRODUCTION)
        by_signal: dict[str, Sequence[Line]] = {}
        for signal in ("latency", "errors", "traffic"):
            query = self._query(name, signal)
            if query and query.by_pod:
                by_signal[signal] = await self._lines(self._filled(query.by_pod, name))
        if not any(by_signal.values()):
            self._missing["pod_metrics"] = None
        if namespace and service.runs_as:
            workloads = "|".join(f"{reference.rpartition('/')[2]}-.*" for reference in service.runs_as)
            for key, promql in (("cpu", CPU), ("memory", MEMORY), ("throttled", THROTTLED)):
                filled = fill(promql, namespace=namespace).replace("$pods", workloads)
                by_signal[key] = await self._lines(filled)
        if not by_signal.get("cpu"):
            self._missing["usage"] = None
        if not any(by_signal.values()):
            return None
        return self._by_pod(name, service, history, by_signal)

    def _by_pod(
        self, name: str, service: Service, history: WorkloadHistory | None, by_signal: Mapping[str, Sequence[Line]]
    ) -> PodSeries:
        known = {pod.name: pod for pod in (history.pods if history else ())}
        seen = {line.labels.get("pod", "") for lines in by_signal.values() for line in lines} - {""}
        traits = [known.get(pod) or PodTraits(pod, template=_template_of(pod, service)) for pod in sorted(seen)]
        error_query = self._query(name, "errors")
        scale = 0.01 if error_query and error_query.unit == "%" else 1.0
        rows = {signal: self._rows(lines, sorted(seen)) for signal, lines in by_signal.items() if lines}
        if "errors" in rows:
            rows["errors"] = rows["errors"] * scale
        return PodSeries(traits, **rows)

    def _rows(self, lines: Sequence[Line], pods: Sequence[str]) -> Floats:
        rows = np.full((len(pods), self._samples), np.nan)
        for line in lines:
            if (pod := line.labels.get("pod", "")) in pods:
                rows[pods.index(pod)] = self._row(line)
        return rows

    def _row(self, line: Line) -> Floats:
        row = np.full(self._samples, np.nan)
        for at, value in line.points:
            position = round((at - self._start).total_seconds() / self._step)
            if 0 <= position < self._samples:
                row[position] = value
        return row

    async def _certificate(self, service: str) -> bool | None:
        lines = await self._lines(fill(CERTIFICATES, service=service))
        if not lines:
            return None
        at, left = lines[0].points[-1]
        if left < 0:
            ended = at + timedelta(seconds=left)
            self._ended_certificates.append(Change(ChangeKind.CERTIFICATE, ended, service, sources=("prometheus",)))
        return left < 0

    async def _busy_nodes(self) -> Mapping[str, float] | None:
        """Return how much more each node's processor is in use than before, as a share; None if not measured."""
        lines = await self._lines(NODES_CPU)
        if not lines:
            return None
        rows = {line.labels.get("instance", ""): self._row(line) for line in lines}
        half = self._samples // 2
        return {
            name: float(np.nanmedian(row[-4:]) - np.nanmedian(row[:half]))
            for name, row in rows.items()
            if np.isfinite(row[-4:]).any() and np.isfinite(row[:half]).any()
        }

    async def _lines(self, promql: str) -> Sequence[Line]:
        """Return the series of a query with narrow ranges, or as it is written where these have too few samples."""
        prometheus = self._deps.prometheus
        if prometheus is None:
            self._missing["metrics"] = None
            return []
        narrow = narrowed(promql, NARROW)
        lines = await self._range(prometheus, narrow)
        return lines if lines or narrow == promql else await self._range(prometheus, promql)

    async def _range(self, prometheus: Prometheus, promql: str) -> Sequence[Line]:
        query = self._ask("metrics", lambda: prometheus.range(promql, self._start, self._now, self._step))
        return [line for line in await query or () if line.points]

    def _filled(self, promql: str, service: str) -> str:
        namespace = self._team.services[service].namespaces.get(PRODUCTION, "")
        return fill(promql, service=service, namespace=namespace)

    # --- cluster

    async def _histories(
        self, names: Iterable[str], nodes: Mapping[str, NodeState]
    ) -> dict[str, WorkloadHistory | None]:
        kubernetes = self._deps.kubernetes
        if kubernetes is None:
            self._missing["cluster"] = None
            return {}
        found = await asyncio.gather(*(self._history(kubernetes, name, nodes) for name in names))
        return dict(zip(names, found, strict=True))

    async def _history(
        self, kubernetes: Kubernetes, name: str, nodes: Mapping[str, NodeState]
    ) -> WorkloadHistory | None:
        service = self._team.services[name]
        namespace = service.namespaces.get(PRODUCTION)
        if not namespace or not service.runs_as:
            return None
        own = name == self._service
        references = await self._references(kubernetes, service, namespace, own)
        if own:
            self._runs_as = references
        parts = [
            await self._ask(
                "cluster" if own else "",
                partial(kubernetes.history.of_workload, name, reference, namespace, self._start, nodes),
            )
            for reference in references
        ]
        present = [part for part in parts if part is not None]
        if not present:
            if own:
                self._missing["cluster"] = None
            return None
        return replace(
            present[0],
            changes=[change for part in present for change in part.changes],
            pods=[pod for part in present for pod in part.pods],
            killed_for_memory=any(part.killed_for_memory for part in present),
            quota_refuses=any(part.quota_refuses for part in present),
        )

    async def _references(self, kubernetes: Kubernetes, service: Service, namespace: str, own: bool) -> list[str]:
        """Return the references of a service's workloads as they are there: a bare name may be of any kind."""
        wanted = service.runs_as if own else service.runs_as[:1]
        find, source = kubernetes.workloads.find, "cluster" if own else ""
        found = [await self._ask(source, partial(find, reference, namespace)) for reference in wanted]
        return [reference for reference in found if reference]

    async def _nodes(self) -> Mapping[str, NodeState] | None:
        kubernetes = self._deps.kubernetes
        return await self._ask("nodes", kubernetes.history.nodes) if kubernetes else None

    async def _policies(self) -> list[Change] | None:
        kubernetes, namespace = self._deps.kubernetes, self._namespace
        if kubernetes is None or not namespace:
            return None
        return await self._ask("policies", lambda: kubernetes.history.policies(namespace))

    async def _configuration(self) -> list[Change]:
        """Return when the ConfigMaps and Secrets that the service's pods use were changed; the bot may be allowed to
        list only one of the two.
        """
        kubernetes, namespace = self._deps.kubernetes, self._namespace
        if kubernetes is None or not namespace:
            return []
        ask = kubernetes.history.configuration
        found = await asyncio.gather(
            *(
                self._ask("configuration", partial(ask, kind, self._service, reference, namespace))
                for reference in self._runs_as
                for kind in ("ConfigMap", "Secret")
            )
        )
        return [change for part in found for change in part or ()]

    async def _autoscaler(self, history: WorkloadHistory | None) -> bool | None:
        """Return whether the service's autoscaler is at its most; False without one."""
        kubernetes, namespace = self._deps.kubernetes, self._namespace
        if kubernetes is None or history is None or not namespace:
            return None
        for reference in self._runs_as:
            owner = await self._ask("cluster", partial(kubernetes.workloads.autoscaler, reference, namespace))
            if owner and owner.most is not None:
                replicas = await self._ask("cluster", partial(kubernetes.workloads.replicas, reference, namespace))
                return replicas is not None and replicas >= owner.most
        return False

    @property
    def _namespace(self) -> str | None:
        return self._team.services[self._service].namespaces.get(PRODUCTION)

    # --- changes that are known elsewhere

    async def _elsewhere(self) -> tuple[list[Change], list[Change]]:
        helm, merges, workflows, deployments, jobs, runs, alerts = await asyncio.gather(
            self._helm(),
            self._merges(),
            self._workflow_runs(),
            self._deployments(),
            self._jobs(),
            self._runs(),
            self._alerts(),
        )
        return [*helm, *deployments, *runs], [*merges, *workflows, *jobs, *alerts]

    async def _helm(self) -> list[Change]:
        helm, service = self._deps.helm, self._team.services[self._service]
        if helm is None or service.chart is None or not self._namespace:
            return []
        namespace, release = self._namespace, service.release or self._service
        history = await self._ask("helm", lambda: helm.history(release, namespace))
        return [
            Change(
                ChangeKind.DEPLOYMENT,
                revision.updated,
                self._service,
                {"revision": revision.number, "back_to": revision.rolled_back_to, "status": revision.status},
                sources=("helm",),
            )
            for revision in (history or ())[1:]
            if revision.updated
        ]

    async def _deployments(self) -> list[Change]:
        github = self._deps.github
        if github is None:
            return []
        found = await self._ask("github", lambda: github.recent_deployments(self._service, PRODUCTION))
        return [
            Change(ChangeKind.DEPLOYMENT, one.at, self._service, {"ref": one.ref}, by=one.creator, sources=("github",))
            for one in found or ()
        ]

    async def _merges(self) -> list[Change]:
        github = self._deps.github
        if github is None:
            return []
        found = await self._ask("github", lambda: github.merged_since(self._changes_since))
        return [
            Change(ChangeKind.MERGE, one.at, f"#{one.number}", {"title": one.title}, one.author, one.url, ("github",))
            for one in found or ()
        ]

    async def _workflow_runs(self) -> list[Change]:
        github = self._deps.github
        if github is None:
            return []
        found = await self._ask("github", lambda: github.workflows.runs_since(self._changes_since))
        return [
            Change(
                ChangeKind.WORKFLOW,
                one.at,
                one.name,
                {"result": one.conclusion or one.status},
                one.by,
                one.url,
                ("github",),
            )
            for one in found or ()
            if one.at
        ]

    async def _jobs(self) -> list[Change]:
        kubernetes, namespace = self._deps.kubernetes, self._namespace
        if kubernetes is None or not namespace:
            return []
        return await self._ask("cluster", lambda: kubernetes.history.jobs_of_cron(namespace)) or []

    async def _runs(self) -> list[Change]:
        """Return what the bot's own runs have changed."""
        return [
            Change(
                ChangeKind.RUN,
                step.ended_at or step.began_at or run.started_at,
                self._service,
                {"run": run.id, "runbook": run.runbook, "step": step.id},
                run.by.id,
                sources=("bot",),
            )
            for run in await self._deps.store.runs.recent()
            if not run.dry_run
            for step in run.steps
            if step.may_have_changed
        ]

    async def _alerts(self) -> list[Change]:
        """Return the other open incidents of services."""
        return [
            Change(
                ChangeKind.ALERT,
                incident.milestones[Milestone.DETECTED],
                incident.service,
                {"incident": incident.id, "title": incident.title},
                sources=("bot",),
            )
            for incident in await self._deps.store.incidents.list_open()
            if incident.service and incident.service != self._service and not incident.drill
        ]

    async def _ask(self, source: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return an answer; None, and the source among the missing ones, if there is none in time."""
        try:
            async with self._free, asyncio.timeout(ASK_FOR):
                return await call()
        except NotFound:
            return None
        except (BotError, TimeoutError):
            if source:
                self._missing[source] = None
            return None


def _template_of(pod: str, service: Service) -> str | None:
    """Return the pod template of a Deployment's pod that is gone: its name has the template's hash."""
    for reference in service.runs_as:
        name = reference.rpartition("/")[2]
        if pod.startswith(f"{name}-") and pod.count("-") >= name.count("-") + 2:
            return pod.removeprefix(f"{name}-").split("-")[0]
    return None
