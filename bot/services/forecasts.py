"""What was foreseen: look at it, be told of it no more for a while, do something against it."""

from __future__ import annotations

from bot.actions.boards import board
from bot.deps import Deps
from bot.domain.errors import WrongState
from bot.domain.forecast import SNOOZE, Outcome, Prediction
from bot.domain.people import Person
from bot.domain.policy import Risk
from bot.domain.run import Run, RunRequest
from bot.domain.snapshot import MetricDefinition
from bot.services.runs import Runs
from bot.team import policy_of


class Forecasts:
    """`by` is who asks. Methods raise BadInput for a prediction that is not known, or whose service is no more."""

    def __init__(self, deps: Deps, runs: Runs) -> None:
        self._deps = deps
        self._runs = runs

    async def prediction(self, id: str) -> tuple[Prediction, MetricDefinition]:
        """Return a prediction and its metric."""
        prediction = await self._deps.store.forecasts.get(id)
        return prediction, board(self._deps.team, prediction.query, prediction.service).queries[0][0]

    async def snooze(self, id: str, *, by: Person) -> tuple[Prediction, MetricDefinition]:
        """Tell nothing more of its metric for SNOOZE, even over a restart; the first one counts.

        Raises NotAllowed: whoever may change nothing may silence nothing.
        """
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        _, metric = await self.prediction(id)
        return await self._deps.store.forecasts.snooze(id, self._deps.clock.now() + SNOOZE, by.id), metric

    async def run(self, id: str, runbook: str, *, by: Person, channel: str | None) -> Run:
        """Start the runbook against what is foreseen, for its service; once for each prediction.

        Raises WrongState when the prediction has ended, and as `Runs.start`.
        """
        prediction, _ = await self.prediction(id)
        if prediction.outcome is not Outcome.WAITING and prediction.run is None:
            raise WrongState("prediction_over")
        inputs = {"service": prediction.service} if "service" in self._runs.library.get(runbook).inputs else {}
        run = await self._runs.start(runbook, inputs, RunRequest(by, f"forecast/{id}/run"[:160], channel=channel))
        await self._deps.store.forecasts.started(id, run.id)
        return run
