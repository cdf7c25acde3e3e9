"""The team's incident and deployment statistics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from bot.deps import Deps
from bot.domain.deployments import Deployments, Road, Sighting, count_deployments
from bot.domain.errors import BotError, NotFound
from bot.domain.run import RunState, StepState
from bot.domain.statistics import Attempt, Targets, compute
from bot.domain.statistics import Statistics as IncidentStatistics
from bot.integrations.helm import deployed_tag
from bot.integrations.kubernetes.workloads import KINDS, split_reference
from bot.store.runs import attempts
from bot.team import PRODUCTION, Service

WINDOW = timedelta(days=90)
DEPLOYING = ("helm.upgrade", "helm.canary", "helm.promote", "bluegreen.start")
ROLLING_BACK = ("helm.rollback", "kubernetes.rollout_undo")
DISPATCHING = "github.dispatch_workflow"
_DEPLOYS = re.compile(r"deploy|release|hotfix|rollout|promote", re.IGNORECASE)
_VERSION_INPUTS = ("tag", "version", "ref", "image_tag", "sha")
_SUCCEEDED = {"success": True, "inactive": True, "failure": False, "error": False}  # GitHub's words
GITHUB_LIMIT = 100


class Statistics:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def compute(self, window: timedelta | None = WINDOW) -> IncidentStatistics:
        """Return the statistics of incidents declared within `window` (None: all), without drills."""
        incidents, targets = self._deps.store.incidents, self._deps.team.targets
        now = self._deps.clock.now()
        since = now - window if window else None
        return compute(
            await incidents.records(since),
            Targets(targets.mtta, targets.mttr, targets.mtbf),
            since=since,
            until=now,
            previous_start=await incidents.last_start_before(since) if since else None,
        )

    async def deployments(self, window: timedelta | None = WINDOW) -> Deployments:
        """Return the statistics of deployments to production within `window`, each counted once (see the domain).

        They are those that the bot, Helm, the cluster and GitHub know. Drills and dry runs do not count. A road that
        does not answer is named in the result.
        """
        since = self._deps.clock.now() - window if window else None
        targets = self._deps.team.targets
        sightings = await self._runs(since)
        unread: list[Road] = []
        roads = {Road.HELM: self._helm, Road.KUBERNETES: self._replica_sets, Road.GITHUB: self._github}
        answers = await asyncio.gather(*(read() for read in roads.values()), return_exceptions=True)
        for road, answer in zip(roads, answers, strict=True):
            if isinstance(answer, BotError):
                unread.append(road)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                sightings += answer
        return count_deployments(
            sightings, success=targets.deploy_success, rollback=targets.rollback_rate, since=since, unread=unread
        )

    async def _runs(self, since: datetime | None) -> list[Sighting]:
        actions = (*DEPLOYING, *ROLLING_BACK, DISPATCHING)
        ended_steps = await attempts(self._deps.store.database, actions, PRODUCTION, since)
        return [sighting for attempt in ended_steps if (sighting := self._of_attempt(attempt))]

    def _of_attempt(self, attempt: Attempt) -> Sighting | None:
        parameters = attempt.parameters
        inputs: dict[str, Any] = dict(parameters.get("inputs") or {})
        if attempt.uses == DISPATCHING and not _DEPLOYS.search(str(parameters.get("workflow", ""))):
            return None
        service = next(
            (str(parameters[name]) for name in ("release", "deployment", "service") if parameters.get(name)),
            str(inputs.get("service") or ""),
        )
        version = next((str(inputs[name]) for name in _VERSION_INPUTS if inputs.get(name)), "")
        return Sighting(
            Road.BOT,
            service,
            str(parameters.get("tag") or version),
            attempt.at,
            attempt.state is StepState.DONE and attempt.run_state is not RunState.FAILED,
            goes_back=attempt.uses in ROLLING_BACK,
            taken_back=attempt.state is StepState.UNDONE,
        )

    async def _helm(self) -> list[Sighting]:
        helm = self._deps.helm
        if helm is None:
            return []

        async def releases(name: str, service: Service, namespace: str) -> list[Sighting]:
            if service.chart is None:
                return []
            sightings = []
            release = service.release or name
            for revision in await helm.history(release, namespace):
                values = await helm.values(release, namespace, revision.number)
                tag = deployed_tag(values) or revision.app_version
                succeeded = None if revision.pending else revision.was_deployed or revision.status == "uninstalled"
                if revision.updated:
                    back = revision.rolled_back_to is not None
                    sightings.append(Sighting(Road.HELM, name, tag, revision.updated, succeeded, goes_back=back))
            return sightings

        return await self._of_services(releases)

    async def _replica_sets(self) -> list[Sighting]:
        kubernetes = self._deps.kubernetes
        if kubernetes is None:
            return []

        async def rollouts(name: str, service: Service, namespace: str) -> list[Sighting]:
            kinds = {reference: split_reference(reference)[0] for reference in service.runs_as or [name]}
            deployments = [reference for reference, kind in kinds.items() if kind in (None, KINDS["deployment"])]
            if not deployments:
                return []
            versions = await kubernetes.workloads.versions(deployments[0], namespace)
            return [Sighting(Road.KUBERNETES, name, version.image, version.at) for version in versions]

        return await self._of_services(rollouts)

    async def _of_services(self, read: Callable[[str, Service, str], Awaitable[list[Sighting]]]) -> list[Sighting]:
        """Return what `read` finds for each service in production; what is not deployed there is passed over."""

        async def sightings_of(name: str, service: Service) -> list[Sighting]:
            namespace = service.namespaces.get(PRODUCTION)
            try:
                return await read(name, service, namespace) if namespace else []
            except NotFound:
                return []

        per_service = await asyncio.gather(*(sightings_of(*item) for item in self._deps.team.services.items()))
        return [sighting for sightings in per_service for sighting in sightings]

    async def _github(self) -> list[Sighting]:
        github = self._deps.github
        if github is None:
            return []
        recent = await github.recent_deployments(environment=PRODUCTION, limit=GITHUB_LIMIT)
        head = await github.code.head() if recent else None
        branches = ("", head[0] if head else "")  # a branch names no version
        return [
            Sighting(
                Road.GITHUB,
                deployment.service or "",
                deployment.sha if deployment.ref in branches else deployment.ref,
                deployment.at,
                _SUCCEEDED.get(deployment.state or ""),
            )
            for deployment in recent
        ]
