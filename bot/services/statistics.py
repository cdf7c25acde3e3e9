"""The team's figures: how fast, how often."""

from __future__ import annotations

from datetime import timedelta

from bot.deps import Deps
from bot.domain import statistics as deployments
from bot.domain.statistics import Deployments, Targets, compute
from bot.domain.statistics import Statistics as Figures
from bot.store.runs import attempts
from bot.team import PRODUCTION

WINDOW = timedelta(days=90)
DEPLOYING = ("helm.upgrade", "helm.canary", "helm.promote")
ROLLING_BACK = ("helm.rollback", "kubernetes.rollout_undo")


class Statistics:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def compute(self, window: timedelta | None = WINDOW) -> Figures:
        """The figures of the incidents declared within `window` until now; None is all that ever were. No drills."""
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
        """How what was deployed to production by runs of the last `window` went. No drills, no rehearsals."""
        since = self._deps.clock.now() - window if window else None
        targets = self._deps.team.targets
        made = await attempts(self._deps.store.database, DEPLOYING + ROLLING_BACK, PRODUCTION, since)
        return deployments.compute_deployments(
            made, DEPLOYING, ROLLING_BACK, success=targets.deploy_success, rollback=targets.rollback_rate
        )
