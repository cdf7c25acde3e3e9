"""The doctor's look at the cluster: reached, allowed, workloads, metrics; Helm, its releases and charts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from bot.cli.findings import Checks, Finding, State
from bot.deps import Deps
from bot.domain.chaos import ENGINE, read_engine
from bot.domain.errors import BadInput, BotError, NotFound
from bot.domain.runbook import Runbook
from bot.integrations.helm import Helm
from bot.integrations.kubernetes.objects import read as read_manifests
from bot.team import PRODUCTION, Service

HELM_AT_ONCE = 4  # each is a process of its own


class ClusterChecks(Checks):
    def __init__(self, deps: Deps, seconds: float, runbooks: Iterable[Runbook]) -> None:
        super().__init__(deps.words, seconds)
        self._runbooks = runbooks
        self._deps = deps
        services = deps.team.services.values()
        self._namespaces = sorted({namespace for service in services for namespace in service.namespaces.values()})

    async def findings(self) -> list[Finding]:
        """Return all results in a fixed order; independent checks run concurrently."""
        if self._deps.kubernetes is None:
            return [self._off("Kubernetes", "KUBECONFIG")]
        reached = await self._try("Kubernetes", "KUBECONFIG", self._reached())
        if any(finding.state is State.WRONG for finding in reached):
            return reached  # nothing else could be seen
        checks = [
            ("Kubernetes", "KUBECONFIG", self._rights()),
            ("Kubernetes", "KUBECONFIG", self._workloads()),
            ("Litmus", "KUBECONFIG", self._litmus()),
            ("metrics-server", "KUBECONFIG", self._metrics()),
            ("Helm", "HELM", self._helm()),
        ]
        results = await asyncio.gather(*(self._try(*check) for check in checks))
        return [*reached, *(finding for findings in results for finding in findings)]

    async def _reached(self) -> AsyncIterator[Finding]:
        if self._deps.kubernetes:
            yield self._good("Kubernetes", "cluster", version=await self._deps.kubernetes.cluster.check())

    async def _rights(self) -> AsyncIterator[Finding]:
        # its client is slow to import
        from bot.integrations.kubernetes.applications import GROUP, VERSION
        from bot.integrations.kubernetes.flux import KUSTOMIZATION
        from bot.integrations.kubernetes.rights import FLUX, Use, missing, needed

        if self._deps.kubernetes is None:
            return
        cluster = self._deps.kubernetes.cluster
        chaos = self._deps.team.chaos
        argo, flux = await asyncio.gather(cluster.resources(GROUP, VERSION), cluster.resources(*KUSTOMIZATION[:2]))
        rights = needed(
            self._namespaces,
            argo,
            self._deps.team.argocd_namespace,
            chaos.namespaces if chaos else (),
            flux=bool(flux),
        )
        absent = await missing(cluster, rights)
        use = Use.of(self._deps.team, self._runbooks)
        for right in absent:
            subject = f"Kubernetes · {right.namespace or 'cluster'}"
            if right.optional:
                block = "flux_right_missing" if (right.group, right.resource) in FLUX else "argocd_right_missing"
                yield self._note(subject, block, right=str(right))
            elif use.needs(right):
                yield self._finding(subject, State.WRONG, "right_missing", right=str(right))
        if only_ops := sorted({str(right) for right in absent if not right.optional and not use.needs(right)}):
            yield self._note("Kubernetes · RBAC", "ops_rights_missing", rights=only_ops)
        if not absent:
            yield self._good("Kubernetes · RBAC", "rights", count=len(rights))

    async def _workloads(self) -> AsyncIterator[Finding]:
        kubernetes = self._deps.kubernetes
        if kubernetes is None:
            return
        places = [
            (name, workload, namespace)
            for name, service in self._deps.team.services.items()
            for namespace in service.namespaces.values()
            for workload in service.runs_as
        ]
        outcomes = await asyncio.gather(
            *(kubernetes.workloads.find(workload, namespace) for _, workload, namespace in places),
            return_exceptions=True,
        )
        is_good = True
        for (service, _, namespace), outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, BotError):
                is_good = False
                yield self._wrong_in_team(f"{service} · {namespace}", outcome, f"services.{service}", "KUBECONFIG")
            elif isinstance(outcome, BaseException):
                raise outcome
        if is_good:
            yield self._good("Kubernetes · workloads", "workloads", count=len(places))

    async def _litmus(self) -> AsyncIterator[Finding]:
        """Yield whether Litmus is there, for a team that uses it."""
        if self._deps.kubernetes is None or self._deps.team.chaos is None:
            return
        chaos = self._deps.kubernetes.chaos
        if missing := await chaos.missing_definitions():
            yield self._finding("Litmus", State.WRONG, "litmus_missing", missing=missing)
            return
        yield self._good("Litmus", "litmus")
        for namespace in self._deps.team.chaos.namespaces:
            for path, body in self._engines():
                try:
                    experiment = read_engine(path, body)
                    await chaos.require_installed(experiment.name, experiment.account, namespace)
                except BotError as problem:
                    yield self._note(f"Litmus · {namespace}", "chaos", path=path, why=self._words.error(problem))

    def _engines(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the engines among the team's manifests, each with its path."""
        folder = self._deps.team.path(self._deps.team.manifests)
        for file in sorted(folder.rglob("*.yaml")):
            path = str(file.relative_to(folder))
            with suppress(BadInput):  # of another kind, or with variables
                yield from ((path, one.body) for one in read_manifests(folder, path, [ENGINE]))

    async def _metrics(self) -> AsyncIterator[Finding]:
        if self._deps.kubernetes is None or not self._namespaces:
            return
        try:
            await self._deps.kubernetes.pods.top(self._namespaces[0])
        except NotFound:
            yield self._note("metrics-server", "no_metrics_server")
        else:
            yield self._good("metrics-server", "metrics_server")

    async def _helm(self) -> AsyncIterator[Finding]:
        helm = self._deps.helm
        if helm is None:
            return
        charts = {name: service for name, service in self._deps.team.services.items() if service.chart}
        try:
            version = await helm.check()
        except BotError as problem:
            if charts:
                raise
            yield self._note("Helm", "helm_unused", why=self._words.error(problem))
            return
        yield self._good("Helm", "helm", version=version)
        free = asyncio.Semaphore(HELM_AT_ONCE)
        results = await asyncio.gather(
            *(self._release(helm, free, name, service)
              for name, service in charts.items())
        )  # fmt: skip
        found = [finding for findings in results for finding in findings]
        for finding in found:
            yield finding
        if not found and charts:
            yield self._good("Helm · releases", "releases", count=len(charts))

    async def _release(self, helm: Helm, free: asyncio.Semaphore, name: str, service: Service) -> list[Finding]:
        """Return what is wrong with a service's release or its chart; nothing if all is well."""
        found: list[Finding] = []
        release, namespace = service.release or name, service.namespaces.get(PRODUCTION)
        subject = f"Helm · {release}"
        async with free:
            try:
                await helm.show_chart(str(service.chart))
            except BotError as problem:
                found.append(self._wrong_in_team(subject, problem, f"services.{name}.chart", "HELM"))
            if namespace is None:
                return found
            try:
                newest = (await helm.history(release, namespace))[-1]
            except NotFound:
                found.append(self._note(subject, "release_missing", namespace=namespace))
            except BotError as problem:
                found.append(self._wrong(subject, problem, "KUBECONFIG"))
            else:
                if newest.pending:
                    found.append(self._finding(subject, State.WRONG, "release_pending", status=newest.status))
        return found
