"""The team's incident and deployment statistics."""

from __future__ import annotations

from datetime import timedelta

from bot.deps import Deps
from bot.domain import statistics as deployments
from bot.domain.statistics import Deployments, Targets, compute
from bot.domain.statistics import Statistics as IncidentStatistics
from bot.store.runs import attempts
from bot.team import PRODUCTION

WINDOW = timedelta(days=90)
DEPLOYING = ("helm.upgrade", "helm.canary", "helm.promote")
ROLLING_BACK = ("helm.rollback", "kubernetes.rollout_undo")


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
        """Return the statistics of deployments to production by runs within `window`, without drills and dry runs."""
        since = self._deps.clock.now() - window if window else None
        targets = self._deps.team.targets
        ended_steps = await attempts(self._deps.store.database, DEPLOYING + ROLLING_BACK, PRODUCTION, since)
        return deployments.compute_deployments(
            ended_steps, DEPLOYING, ROLLING_BACK, success=targets.deploy_success, rollback=targets.rollback_rate
        )
