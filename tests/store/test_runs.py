"""Runs and their approvals, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import NotFound, WrongState
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import Person
from bot.domain.run import Approval, ApprovalState, Decision, Run, RunState, StepRun, StepState
from bot.domain.timeline import Kind, first_broken_link
from bot.store.database import Database
from bot.store.incidents import TimelineEntry
from bot.store.migrate import upgrade
from bot.store.runs import RunIdTaken
from bot.store.store import Store

NOW = datetime(2026, 1, 7, 2, 0, tzinfo=UTC)
ANA, BRUNO, CARLA = "U0ANA00001", "U0BRUNO002", "U0CARLA003"
BY = Person(ANA, "Ana Torres")
RUN = Run("R-000001", "dim", {"name": "dim"}, {}, "production", BY, NOW, steps=(StepRun("a", "lamp.dim"),))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    upgrade(database_url)
    database = Database(database_url)
    yield Store(database, "test")
    await database.close()


def approval(run_id: str = RUN.id, needed: int = 2, asked_at: datetime = NOW) -> Approval:
    return Approval(run_id, "a", "d" * 12, needed, "responder", asked_at, NOW + timedelta(hours=1))


async def decide(store: Store, person: str, run: Run = RUN, told: TimelineEntry | None = None) -> Approval:
    said = Decision(person, ApprovalState.APPROVED, "d" * 12, NOW)
    return await store.runs.decide(run.id, "a", said, f"{run.id} {person}", entry_for=lambda _: told)


async def incident_with(store: Store, run: Run = RUN) -> tuple[Incident, Run]:
    incident, _ = await store.incidents.declare(
        lambda id: Incident.declare(id, Declaration("Oscuro", Severity.SEV2, by=BY, at=NOW)),
        NOW,
        idempotency_key="test",
    )
    return incident, replace(run, incident_id=incident.id)


def event(incident: Incident, idempotency_key: str, kind: Kind = Kind.RUN_CHANGED) -> TimelineEntry:
    return TimelineEntry(incident.id, kind, {}, BY, NOW, idempotency_key)


async def kinds(store: Store, incident: Incident) -> list[Kind]:
    timeline = await store.incidents.timeline(incident.id)
    assert first_broken_link(incident.id, timeline) is None
    return [one.kind for one in timeline]


async def test_of_two_people_who_agree_at_once_each_counts(store: Store) -> None:
    await store.runs.start(RUN, "test")
    await store.runs.request_approval(approval())
    given = await asyncio.gather(decide(store, BRUNO), decide(store, CARLA))
    assert {one.state for one in given} == {ApprovalState.WAITING, ApprovalState.APPROVED}
    found = await store.runs.approval(RUN.id, "a")
    assert found and found.state is ApprovalState.APPROVED
    assert {one.person for one in found.decisions} == {BRUNO, CARLA}
    assert (await store.runs.get(RUN.id)).step("a").state is StepState.WAITING
    assert await store.runs.approval_status(RUN.id, "a") == (found, False)
    await store.runs.cancel(RUN.id, BY, "c")
    assert await store.runs.approval_status(RUN.id, "a") == (found, True)
    with pytest.raises(WrongState, match="already_decided"):
        await decide(store, ANA)


async def test_what_was_said_about_other_parameters_does_not_count(store: Store) -> None:
    await store.runs.start(RUN, "test")
    await store.runs.request_approval(approval())
    await decide(store, BRUNO)
    await store.runs.request_approval(approval())  # the same again changes nothing
    known = await store.runs.approval(RUN.id, "a")
    assert known and [one.person for one in known.decisions] == [BRUNO]
    await store.runs.request_approval(replace(approval(), digest="e" * 12))
    anew = await store.runs.approval(RUN.id, "a")
    assert anew and (anew.digest, anew.decisions, anew.state) == ("e" * 12, (), ApprovalState.WAITING)


async def test_what_waits_is_told_the_oldest_first_each_with_what_was_said(store: Store) -> None:
    later, decided = replace(RUN, id="R-000002"), replace(RUN, id="R-000003")
    for run, at, needed in ((later, 5, 2), (RUN, 1, 3), (decided, 0, 1)):
        await store.runs.start(run, run.id)
        await store.runs.request_approval(approval(run.id, needed, NOW + timedelta(minutes=at)))
    for person in (BRUNO, CARLA):
        await decide(store, person)
    await decide(store, BRUNO, decided)
    waiting = await store.runs.waiting()
    assert [(one.run_id, one.needed, [said.person for said in one.decisions]) for one in waiting] == [
        (RUN.id, 3, [BRUNO, CARLA]),
        (later.id, 2, []),
    ]


async def test_a_run_that_goes_on_is_renewed_without_its_runbook(store: Store) -> None:
    await store.runs.start(replace(RUN, steps=(*RUN.steps, StepRun("b", "lamp.dim"))), "test")
    known = await store.runs.get(RUN.id)
    await store.runs.set_step(RUN.id, "b", state=StepState.DONE, result={"after": 1})
    await store.runs.cancel(RUN.id, Person(BRUNO, "Bruno Díaz"), "c")
    now = await store.runs.refresh(known)
    assert now == await store.runs.get(RUN.id) != known
    assert (now.step("b").result, now.cancel_by and now.cancel_by.id) == ({"after": 1}, BRUNO)


async def test_a_step_an_approval_and_an_end_are_told_once_with_what_they_change(store: Store) -> None:
    incident, run = await incident_with(store)
    began = event(incident, "start", Kind.RUN_STARTED)
    assert [(await store.runs.start(run, "test", began))[1] for _ in range(2)] == [True, False]
    await store.runs.request_approval(approval(needed=1))
    await decide(store, BRUNO, run, event(incident, "approval", Kind.RUN_APPROVED))
    for _ in range(2):  # as after a crash before it was recorded as done
        await store.runs.set_step(run.id, "a", event(incident, "a"), state=StepState.DONE)
        await store.runs.end(run.id, RunState.SUCCEEDED, NOW, entry=event(incident, "end", Kind.RUN_ENDED))
    told = [Kind.RUN_STARTED, Kind.RUN_APPROVED, Kind.RUN_CHANGED, Kind.RUN_ENDED]
    assert (await kinds(store, incident))[-4:] == told


async def test_what_cannot_be_told_is_not_so_either(store: Store) -> None:
    _, run = await incident_with(store)
    await store.runs.start(run, "test")
    lost = TimelineEntry("INC-1999-0001", Kind.RUN_CHANGED, {}, BY, NOW, "a")
    with pytest.raises(NotFound):
        await store.runs.set_step(run.id, "a", lost, state=StepState.DONE)
    assert (await store.runs.get(run.id)).step("a").state is StepState.PENDING


async def test_runs_of_one_incident_begin_at_once_without_waiting_for_each_other_for_ever(store: Store) -> None:
    incident, run = await incident_with(store)
    many = [replace(run, id=f"R-{number:06d}") for number in range(8)]
    await asyncio.gather(*(store.runs.start(one, one.id, event(incident, one.id)) for one in many))
    assert (await kinds(store, incident)).count(Kind.RUN_CHANGED) == 8


async def test_a_target_is_one_runs_until_it_has_cooled_down(store: Store) -> None:
    targets, other = store.locks, "R-000002"
    await store.runs.start(RUN, "test")
    assert [await targets.acquire("lamp/desk", RUN.id, NOW) for _ in range(2)] == [None, None]
    holder = await targets.acquire("lamp/desk", other, NOW)
    assert holder and (holder.run_id, holder.until) == (RUN.id, None)
    cool = NOW + timedelta(seconds=30)
    await store.runs.end(RUN.id, RunState.SUCCEEDED, NOW, settles=cool)
    holder = await targets.acquire("lamp/desk", other, NOW)
    assert holder and holder.until == cool
    taken = await asyncio.gather(*(targets.acquire("lamp/desk", one, cool) for one in (other, "R-000003")))
    assert sum(one is None for one in taken) == 1


async def test_two_runs_never_share_an_id_and_the_same_key_starts_one(store: Store) -> None:
    first, is_new = await store.runs.start(RUN, "first")
    assert is_new
    assert await store.runs.start(replace(RUN, started_at=NOW + timedelta(hours=1)), "first") == (first, False)
    with pytest.raises(RunIdTaken):
        await store.runs.start(RUN, "second")
    assert await store.runs.start(replace(RUN, id="R-000002"), "second") == (replace(RUN, id="R-000002"), True)
