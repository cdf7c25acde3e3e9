"""Runs of long ago: how their steps went is removed, on both databases; the audit stays whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
from dbos import DBOS

from bot.cli.doctor import Doctor
from bot.cli.findings import State
from bot.deps import Deps
from bot.domain.errors import NotFound
from bot.domain.incident import Severity
from bot.domain.run import Run, RunState, StepRun, StepState
from bot.domain.timeline import Kind
from bot.store.deliveries import Delivery
from bot.store.documents import Document
from bot.workflows.engine.cleanup import cleanup
from bot.workflows.runs.undo import undo_workflow_id
from demo.environment import DemoEnvironment, demo_environment, sandbox_settings
from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from tests.domain.story import snapshot
from tests.harness.lamp import ANA, BRUNO, Lamp, asked, begin, ended, over, runs, says, until
from tests.harness.measured import JumpingClock
from tests.workflows.test_engine import START, engine

DIM = {"id": "a", "uses": "lamp.dim", "with": {"to": 10}}
DAY = 24 * 3600


@pytest.fixture
async def stage(database_url: str, lamp: Lamp) -> AsyncIterator[DemoEnvironment]:
    async with demo_environment(Sandbox(clock=JumpingClock()), database_url, prometheus_url=None, locale="en") as made:
        yield made


def days_pass(stage: DemoEnvironment, days: int) -> None:
    clock = stage.sandbox.clock
    assert isinstance(clock, JumpingClock)
    clock.jump(days * DAY)


async def written_down(run: Run) -> int:
    """How many steps the engine still knows of a run's workflow."""
    if not await DBOS.list_workflows_async(workflow_ids=[run.id]):
        return 0
    return len(await DBOS.list_workflow_steps_async(run.id))


async def settled(stage: DemoEnvironment, run: Run) -> None:
    """It has ended, and so has its workflow, after its last message."""
    assert (await ended(stage, run)).state.ended
    await over(run.id)


async def test_what_ended_long_ago_is_forgotten_and_its_audit_stays_whole(
    stage: DemoEnvironment, lamp: Lamp, database_url: str
) -> None:
    deps, made = stage.bot.deps, runs(stage, DIM)
    over = await stage.bot.incidents.declare("Oscuro", Severity.SEV3, by=ANA, idempotency_key="declared")
    told = await begin(made, idempotency_key="told", incident=over)
    await settled(stage, told)
    days_pass(stage, 1)  # what it has changed settles
    alone = await begin(runs(stage, {**DIM, "with": {"to": 5}}), idempotency_key="alone")
    await settled(stage, alone)
    await stage.bot.incidents.resolve(over.id, by=ANA, idempotency_key="resolved")
    await until(lambda: _kinds(deps, over.id, Kind.REPORT_WRITTEN))
    timeline = await deps.store.incidents.timeline(over.id)
    report = await stage.bot.reports.render(over.id)

    days_pass(stage, 28)
    await cleanup(deps)
    assert [bool(await written_down(run)) for run in (told, alone)] == [True, True]

    days_pass(stage, 371)
    await cleanup(deps)
    assert [bool(await written_down(run)) for run in (told, alone)] == [False, False]
    assert not (await deps.store.runs.get(alone.id)).forgotten

    days_pass(stage, 2)
    await cleanup(deps)
    for run in (told, alone):
        known = await deps.store.runs.get(run.id)
        assert (known.forgotten, known.steps, known.definition) == (True, (), {})
        assert (known.state, known.by, known.runbook) == (RunState.SUCCEEDED, ANA, "dim")
        assert await written_down(run) == 0
    assert await deps.store.incidents.timeline(over.id) == timeline
    assert (await stage.bot.reports.render(over.id)).markdown == report.markdown
    assert lamp.value == 5
    settings = sandbox_settings(stage.url, stage.sandbox, database_url, "en", prometheus_url=None)
    chains = [one for one in await Doctor(deps, settings).findings() if one.subject == "timelines"]
    assert [(one.state, "1 timeline" in one.text) for one in chains] == [(State.GOOD, True)]


