"""The team's figures: how fast, how often."""

from __future__ import annotations

from datetime import timedelta

from bot.domain import deployments
from bot.domain.deployments import Deployments
from bot.domain.statistics import Statistics as Figures
from bot.domain.statistics import Targets, compute
from bot.parts import Parts
from bot.store.deployments import attempts
from bot.team import PRODUCTION

WINDOW = timedelta(days=90)
DEPLOYING = ("helm.upgrade", "helm.canary", "helm.promote")
ROLLING_BACK = ("helm.rollback", "kubernetes.rollout_undo")


class Statistics:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def compute(self, window: timedelta | None = WINDOW) -> Figures:
        """The figures of the incidents declared within `window` until now; None is all that ever were. No drills."""
        incidents, targets = self._parts.store.incidents, self._parts.team.targets
        now = self._parts.clock.now()
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
        since = self._parts.clock.now() - window if window else None
        targets = self._parts.team.targets
        made = await attempts(self._parts.store.database, DEPLOYING + ROLLING_BACK, PRODUCTION, since)
        return deployments.compute_deployments(
            made, DEPLOYING, ROLLING_BACK, success=targets.deploy_success, rollback=targets.rollback_rate
        )
