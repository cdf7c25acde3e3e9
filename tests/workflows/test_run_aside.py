"""What a run does when it does not run alone or to its end: it waits, is cut off, is undone, is followed by another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import NotAllowed, WrongState
from bot.domain.incident import Severity
from bot.domain.run import ApprovalState, Run, RunRequest, RunState, StepRef, StepState, on_failure_key, run_id
from bot.domain.runbook import Runbook
from bot.domain.timeline import Kind
from bot.runbooks import Library
from bot.services.runs import Runs
from demo.environment import DemoEnvironment, demo_environment
from sandbox.server import Sandbox
from tests.harness.lamp import (
    ANA,
    BRUNO,
    CARLA,
    EMMA,
    Lamp,
    asked,
    begin,
    buttons,
    ended,
    message,
    over,
    runs,
    says,
    until,
)
from tests.harness.measured import JumpingClock

DIM = {"id": "a", "uses": "lamp.dim", "with": {"to": 10}}
NO = {"id": "no", "uses": "flow.check", "with": {"that": False}}


async def test_who_waits_for_a_target_says_for_whom_and_then_that_it_settles(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    lamp.slow.clear()
    first = await begin(runs(stage, DIM), idempotency_key="first")
    await until(lambda: _true(lamp.done == [10]))
    second = await begin(runs(stage, {**DIM, "with": {"to": 4}}), by=BRUNO, idempotency_key="second")
    text = await says(stage, second, first.id, "está cambiando desk")
    assert f"<@{ANA.id}>" in text
    lamp.slow.set()
    assert (await ended(stage, first)).state is RunState.SUCCEEDED
    await says(stage, second, f"{first.id} acaba de cambiar desk")
    assert lamp.done == [10]
    clock = stage.sandbox.clock
    assert isinstance(clock, JumpingClock)
    clock.jump(60)
    done = await ended(stage, second)
    assert (done.state, lamp.done) == (RunState.SUCCEEDED, [10, 4])
    assert "está cambiando" not in await says(stage, second, "✅")


async def test_who_waits_for_a_target_can_be_cancelled(stage: DemoEnvironment, lamp: Lamp) -> None:
    lamp.slow.clear()
    await begin(runs(stage, DIM), idempotency_key="first")
    await until(lambda: _true(lamp.done == [10]))
    made = runs(stage, {**DIM, "with": {"to": 4}})
    second = await begin(made, idempotency_key="second")
    await says(stage, second, "está cambiando desk")
    await made.cancel(second.id, by=BRUNO, idempotency_key="stop")
    assert (await ended(stage, second)).state is RunState.CANCELLED
    lamp.slow.set()
    assert lamp.done == [10]


@pytest.mark.parametrize(("value", "said"), [(10, "el cambio ya estaba hecho"), (3, "faltaba: ")])
async def test_after_a_restart_the_message_says_what_was_in_flight(
    tmp_path: Path, lamp: Lamp, value: int, said: str
) -> None:
    sandbox, database = Sandbox(), f"sqlite:///{tmp_path}/bot.db"
    lamp.slow.clear()
    async with demo_environment(sandbox, database, prometheus_url=None) as stage:
        run = await begin(runs(stage, DIM))
        await until(lambda: _true(lamp.done == [10]))
    lamp.value = value
    lamp.slow.set()
    async with demo_environment(sandbox, database, prometheus_url=None) as stage:
        done = await ended(stage, run)
        text = await says(stage, run, "el bot se reinició durante este paso", said, "✅")
    assert "lamp.set" in text
    assert (done.state, lamp.value) == (RunState.SUCCEEDED, 10)
    assert done.step("a").result == {"before": 3, "after": 10}


async def test_a_freeze_and_its_end_are_told_to_everybody_once(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, DIM)
    with pytest.raises(NotAllowed):
        await made.freeze("Emma", by=EMMA, idempotency_key="no")
    await made.freeze("Buen Fin <!channel>", by=ANA, idempotency_key="f")
    await _told(stage, "Cambios congelados", f"<@{ANA.id}>", "Buen Fin &lt;!channel&gt;")
    await made.thaw(by=BRUNO, idempotency_key="t")
    await _told(stage, "Descongelado", f"<@{BRUNO.id}>")
    assert len(_said(stage, "ongelado")) == 2


async def test_a_broken_glass_is_told_to_everybody_and_stands_in_the_report(stage: DemoEnvironment, lamp: Lamp) -> None:
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV1, by=BRUNO, idempotency_key="declared")
    made = runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}})
    run = await begin(made, incident=incident)
    digest, glass = await asked(stage, run), ApprovalState.BROKEN_GLASS
    await made.decide(StepRef(run.id, "a", digest), glass, by=ANA, idempotency_key="b", reason="Nadie contesta")
    assert (await ended(stage, run)).state is RunState.SUCCEEDED
    await _told(stage, "Sin aprobación", f"<@{ANA.id}>", run.id, incident.id, "Nadie contesta", "lamp.set")
    assert "Nadie contesta" in (await stage.bot.reports.render(incident.id)).markdown


async def test_who_is_asked_before_the_incidents_channel_opens_sees_the_card_there(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    slack = stage.sandbox.slack
    stage.sandbox.faults.add("slack", "slow", "*conversations.create", seconds=1.5)
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV2, by=ANA, idempotency_key="declared")
    made = runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}})
    run = await made.start("dim", {}, RunRequest(ANA, "c", incident=incident))
    await asked(stage, run)
    assert run.channel is None and not [one for one in slack.channels.values() if one.name.startswith("inc-")]

    def card() -> bool:
        channels = [one for one in slack.channels.values() if one.name.startswith("inc-")]
        shown = [element for one in channels for m in one.messages.values() for _, element in m.elements()]
        return any(element["action_id"] == "approve" for element in shown)

    await slack.wait_for(card, 15)


async def test_an_undo_does_not_go_over_somebody_elses_change_and_says_so(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, DIM)
    run = await ended(stage, await begin(made))
    lamp.value = 7
    await made.undo(run.id, by=BRUNO, idempotency_key="u1")
    await says(stage, run, "no se deshizo: ", "desk")
    assert (lamp.value, (await stage.bot.deps.store.runs.get(run.id)).step("a").state) == (7, StepState.DONE)
    lamp.value = 10
    await made.undo(run.id, by=BRUNO, idempotency_key="u2")  # what was refused can be asked for again
    await says(stage, run, "↩️")
    assert "no se deshizo" not in message(stage, run)
    assert lamp.value == 3


async def test_the_half_done_step_is_undone_on_demand_and_the_timeline_says_by_whom(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV2, by=ANA, idempotency_key="declared")
    lamp.broken = True
    made = runs(stage, DIM, **{"on-failure": "stop"})
    run = await ended(stage, await begin(made, incident=incident))
    assert (run.state, run.step("a").state, lamp.value) == (RunState.FAILED, StepState.FAILED, 10)
    await made.undo(run.id, by=BRUNO, idempotency_key="u")

    async def undone() -> Any:
        timeline = await stage.bot.deps.store.incidents.timeline(incident.id)
        return next((event for event in timeline if event.kind is Kind.RUN_UNDONE), None)

    assert (await until(undone)).by.id == BRUNO.id
    assert lamp.value == 3


async def test_what_a_step_is_to_keep_stays_when_the_run_is_undone(stage: DemoEnvironment, lamp: Lamp) -> None:
    copy, after = {**DIM, "id": "copy", "keep": True}, {"id": "b", "uses": "lamp.dim", "with": {"to": 4}}
    done = await ended(stage, await begin(runs(stage, copy, after, NO)))
    assert (done.state, lamp.done, lamp.value) == (RunState.UNDONE, [10, 4, 10], 10)
    assert [one.state for one in done.steps] == [StepState.DONE, StepState.UNDONE, StepState.FAILED]
    await over(done.id)
    text = await says(stage, done, "↩️", "🔒 no se deshace con la ejecución")
    assert text.count("🔒") == 1
    assert "undo_run" not in buttons(stage, done)


async def test_a_run_that_only_keeps_offers_no_undo_and_undoes_nothing(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, {**DIM, "keep": True})
    run = await ended(stage, await begin(made))
    await over(run.id)
    await says(stage, run, "🔒 no se deshace con la ejecución")
    assert "undo_run" not in buttons(stage, run)
    await made.undo(run.id, by=BRUNO, idempotency_key="u")
    await over("u/undo")
    assert lamp.done == [10]
    assert (await ended(stage, run)).step("a").state is StepState.DONE


async def test_a_long_diff_is_a_file_under_the_card_that_keeps_its_buttons(stage: DemoEnvironment, lamp: Lamp) -> None:
    secret = "password=hunter2hunter2"
    lamp.diff = "\n".join([*(f"+ line {number}" for number in range(400)), f"+ {secret}"])
    run = await begin(runs(stage, {"id": "a", "uses": "lamp.break", "with": {"to": 10}}))
    await asked(stage, run)
    slack = stage.sandbox.slack
    messages = slack.channel("tamv-incidents").messages.values()
    shared = await slack.wait_for(lambda: next((one for one in messages if one.files), None), 15)
    file = slack.files[shared.files[0]]
    text = (file.content or b"").decode()
    assert file.name == f"{run.id}-a.diff" and "+ line 399" in text and "hunter2" not in text
    card = next(one for one in messages if f"{run.id}/a" in one.all_text())
    assert "approve" in [element["action_id"] for _, element in card.elements()]
    assert shared.thread_ts == card.ts


async def test_without_a_channel_of_the_incident_its_run_is_told_in_the_headlines_thread(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    slack = stage.sandbox.slack
    stage.sandbox.faults.add("slack", "error", "conversations.create", error="restricted_action", times=None)
    lamp.diff = "\n".join(f"+ line {number}" for number in range(400))
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV2, by=ANA, idempotency_key="declared")
    messages = slack.channel("tamv-incidents").messages.values()
    headline = await slack.wait_for(lambda: next((one for one in messages if incident.id in one.all_text()), None), 15)
    plan = {"sql": ["ALTER TABLE lamps ADD COLUMN colour text"], "step": "add"}
    read = {"id": "read", "uses": "migration.review", "with": plan}
    made = runs(stage, read, {"id": "a", "uses": "lamp.break", "with": {"to": 10}})
    run = await made.start("dim", {}, RunRequest(ANA, "c", incident=incident))
    await made.decide(
        StepRef(run.id, "a", await asked(stage, run)), ApprovalState.APPROVED, by=BRUNO, idempotency_key="d"
    )
    assert (await ended(stage, run)).state is RunState.SUCCEEDED
    await over(run.id)
    by_key = {one.metadata["event_payload"]["key"]: one for one in messages if one.metadata}
    progress, card = by_key[f"{run.id}/progress"], by_key[f"{run.id}/a/approval"]
    found = next(one for one in messages if "lamps ADD COLUMN" in one.all_text())
    diff = next(one for one in messages if one.files)
    assert {one.thread_ts for one in (progress, card, found, diff)} == {headline.ts}
    assert "✅" in message(stage, run)


async def test_what_failed_is_said_in_words(stage: DemoEnvironment, lamp: Lamp) -> None:
    lamp.broken = True
    run = await ended(stage, await begin(runs(stage, DIM, **{"on-failure": "stop"})))
    assert "broken" in await says(stage, run, "falló: Slack")


async def test_another_runbook_follows_a_failure_with_the_inputs_of_the_same_name(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    """At once: it goes on with the target of the one that failed, without waiting until that has settled."""
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV2, by=ANA, idempotency_key="declared")
    made = Runs(stage.bot.deps, Library({"dim": _book("dim", "way-out"), "way-out": WAY_OUT}))
    run = await made.start("dim", {"to": "5"}, RunRequest(ANA, "c", incident=incident))
    failed = await ended(stage, run)
    assert (failed.state, failed.step("a").state) == (RunState.FAILED, StepState.DONE)
    other = run_id(on_failure_key(run.id))

    async def begun() -> Run | None:
        return next(
            (one for one in await stage.bot.deps.store.runs.list_by_incident(incident.id) if one.id == other), None
        )

    followed = await ended(stage, await until(begun))
    assert (followed.runbook, followed.state, followed.by) == ("way-out", RunState.SUCCEEDED, ANA)
    assert (followed.inputs, lamp.done) == ({"to": 5, "more": 1}, [5, 6])
    await says(stage, run, "Sigue con", "Salida", other)


@pytest.mark.parametrize("how", ["cancelled", "dry"])
async def test_nothing_follows_what_a_person_stopped_or_only_looked_at(
    stage: DemoEnvironment, lamp: Lamp, how: str
) -> None:
    made = Runs(stage.bot.deps, Library({"dim": _book("dim", "way-out"), "way-out": WAY_OUT}))
    lamp.slow.clear()
    request = RunRequest(ANA, "c", channel="#tamv-incidents", dry_run=how == "dry")
    run = await made.start("dim", {"to": "5"}, request)
    if how == "cancelled":
        await until(lambda: _true(lamp.done == [5]))
        await made.cancel(run.id, by=ANA, idempotency_key="stop")
    await ended(stage, run)
    lamp.slow.set()
    assert [one.runbook for one in await stage.bot.deps.store.runs.list_running()] == []
    assert lamp.done == ([5] if how == "cancelled" else [])


def _book(name: str, on_failure: str, *steps: dict[str, Any]) -> Runbook:
    return Runbook.model_validate(
        {
            "name": name,
            "title": {"es": "Salida", "en": "Way out"},
            "inputs": {"to": {"type": "integer", "required": True}},
            "steps": [*(steps or ({**DIM, "with": {"to": "{{ inputs.to }}"}}, NO))],
            "on-failure": on_failure,
        }
    )


WAY_OUT = Runbook.model_validate(
    {
        "name": "way-out",
        "title": {"es": "Salida", "en": "Way out"},
        "inputs": {"to": {"type": "integer", "required": True}, "more": {"type": "integer", "default": 1}},
        "steps": [{"id": "b", "uses": "lamp.dim", "with": {"to": "{{ inputs.to + inputs.more }}"}}],
    }
)


def _said(stage: DemoEnvironment, *words: str) -> list[str]:
    messages = stage.sandbox.slack.channel("tamv-incidents").messages.values()
    return [text for one in messages if all(word in (text := one.all_text()) for word in words)]


async def _told(stage: DemoEnvironment, *words: str) -> None:
    await stage.sandbox.slack.wait_for(lambda: _said(stage, *words) or None, 15)


async def _true(value: bool) -> bool:
    return value


BREAK = {"id": "a", "uses": "lamp.break", "with": {"to": 10}}


async def _broken(stage: DemoEnvironment, **more: Any) -> tuple[Runs, Run]:
    """A lamp that Ana has set with Bruno's approval."""
    made = runs(stage, BREAK, **more)
    run = await begin(made)
    digest = await asked(stage, run)
    await made.decide(StepRef(run.id, "a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes")
    return made, await ended(stage, run)


async def test_an_undo_is_shown_told_and_approved_like_the_change_that_it_is(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    made, run = await _broken(stage)
    await made.undo(run.id, by=ANA, idempotency_key="u")
    digest = await asked(stage, run, "_a")
    await _told(stage, "pidió deshacer", f"<@{ANA.id}>", run.id)
    await _told(stage, "Deshacer", f"{run.id}/_a", digest)
    assert lamp.value == 10
    step = StepRef(run.id, "_a", digest)
    with pytest.raises(NotAllowed) as own:
        await made.decide(step, ApprovalState.APPROVED, by=ANA, idempotency_key="own")
    assert own.value.key == "own_request"
    with pytest.raises(WrongState) as again:
        await made.undo(run.id, by=BRUNO, idempotency_key="u2")
    assert again.value.key == "undo_waits"
    await made.decide(step, ApprovalState.APPROVED, by=CARLA, idempotency_key="agreed")
    await over("u/undo")
    assert (lamp.value, (await ended(stage, run)).step("a").state) == (3, StepState.UNDONE)
    await says(stage, run, "↩️", f"lo deshizo <@{ANA.id}>")


async def test_an_undo_that_is_refused_changes_nothing_and_can_be_asked_for_again(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    made, run = await _broken(stage)
    await made.undo(run.id, by=ANA, idempotency_key="u1")
    first = await asked(stage, run, "_a")
    await made.decide(StepRef(run.id, "_a", first), ApprovalState.REJECTED, by=BRUNO, idempotency_key="no")
    await over("u1/undo")
    assert lamp.value == 10
    await says(stage, run, "no se deshizo")
    await made.undo(run.id, by=CARLA, idempotency_key="u2")
    second = await until(lambda: _other(stage, run, first))
    await made.decide(StepRef(run.id, "_a", second), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes2")
    await over("u2/undo")
    assert lamp.value == 3


async def test_what_a_cancelled_run_undoes_is_approved_too(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, BREAK, {"id": "wait", "uses": "flow.wait", "with": {"duration": "1h"}})
    run = await begin(made)
    await made.decide(
        StepRef(run.id, "a", await asked(stage, run)), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes"
    )
    await until(lambda: _true(lamp.done == [10]))
    await made.cancel(run.id, by=CARLA, idempotency_key="stop")
    digest = await asked(stage, run, "_a")
    await _told(stage, "canceló", f"<@{CARLA.id}>", run.id)
    assert lamp.value == 10
    await made.decide(StepRef(run.id, "_a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="back")
    assert (await ended(stage, run)).state is RunState.CANCELLED
    assert lamp.value == 3


async def test_the_way_back_from_what_was_measured_as_worse_needs_nobody_else(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    made = runs(stage, BREAK, NO)
    run = await begin(made)
    await made.decide(
        StepRef(run.id, "a", await asked(stage, run)), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes"
    )
    assert (await ended(stage, run)).state is RunState.UNDONE
    assert lamp.value == 3


async def test_what_a_person_refused_measures_nothing(stage: DemoEnvironment, lamp: Lamp) -> None:
    made = runs(stage, BREAK, {"id": "b", "uses": "lamp.break", "with": {"to": 20}})
    run = await begin(made)
    for step, verdict in (("a", ApprovalState.APPROVED), ("b", ApprovalState.REJECTED)):
        digest = await asked(stage, run, step)
        await made.decide(StepRef(run.id, step, digest), verdict, by=BRUNO, idempotency_key=step)
    await asked(stage, run, "_a")
    assert lamp.value == 10


async def test_the_requester_of_an_undo_and_of_a_cancellation_are_named_in_the_report(
    stage: DemoEnvironment, lamp: Lamp
) -> None:
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV2, by=EMMA, idempotency_key="declared")
    made = runs(stage, BREAK)
    run = await begin(made, incident=incident)
    await made.decide(
        StepRef(run.id, "a", await asked(stage, run)), ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes"
    )
    await ended(stage, run)
    await made.undo(run.id, by=CARLA, idempotency_key="u")
    digest = await asked(stage, run, "_a")
    await made.decide(StepRef(run.id, "_a", digest), ApprovalState.APPROVED, by=BRUNO, idempotency_key="back")
    await over("u/undo")
    waiting = runs(stage, {"id": "wait", "uses": "flow.wait", "with": {"duration": "1h"}})
    other = await begin(waiting, idempotency_key="other", incident=incident)
    await waiting.cancel(other.id, by=CARLA, idempotency_key="stop")
    await ended(stage, other)
    report = (await stage.bot.reports.render(incident.id)).markdown
    assert "Aprobado por Bruno Díaz" in report and "Deshacer aprobado por Bruno Díaz" in report
    assert "Deshecho por Carla Méndez" in report and "por Carla Méndez" in report.partition(other.id)[2]
    did = [line for line in report.partition("Quién hizo qué")[2].splitlines() if line.startswith("- **")]
    assert [line.partition("**")[2].partition("**")[0] for line in did if "aprobó" in line] == ["Bruno Díaz"]


async def test_a_runbook_for_a_failure_that_does_not_begin_is_said_loudly(stage: DemoEnvironment, lamp: Lamp) -> None:
    needy = Runbook.model_validate({**WAY_OUT.to_json(), "inputs": {"to": {"type": "integer", "required": True}}})
    book = Runbook.model_validate(
        {
            **_book("dim", "way-out").to_json(),
            "inputs": {"to": {"type": "string", "default": "five"}},
            "steps": [DIM, NO],
        }
    )
    made = Runs(stage.bot.deps, Library({"dim": book, "way-out": needy}))
    run = await made.start("dim", {}, RunRequest(ANA, "c", channel="#tamv-incidents"))
    assert (await ended(stage, run)).state is RunState.FAILED
    await _told(stage, "🛑", run.id, "Salida", "no empezó", f"<@{ANA.id}>")
    assert "Sigue con" not in await says(stage, run, "no empezó")
    assert [one.id for one in await stage.bot.deps.store.runs.recent()] == [run.id]


async def test_the_glass_is_offered_only_where_it_can_be_broken(stage: DemoEnvironment, lamp: Lamp) -> None:
    incident = await stage.bot.incidents.declare("Oscuro", Severity.SEV2, by=BRUNO, idempotency_key="declared")
    made = runs(stage, BREAK)
    run = await begin(made, incident=incident)
    digest = await asked(stage, run)
    await stage.bot.incidents.set_severity(incident.id, Severity.SEV1, by=ANA, idempotency_key="raised")
    await _told_anywhere(stage, f"{run.id}/a")
    with pytest.raises(NotAllowed) as early:
        await _break(made, run, digest, "early")
    assert early.value.key == "break_glass_early" and "break_glass" not in _actions(stage, f"{run.id}/a")
    clock = stage.sandbox.clock
    assert isinstance(clock, JumpingClock)
    clock.jump(5 * 60)
    stage.bot.deps.notify(run.id)
    await stage.sandbox.slack.wait_for(lambda: "break_glass" in _actions(stage, f"{run.id}/a"), 15)
    await _break(made, run, digest, "late")
    assert (await ended(stage, run)).state is RunState.SUCCEEDED


async def _break(made: Runs, run: Run, digest: str, key: str) -> None:
    glass = ApprovalState.BROKEN_GLASS
    await made.decide(StepRef(run.id, "a", digest), glass, by=ANA, idempotency_key=key, reason="Nadie contesta")


def _actions(stage: DemoEnvironment, sign: str) -> set[str]:
    """What may be pressed on the message that holds this text."""
    shown = [one for channel in stage.sandbox.slack.channels.values() for one in channel.messages.values()]
    return {element["action_id"] for one in shown if sign in one.all_text() for _, element in one.elements()}


async def _told_anywhere(stage: DemoEnvironment, sign: str) -> None:
    await stage.sandbox.slack.wait_for(lambda: _actions(stage, sign), 15)


async def _other(stage: DemoEnvironment, run: Run, digest: str) -> str | None:
    known = await stage.bot.deps.store.runs.approval(run.id, "_a")
    return known.digest if known and known.digest != digest else None