async def test_what_waits_goes_on_is_being_undone_or_is_of_an_open_incident_stays(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    deps = stage.bot.deps
    still_open = await stage.bot.incidents.declare("Oscuro", Severity.SEV3, by=ANA, idempotency_key="declared")
    of_it = await begin(runs(stage, DIM), idempotency_key="of it", incident=still_open)
    await settled(stage, of_it)
    agreed = {"id": "a", "uses": "lamp.break", "with": {"to": 3}, "approval": {"expires": "900d"}}
    waits = await begin(runs(stage, agreed), idempotency_key="waits")
    await asked(stage, waits)
    days_pass(stage, 1)
    back = await begin(made := runs(stage, {**DIM, "with": {"to": 7}, "timeout": "900d"}), idempotency_key="back")
    await settled(stage, back)
    lamp.slow.clear()
    await made.undo(back.id, by=BRUNO, idempotency_key="undo")
    await until(lambda: _true(lamp.value == 10))
    goes_on = await begin(runs(stage, {**DIM, "with": {"to": 4}, "timeout": "900d"}), idempotency_key="goes on")
    await says(stage, goes_on, "is changing desk")

    days_pass(stage, 500)
    await cleanup(deps)
    for run in (of_it, waits, back, goes_on):
        assert not (await deps.store.runs.get(run.id)).forgotten, run.id
    for workflow in (waits.id, goes_on.id, undo_workflow_id("undo")):
        assert await DBOS.list_workflows_async(workflow_ids=[workflow]), workflow

    lamp.slow.set()
    await until(lambda: _undone(deps, back))
    await until(lambda: _tidied(deps, back))


async def test_what_is_asked_for_again_after_its_workflow_was_removed_is_not_done_again(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    deps, slack, declare = stage.bot.deps, stage.sandbox.slack, stage.bot.incidents.declare
    incident = await declare("Oscuro", Severity.SEV3, by=ANA, idempotency_key="declared")
    run = await begin(made := runs(stage, DIM), incident=incident)
    await settled(stage, run)
    await stage.bot.incidents.resolve(incident.id, by=ANA, idempotency_key="resolved")
    await until(lambda: _kinds(deps, incident.id, Kind.REPORT_WRITTEN))
    await until(lambda: _nothing_runs_but("remind"))
    days_pass(stage, 31)
    await cleanup(deps)
    assert not await DBOS.list_workflows_async(status=["SUCCESS", "ERROR"])
    assert await DBOS.list_workflows_async(status="PENDING", name="remind")  # goes on: it is not closed yet
    before = (set(slack.channels), await deps.store.incidents.timeline(incident.id), list(lamp.done))

    again = await declare("Oscuro", Severity.SEV3, by=ANA, idempotency_key="declared")
    assert again.id == incident.id
    assert (await begin(made, incident=incident)).id == run.id
    await stage.bot.incidents.resolve(incident.id, by=ANA, idempotency_key="resolved")
    other = await declare("Más oscuro", Severity.SEV3, by=ANA, idempotency_key="another")  # it goes on as before
    await until(lambda: _kinds(deps, other.id, Kind.CHANNEL_OPENED))
    channels, timeline, done = before
    assert set(slack.channels) - channels == {(await deps.store.incidents.get(other.id)).channel}
    assert (await deps.store.incidents.timeline(incident.id), lamp.done) == (timeline, done)


async def test_charts_are_removed_once_slack_has_them_and_the_report_stays_the_same(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    deps, store = stage.bot.deps, stage.bot.deps.store
    posted, waits = [
        await stage.bot.incidents.declare("Oscuro", Severity.SEV3, by=ANA, idempotency_key=key) for key in ("a", "b")
    ]
    await until(lambda: _true(stage.bot.engine.runs_workflows))
    for incident in (posted, waits):
        await until(partial(_kinds, deps, incident.id, Kind.CHANNEL_OPENED))
        taken = snapshot(deps.clock.now(), 812, 41)
        await store.snapshots.add(f"{incident.id}/snapshot/declared", incident.id, taken.at, taken.to_json())
        chart = Document("charts/declared-latency_p95.png", "image/png", b"drawn", deps.clock.now())
        await store.documents.write(incident.id, chart)
    await store.slack_messages.reserve(f"{waits.id}/snapshot/declared/charts/1", "C1", deps.clock.now())
    await until(lambda: _nothing_runs_but("remind"))
    report = (await stage.bot.reports.render(posted.id)).markdown
    assert "(charts/declared-latency_p95.png)" in report
    for days, kept in ((6, 1), (2, 0)):
        days_pass(stage, days)
        await cleanup(deps)
        assert len(await store.documents.names(posted.id)) == kept
    assert await store.documents.names(waits.id) == ["charts/declared-latency_p95.png"]
    assert (await stage.bot.reports.render(posted.id)).markdown == report


async def test_who_asks_for_a_run_of_long_ago_is_told_where_its_audit_stands(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    made = runs(stage, DIM)
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV3, by=ANA, idempotency_key="declared")
    run = await begin(made, incident=incident)
    await settled(stage, run)
    await stage.bot.incidents.resolve(incident.id, by=ANA, idempotency_key="resolved")
    days_pass(stage, 401)
    await cleanup(stage.bot.deps)
    reply = await Person(stage.sandbox.slack, "emma").run(f"/runbook status {run.id}", "tamv-incidents")
    said = await stage.sandbox.slack.wait_for(lambda: next((one.all_text() for one in reply.messages), None), 15)
    assert run.id in said and "succeeded" in said and f"<@{ANA.id}>" in said
    assert f"the timeline and in the report of {incident.id}" in said
    with pytest.raises(NotFound, match="run_forgotten"):
        await made.undo(run.id, by=BRUNO, idempotency_key="undo")
    assert lamp.value == 10


async def test_the_engine_tidies_by_itself(database_url: str) -> None:
    async def played(deps: Deps, run_id: str) -> None:
        """The run is over already."""

    async with engine(database_url, {"run": played}, Clock(START, speed=DAY)) as deps:
        long_ago = START - timedelta(days=500)
        steps = (StepRun("a", "lamp.dim"),)
        run = Run("R-000001", "dim", {"name": "dim"}, {}, "production", ANA, long_ago, steps=steps)
        await deps.store.runs.start(run, "test")
        await deps.store.runs.end(run.id, RunState.SUCCEEDED, long_ago)
        await deps.store.locks.acquire("lamp/desk", run.id, long_ago)
        await deps.store.locks.release(run.id, long_ago)
        old = Delivery("slack:1", "slack", "{}")
        await deps.store.deliveries.accept(old, long_ago)
        await deps.store.deliveries.mark_done(old.key, long_ago)

        async def tidied() -> bool:
            return (await deps.store.runs.get(run.id)).forgotten

        await until(tidied)
        assert await deps.store.deliveries.accept(old, START)  # it is as if it had never been here
        assert await deps.store.locks.acquire("lamp/desk", "R-000002", long_ago - timedelta(days=1)) is None


async def _kinds(deps: Deps, incident_id: str, kind: Kind) -> bool:
    return any(event.kind is kind for event in await deps.store.incidents.timeline(incident_id))


async def _undone(deps: Deps, run: Run) -> bool:
    return (await deps.store.runs.get(run.id)).step("a").state is StepState.UNDONE


async def _tidied(deps: Deps, run: Run) -> bool:
    """It is forgotten once the undo's workflow has ended."""
    await cleanup(deps)
    return (await deps.store.runs.get(run.id)).forgotten


async def _nothing_runs_but(name: str) -> bool:
    going_on = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
    return {workflow.name for workflow in going_on} <= {name}


async def _true(value: bool) -> bool:
    return value
