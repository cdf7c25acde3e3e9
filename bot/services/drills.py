"""Drills: incidents that count in no statistics, with faults that are started on request, and a score."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bot.deps import Deps
from bot.domain.drill import INJECT, PREFIX, Goal, LastDrill, Score, score, waiting_inject
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
from bot.team import PRODUCTION, policy_of
from bot.workflows.incidents.messages import destination_so_far

CHANNEL_WITHIN = 60.0  # seconds; later the run is shown where the drill was requested
POLL_SECONDS = 1.0  # if another process opens the channel, or Slack refuses one


class Drills:
    """Drills. The scenarios are the runbooks whose names start with `drill-`."""

    def __init__(self, deps: Deps, incidents: Incidents, runs: Runs) -> None:
        self._deps = deps
        self._incidents = incidents
        self._runs = runs

    def scenarios(self) -> Sequence[Runbook]:
        return [runbook for name, runbook in sorted(self._runs.library.runbooks.items()) if name.startswith(PREFIX)]

    async def start(
        self, scenario: str, *, by: Person, idempotency_key: str, channel: str | None = None
    ) -> tuple[Incident, Run]:
        """Declare the drill and start its runbook in the drill's channel; no fault starts before `inject`.

        Raises NotFound with the nearest scenario, NotAllowed, and WrongState while an incident is open.
        """
        runbook = self._runbook(scenario)
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        await self._refuse_during_an_incident(runbook.environment or PRODUCTION)
        service = runbook.inputs["service"].default if "service" in runbook.inputs else None
        title = self._deps.words.render_block("drill", "incident", title=self._deps.words.pick(runbook.title))
        severity = self._deps.team.drills.severity
        incident = await self._incidents.declare(
            title, severity, by=by, idempotency_key=idempotency_key, service=service, drill=True
        )
        incident = await self._wait_for_channel(incident)
        target = await destination_so_far(self._deps, incident)
        fallback_channel = None if target else channel
        request = RunRequest(by, f"{idempotency_key}/run", incident=incident, channel=fallback_channel)
        run = await self._runs.start(runbook.name, {}, request)
        return incident, run

    async def inject(self, incident: Incident, *, by: Person, idempotency_key: str) -> Run:
        """Start the next fault. Raises WrongState if none is waiting, or while an incident is open."""
        for run in await self._drill_runs(incident):
            if step := waiting_inject(run):
                await self._refuse_during_an_incident(run.environment)
                ref = StepRef(run.id, step.id, step.digest)
                await self._runs.answer(ref, "true", by=by, idempotency_key=idempotency_key)
                return run
        raise WrongState("nothing_to_inject", incident=incident.id)

    async def score(self, incident: Incident, *, ends_now: bool = False) -> Score:
        """Return the drill's score beside the last one of its scenario; with `ends_now`, unreached goals are missed.

        Raises BadInput if it is no drill.
        """
        runs = await self._drill_runs(incident)
        result = await self._score(incident, runs, ends_now=ends_now)
        return replace(result, last=await self._last(runs[0]) if runs else None)

    async def _score(self, incident: Incident, runs: Sequence[Run], *, ends_now: bool = False) -> Score:
        targets = self._deps.team.targets
        goals = {
            Goal.RESPONSE: targets.response,
            Goal.STAKEHOLDERS: targets.stakeholders_told,
            Goal.RTO: targets.rto,
            Goal.RPO: targets.rpo,
        }
        events = await self._deps.store.incidents.timeline(incident.id)
        return score(
            events, runs, goals, self._deps.clock.now(), inject_at=await self._inject_at(runs), ends_now=ends_now
        )

    async def _last(self, run: Run) -> LastDrill | None:
        """Return the newest drill of the run's scenario before it whose fault had begun and that is over."""
        store = self._deps.store
        earlier = [one for one in await store.runs.list_by_runbook(run.runbook) if one.started_at < run.started_at]
        for incident_id in dict.fromkeys(one.incident_id for one in reversed(earlier)):
            incident = await store.incidents.get(incident_id) if incident_id else None
            if incident is None or not incident.drill or incident.id == run.incident_id:
                continue
            try:
                runs = await self._drill_runs(incident)
            except NotFound:  # what its runs did is no longer kept
                return None
            result = await self._score(incident, runs)
            if result.fault and result.over:
                return LastDrill(incident.id, runs[0].started_at, {mark.goal: mark for mark in result.marks})
        return None

    async def stop(self, incident: Incident, *, by: Person, idempotency_key: str) -> Score:
        """Undo the drill's remaining faults, put its score on the timeline, and resolve it.

        What people did in response is not undone. Raises NotAllowed.
        """
        policy_of(self._deps.team).may_run(by.id, Risk.CHANGE)
        result = await self.score(incident, ends_now=True)
        for run in await self._drill_runs(incident):
            if run.state is RunState.RUNNING:
                await self._runs.cancel(run.id, by=by, idempotency_key=f"{idempotency_key}/{run.id}")
            elif run.state in (RunState.FAILED, RunState.CANCELLED):  # undo again what failed to be undone
                await self._runs.undo(run.id, by=by, idempotency_key=f"{idempotency_key}/{run.id}")
        if incident.status.is_open:
            text = summary(result, self._deps.words)
            await self._incidents.note(incident.id, text, by=by, idempotency_key=f"{idempotency_key}/score")
            await self._incidents.resolve(incident.id, by=by, idempotency_key=f"{idempotency_key}/resolve")
        return result

    async def _refuse_during_an_incident(self, environment: str) -> None:
        """Raise WrongState if the drill would touch production while something there is broken in earnest."""
        open_incidents = await self._deps.store.incidents.list_open() if environment == PRODUCTION else []
        for incident in open_incidents:
            if not incident.drill:
                raise WrongState("drill_during_incident", incident=incident.id, title=incident.title)

    def _runbook(self, scenario: str) -> Runbook:
        scenarios = {runbook.name.removeprefix(PREFIX): runbook for runbook in self.scenarios()}
        name = scenario.removeprefix(PREFIX)
        if name not in scenarios:
            raise NotFound(
                "unknown_drill", scenario=scenario, nearest=nearest(name, scenarios), known=sorted(scenarios)
            )
        return scenarios[name]

    async def _drill_runs(self, incident: Incident) -> list[Run]:
        """Return the runs of drill runbooks, oldest first. Raises BadInput if the incident is no drill."""
        if not incident.drill:
            raise BadInput("not_a_drill", incident=incident.id)
        drill_runs = [
            run for run in await self._deps.store.runs.list_by_incident(incident.id) if run.runbook.startswith(PREFIX)
        ]
        if pruned := next((run for run in drill_runs if run.forgotten), None):
            raise NotFound("run_forgotten", run=pruned.id, incident=incident.id)
        return drill_runs

    async def _inject_at(self, runs: Sequence[Run]) -> datetime | None:
        """Return when the first fault was started."""
        steps = [(run.id, step.id) for run in runs for step in run.steps if step.id.startswith(INJECT)]
        approvals = [await self._deps.store.runs.approval(*step) for step in steps]
        decisions = (decision for approval in approvals if approval for decision in approval.decisions)
        return min((decision.at for decision in decisions if decision.verdict is ApprovalState.APPROVED), default=None)

    async def _wait_for_channel(self, incident: Incident) -> Incident:
        """Wait until the incident has a channel, or until CHANNEL_WITHIN is over; returns the incident."""
        notified = self._deps.event(incident.id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHANNEL_WITHIN):
                while await destination_so_far(self._deps, incident) is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_SECONDS):
                            await notified.wait()
                    notified.clear()
                    incident = await self._incidents.find(incident.id)
        return incident
