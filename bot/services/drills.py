"""Drills: an incident that no figure counts, a fault that waits for a word, and how the team did."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime

from bot.deps import Deps
from bot.domain.drill import INJECT, PREFIX, Goal, Score, score, waiting_inject
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.domain.incident import Incident
from bot.domain.nearest import nearest
from bot.domain.people import Person
from bot.domain.policy import Risk
from bot.domain.run import ApprovalState, Run, RunRequest, RunState, StepRef
from bot.domain.runbook import Runbook
from bot.messages.drill import summary
from bot.services.incidents import Incidents
from bot.services.runs import Runs
from bot.team import policy_of
from bot.workflows.incidents.messages import destination

CHANNEL_WITHIN = 60.0  # seconds; after that the run is told where the drill was asked for
POLL_SECONDS = 1.0  # when another process opens it, or Slack allows none


class Drills:
    """The scenarios are the runbooks whose names begin with `drill-`."""

    def __init__(self, deps: Deps, incidents: Incidents, runs: Runs) -> None:
        self._deps = deps
        self._incidents = incidents
        self._runs = runs

    def scenarios(self) -> Sequence[Runbook]:
        return [runbook for name, runbook in sorted(self._runs.library.runbooks.items()) if name.startswith(PREFIX)]

    async def start(
        self, scenario: str, *, by: Person, idempotency_key: str, channel: str | None = None
    ) -> tuple[Incident, Run]:
        """Declare the drill and run its runbook in the drill's channel; nothing is broken before `inject`.

        Raises NotFound with the nearest scenario, and NotAllowed.
        """
        runbook = self._book(scenario)
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        service = runbook.inputs["service"].default if "service" in runbook.inputs else None
        title = self._deps.words.render_block("drill", "incident", title=self._deps.words.pick(runbook.title))
        severity = self._deps.team.drills.severity
        incident = await self._incidents.declare(
            title, severity, by=by, idempotency_key=idempotency_key, service=service, drill=True
        )
        incident = await self._opened(incident)
        target = await destination(self._deps, incident)
        asked_from = None if target else channel
        request = RunRequest(by, f"{idempotency_key}/run", incident=incident, channel=asked_from)
        run = await self._runs.start(runbook.name, {}, request)
        return incident, run

    async def inject(self, incident: Incident, *, by: Person, idempotency_key: str) -> Run:
        """Let the next fault begin. Raises WrongState when none waits."""
        for run in await self._own(incident):
            if step := waiting_inject(run):
                ref = StepRef(run.id, step.id, step.digest)
                await self._runs.answer(ref, "true", by=by, idempotency_key=idempotency_key)
                return run
        raise WrongState("nothing_to_inject", incident=incident.id)

    async def score(self, incident: Incident, *, ends: bool = False) -> Score:
        """How the drill goes, or went; what is not reached when it `ends` is missed. Raises BadInput for no drill."""
        runs, targets = await self._own(incident), self._deps.team.targets
        goals = {
            Goal.RESPONSE: targets.response,
            Goal.TOLD: targets.stakeholders_told,
            Goal.RTO: targets.rto,
            Goal.RPO: targets.rpo,
        }
        events = await self._deps.store.incidents.timeline(incident.id)
        return score(events, runs, goals, self._deps.clock.now(), inject_at=await self._word(runs), ends_now=ends)

    async def stop(self, incident: Incident, *, by: Person, idempotency_key: str) -> Score:
        """Undo what the drill has left broken, put its score on the timeline, and resolve it.

        What people did in response stays. Raises NotAllowed.
        """
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        result = await self.score(incident, ends=True)
        for run in await self._own(incident):
            if run.state is RunState.RUNNING:
                await self._runs.cancel(run.id, by=by, idempotency_key=f"{idempotency_key}/{run.id}")
            elif run.state in (RunState.FAILED, RunState.CANCELLED):  # what could not be undone then
                await self._runs.undo(run.id, by=by, idempotency_key=f"{idempotency_key}/{run.id}")
        if incident.status.is_open:
            text = summary(result, self._deps.words)
            await self._incidents.note(incident.id, text, by=by, idempotency_key=f"{idempotency_key}/score")
            await self._incidents.resolve(incident.id, by=by, idempotency_key=f"{idempotency_key}/resolve")
        return result

    def _book(self, scenario: str) -> Runbook:
        scenarios = {runbook.name.removeprefix(PREFIX): runbook for runbook in self.scenarios()}
        name = scenario.removeprefix(PREFIX)
        if name not in scenarios:
            raise NotFound(
                "unknown_drill", scenario=scenario, nearest=nearest(name, scenarios), known=sorted(scenarios)
            )
        return scenarios[name]

    async def _own(self, incident: Incident) -> list[Run]:
        """The runs of the drill's own runbooks, oldest first."""
        if not incident.drill:
            raise BadInput("not_a_drill", incident=incident.id)
        own = [
            run for run in await self._deps.store.runs.list_by_incident(incident.id) if run.runbook.startswith(PREFIX)
        ]
        if forgotten := next((run for run in own if run.forgotten), None):
            raise NotFound("run_forgotten", run=forgotten.id, incident=incident.id)
        return own

    async def _word(self, runs: Sequence[Run]) -> datetime | None:
        """When somebody first let a fault begin."""
        steps = [(run.id, step.id) for run in runs for step in run.steps if step.id.startswith(INJECT)]
        approvals = [await self._deps.store.runs.approval(*step) for step in steps]
        given = (decision for one in approvals if one for decision in one.decisions)
        return min((decision.at for decision in given if decision.verdict is ApprovalState.APPROVED), default=None)

    async def _opened(self, incident: Incident) -> Incident:
        """The incident once it is known where it is told, or as it is when that takes too long."""
        woken = self._deps.event(incident.id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHANNEL_WITHIN):
                while await destination(self._deps, incident) is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_SECONDS):
                            await woken.wait()
                    woken.clear()
                    incident = await self._incidents.find(incident.id)
        return incident
