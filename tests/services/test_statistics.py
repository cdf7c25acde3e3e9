"""The figures from the database: drills and what lies outside the window do not count."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import Person
from bot.domain.run import Run, RunState, StepRun, StepState
from bot.services.statistics import Statistics
from bot.store.incidents import Incidents
from tests.services.test_followups import NOW, Here, here

__all__ = ["here"]
BY = Person("U0ANA00001", "Ana")


async def happened(incidents: Incidents, start: datetime, minutes: float, *, drill: bool = False) -> None:
    """An incident from its detection to its resolution, acknowledged in the middle."""
    incident, _ = await incidents.declare(
        lambda id: Incident.declare(
            id, Declaration("x", Severity.SEV1, by=BY, at=start + timedelta(seconds=20), detected=start, drill=drill)
        ),
        start,
        idempotency_key=f"{start}{drill}",
    )
    half, end = start + timedelta(minutes=minutes / 2), start + timedelta(minutes=minutes)
    await incidents.change(incident.id, lambda now: now.acknowledge(by=BY, at=half))
    await incidents.change(incident.id, lambda now: now.resolve(by=BY, at=end))
    await incidents.change(incident.id, lambda now: now.note("touched long afterwards", by=BY, at=NOW))


async def test_only_what_happened_in_the_window(here: Here) -> None:
    incidents = here.deps.store.incidents
    await happened(incidents, datetime(2026, 11, 1, tzinfo=UTC), 20)
    await happened(incidents, datetime(2026, 11, 11, tzinfo=UTC), 10.5)
    await happened(incidents, datetime(2026, 11, 12, tzinfo=UTC), 500, drill=True)
    await happened(incidents, datetime(2026, 7, 1, tzinfo=UTC), 999)
    seen = await Statistics(here.deps).compute()
    assert (seen.count, seen.by_severity[Severity.SEV1], seen.unresolved) == (3, 2, 1)  # one is the fixture's own
    assert seen.mttr.spread and seen.mttr.spread.mean == timedelta(minutes=15, seconds=15)
    assert seen.mtta.spread and seen.mtta.spread.mean == timedelta(minutes=7, seconds=37.5)
    assert seen.mttr.target == timedelta(minutes=10) and seen.mttr.met is False
    assert seen.mtbf.spread and seen.mtbf.spread.count == 3  # July's incident begins the first interval
    assert seen.mtbf.spread.mean == (NOW - datetime(2026, 7, 1, tzinfo=UTC)) / 3


async def test_all_time(here: Here) -> None:
    await happened(here.deps.store.incidents, datetime(2020, 1, 1, tzinfo=UTC), 10)
    seen = await Statistics(here.deps).compute(None)
    assert (seen.count, seen.since) == (2, None)
    short = await Statistics(here.deps).compute(timedelta(days=1))
    assert short.count == 1


async def deployed(
    here: Here,
    id: str,
    state: RunState,
    *,
    days_ago: int = 1,
    begun: bool = True,
    incident: str | None = None,
    **more: Any,
) -> None:
    """A run of one step that deploys, ended like this."""
    at = NOW - timedelta(days=days_ago)
    run = Run(id, "deploy", {}, {}, "production", BY, at, incident, steps=(StepRun("it", "helm.upgrade"),))
    await here.deps.store.runs.start(replace(run, **more), id)
    step = {"state": StepState.DONE, "began_at": at if begun else None}
    await here.deps.store.runs.set_step(id, "it", **step)
    await here.deps.store.runs.end(id, state, at)


async def test_deployments_are_ended_runs_that_changed_production(here: Here) -> None:
    await deployed(here, "R-1", RunState.SUCCEEDED)
    await deployed(here, "R-2", RunState.FAILED)
    await deployed(here, "R-3", RunState.CANCELLED, begun=False)  # nobody approved
    await deployed(here, "R-4", RunState.SUCCEEDED, dry_run=True)
    await deployed(here, "R-5", RunState.SUCCEEDED, environment="staging")
    await deployed(here, "R-6", RunState.SUCCEEDED, days_ago=100)
    drill, _ = await here.deps.store.incidents.declare(
        lambda id: Incident.declare(id, Declaration("x", Severity.SEV3, by=BY, at=NOW, drill=True)),
        NOW,
        idempotency_key="drill",
    )
    await deployed(here, "R-7", RunState.FAILED, incident=drill.id)
    seen = await Statistics(here.deps).deployments()
    assert (seen.count, seen.success.percent, seen.success.target, seen.rolled_back.target) == (2, 50, 99.5, 2)
    assert (await Statistics(here.deps).deployments(None)).count == 3
