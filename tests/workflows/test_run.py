"""Runs of runbooks by the real engine: rehearsed, approved, performed once, measured, undone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.domain.errors import NotAllowed, WrongState
from bot.domain.incident import Severity
from bot.domain.run import ApprovalState, RunState, StepRef, StepState
from bot.domain.timeline import Kind
from demo.environment import DemoEnvironment
from tests.harness.lamp import ANA, BRUNO, CARLA, EMMA, Lamp, asked, begin, ended, runs, until


async def test_a_change_is_shown_performed_once_and_told(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, {"id": "a", "uses": "lamp.dim", "with": {"to": 10}})
    run = await begin(made)
    assert (await begin(made)).id == run.id  # a double click is the same run
    done = await ended(stage, run)
    assert (done.state, done.step("a").state, lamp.done) == (RunState.SUCCEEDED, StepState.DONE, [10])
    assert done.step("a").effects[0].facts == {"value": 10, "before": 3}
    assert done.step("a").result == {"before": 3, "after": 10}
    messages = [
        one for one in stage.sandbox.slack.channel("tamv-incidents").messages.values() if run.id in str(one.blocks)
    ]
    assert len(messages) == 1


async def test_a_dry_run_changes_nothing(stage: DemoEnvironment, lamp: Lamp) -> None:
    run = await ended(
        stage, await begin(runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}}), dry_run=True, by=EMMA)
    )
    assert (run.state, lamp.done, lamp.value) == (RunState.SUCCEEDED, [], 3)
    assert run.step("a").effects


async def test_somebody_else_approves_these_very_parameters(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}})
    run = await begin(made)
    digest = await asked(stage, run)
    assert lamp.done == []
    for person, key in ((ANA, "own_request"), (EMMA, "role_missing")):
        with pytest.raises(NotAllowed) as refused:
            await made.decide(
                StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=person, idempotency_key=f"no-{person.id}"
            )
        assert refused.value.key == key
    with pytest.raises(WrongState) as other:
        await made.decide(StepRef(run.id, "a", "0" * 12), ApprovalState.APPROVED, by=BRUNO, idempotency_key="stale")
    assert other.value.key == "other_parameters"
    await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes")
    assert (await ended(stage, run)).state is RunState.SUCCEEDED
    assert lamp.done == [10]
    with pytest.raises(WrongState) as late:
        await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=CARLA, idempotency_key="late")
    assert late.value.key == "already_decided"


async def test_the_destructive_needs_two_and_one_person_counts_once(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, {"id": "a", "uses": "lamp.smash", "with": {"to": 0}})
    run = await begin(made)
    digest = await asked(stage, run)
    await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="one")
    with pytest.raises(WrongState) as doubled:
        await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="one more")
    assert doubled.value.key == "decided_before" and lamp.done == []
    await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=CARLA, idempotency_key="two")
    assert (await ended(stage, run)).state is RunState.SUCCEEDED and lamp.done == [0]


async def test_rejected_nothing_is_done(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}})
    run = await begin(made)
    await made.decide(
        StepRef(run.id, "a", await asked(stage, run)), ApprovalState.REJECTED, by=BRUNO, idempotency_key="no"
    )
    done = await ended(stage, run)
    assert (done.state, done.step("a").error, lamp.done) == (RunState.FAILED, "rejected", [])


async def test_a_step_sees_what_the_one_before_gave(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(
        stage,
        {"id": "a", "uses": "lamp.dim", "with": {"to": 5}},
        {"id": "b", "if": "{{ steps.a.after == 5 }}", "uses": "lamp.dim", "with": {"to": "{{ steps.a.after + 1 }}"}},
        {"id": "c", "if": "{{ steps.b.after == 5 }}", "uses": "lamp.dim", "with": {"to": 0}},
    )
    done = await ended(stage, await begin(made))
    assert (done.state, lamp.done, done.step("c").state) == (RunState.SUCCEEDED, [5, 6], StepState.SKIPPED)


async def test_what_failed_later_undoes_all_in_reverse(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(
        stage,
        {"id": "a", "uses": "lamp.dim", "with": {"to": 5}},
        {"id": "b", "uses": "lamp.dim", "with": {"to": 6}},
        {"id": "c", "uses": "flow.check", "with": {"that": False}},
    )
    done = await ended(stage, await begin(made))
    assert (done.state, lamp.done, lamp.value) == (RunState.UNDONE, [5, 6, 5, 3], 3)
    assert done.step("c").error == "condition_failed"


async def test_a_broken_step_is_undone_with_what_its_rehearsal_saw(stage: DemoEnvironment, lamp: Lamp) -> None:
    lamp.broken = True
    run = await ended(stage, await begin(runs(stage, {"id": "a", "uses": "lamp.dim", "with": {"to": 5}})))
    assert (run.state, lamp.value, lamp.done) == (RunState.UNDONE, 3, [5, 3])


async def test_cancelled_in_the_middle_of_a_step_it_stops_at_once(stage: DemoEnvironment, lamp: Lamp) -> None:
    lamp.slow.clear()
    made = runs(
        stage, {"id": "a", "uses": "lamp.dim", "with": {"to": 5}}, {"id": "b", "uses": "lamp.dim", "with": {"to": 6}}
    )
    run = await begin(made)
    await until(lambda: _true(lamp.done == [5]))
    await made.cancel(run.id, by=BRUNO, idempotency_key="stop")
    lamp_free = asyncio.get_running_loop().call_later(2, lamp.slow.set)
    done = await ended(stage, run)
    lamp_free.cancel()
    assert done.state is RunState.CANCELLED
    assert 6 not in lamp.done


async def test_frozen_nothing_is_changed(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, {"id": "a", "uses": "lamp.dim", "with": {"to": 5}})
    await made.freeze("Buen Fin", by=ANA, idempotency_key="f")
    run = await ended(stage, await begin(made))
    assert run.step("a").error == "frozen" and lamp.done == []
    await made.thaw(by=ANA, idempotency_key="t")
    assert (await ended(stage, await begin(made, idempotency_key="again"))).state is RunState.SUCCEEDED


async def test_who_is_no_responder_changes_nothing(stage: DemoEnvironment, lamp: Lamp) -> None:
    with pytest.raises(NotAllowed):
        await begin(runs(stage, {"id": "a", "uses": "lamp.dim", "with": {"to": 5}}), by=EMMA)


async def _true(value: bool) -> bool:
    return value


async def test_the_incidents_timeline_and_report_know_what_was_changed_and_who_agreed(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    incident = await stage.bot.incidents.declare("Lento", Severity.SEV2, by=ANA, idempotency_key="declared")
    made = runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}})
    run = await begin(made, incident=incident)
    await made.decide(
        StepRef(run.id, "a", await asked(stage, run)), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes"
    )
    await ended(stage, run)

    async def told() -> dict[Kind, Any]:
        events = await stage.bot.deps.store.incidents.timeline(incident.id)
        found = {event.kind: event.facts for event in events}
        return found if Kind.RUN_ENDED in found else {}

    facts = await until(told)
    assert facts[Kind.RUN_APPROVED]["people"] == [BRUNO.id]
    assert facts[Kind.RUN_APPROVED]["digest"] == facts[Kind.RUN_CHANGED]["digest"] != ""
    assert facts[Kind.RUN_ENDED]["state"] == "succeeded"
    written = await stage.bot.reports.render(incident.id)
    assert "Aprobado" in written.markdown and "lamp.set" in written.markdown
