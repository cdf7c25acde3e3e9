"""A run waits for people: `flow.approve` for somebody's yes, `flow.ask` for an answer by a form."""

from __future__ import annotations

from typing import Any

import pytest

from bot.domain.errors import BadInput, NotAllowed, WrongState
from bot.domain.people import Person
from bot.domain.run import ApprovalState, Run, RunRequest, RunState, StepRef, StepState
from bot.domain.runbook import Runbook
from bot.runbooks import Library
from bot.services.runs import Runs
from sandbox.slack.state import Message
from tests.harness.scene import TEAM, Scene

ANA = Person("U0ANA00001", "Ana Torres")
BRUNO = Person("U0BRUNO002", "Bruno Díaz")
EMMA = Person("U0EMMA0005", "Emma Clark", "en")
HOW_MANY = {"question": "¿Cuántas réplicas?", "type": "integer", "default": "10"}
IS_TEN = {"id": "then", "if": "{{ steps.q.answer == 10 }}", "uses": "flow.wait", "with": {"duration": "1s"}}


async def begin(stage: Scene, *steps: dict[str, Any], idempotency_key: str = "c", **more: Any) -> Run:
    book = Runbook.model_validate({"name": "asks", "title": {"es": "Pregunta", "en": "Ask"}, "steps": steps})
    made = Runs(stage.bot.deps, Library({"asks": book}))
    return await made.start("asks", {}, RunRequest(ANA, idempotency_key, channel=f"#{TEAM}", **more))


async def ended(stage: Scene, run: Run) -> Run:
    async def look() -> Run | None:
        now = await stage.bot.deps.store.runs.get(run.id)
        return now if now.state.ended else None

    found: Run = await stage.until(look)
    return found


async def asked(stage: Scene, run: Run, step: str = "q") -> Message:
    return await stage.told(TEAM, f"{run.id}/{step}")


async def test_an_answer_by_the_form_has_its_type_and_the_next_step_sees_it(stage: Scene) -> None:
    run = await begin(stage, {"id": "q", "uses": "flow.ask", "with": HOW_MANY}, IS_TEN)
    card = await asked(stage, run)
    ana = stage.person("ana")
    await ana.press(card, "answer")
    await stage.see(lambda: ana.view)
    wrong = await ana.submit({"answer": "muchas"})
    assert "1, 2, 3" in str(wrong.errors)
    await ana.submit({"answer": "10"})
    done = await ended(stage, run)
    assert done.state is RunState.SUCCEEDED
    assert done.step("q").result == {"answer": 10, "by": ANA.id}
    assert done.step("then").state is StepState.DONE
    await stage.see(lambda: "answer" not in [one.get("action_id") for one in _buttons(card)])


async def test_a_choice_is_made_from_its_options_and_by_who_may(stage: Scene) -> None:
    given = {"question": "¿Qué criterio?", "type": "choice", "options": ["seguridad", "datos"]}
    run = await begin(stage, {"id": "q", "uses": "flow.ask", "with": given})
    await asked(stage, run)
    approval = await stage.bot.deps.store.runs.approval(run.id, "q")
    assert approval
    answer = stage.bot.runs.answer
    shown = StepRef(run.id, "q", approval.digest)
    with pytest.raises(NotAllowed):
        await answer(shown, "datos", by=EMMA, idempotency_key="emma")
    with pytest.raises(BadInput) as other:
        await answer(shown, "otro", by=BRUNO, idempotency_key="other")
    assert other.value.facts["expected"] == "seguridad | datos"
    with pytest.raises(BadInput) as silent:
        await stage.bot.runs.decide(shown, ApprovalState.APPROVED, by=BRUNO, idempotency_key="yes")
    assert silent.value.key == "answer_missing"
    with pytest.raises(WrongState):
        await answer(StepRef(run.id, "q", "0" * 12), "datos", by=BRUNO, idempotency_key="stale")
    await answer(shown, "datos", by=BRUNO, idempotency_key="bruno")
    assert (await ended(stage, run)).step("q").result == {"answer": "datos", "by": BRUNO.id}


async def test_an_answer_holds_no_secret(stage: Scene) -> None:
    run = await begin(stage, {"id": "q", "uses": "flow.ask", "with": {"question": "¿Qué pasó?"}})
    await asked(stage, run)
    approval = await stage.bot.deps.store.runs.approval(run.id, "q")
    assert approval
    text = "usé password=hunter2hunter2"
    await stage.bot.runs.answer(StepRef(run.id, "q", approval.digest), text, by=ANA, idempotency_key="a")
    assert "hunter2" not in str((await ended(stage, run)).step("q").result)


async def test_go_on_only_when_somebody_else_agrees(stage: Scene) -> None:
    go = {"id": "q", "uses": "flow.approve", "with": {"question": "¿Pasamos al 50 %?"}}
    run = await begin(stage, go, {"id": "then", "uses": "flow.wait", "with": {"duration": "1s"}})
    card = await asked(stage, run)
    assert "¿Pasamos al 50 %?" in card.all_text()
    await stage.person("ana").press(card, "approve")  # who asked does not approve
    await stage.person("bruno").press(card, "approve")
    done = await ended(stage, run)
    assert (done.state, done.step("q").result) == (RunState.SUCCEEDED, {"by": [BRUNO.id]})
    refused = await begin(stage, go, idempotency_key="again")
    await stage.person("bruno").press(await asked(stage, refused), "reject")
    assert (await ended(stage, refused)).state is RunState.FAILED


async def test_a_dry_run_asks_nobody_and_goes_on_with_the_default(stage: Scene) -> None:
    steps = ({"id": "q", "uses": "flow.ask", "with": HOW_MANY}, IS_TEN)
    done = await ended(stage, await begin(stage, *steps, dry_run=True))
    assert (done.state, done.step("then").state) == (RunState.SUCCEEDED, StepState.DONE)
    assert await stage.bot.deps.store.runs.approval(done.id, "q") is None


@pytest.mark.parametrize(
    "wrong", [{"type": "choice"}, {"options": ["a"]}, {"type": "integer", "default": "ten"}, {"type": "colour"}]
)
async def test_a_question_that_cannot_be_is_not_asked(stage: Scene, wrong: dict[str, Any]) -> None:
    done = await ended(stage, await begin(stage, {"id": "q", "uses": "flow.ask", "with": {"question": "?"} | wrong}))
    assert (done.state, done.step("q").state) == (RunState.FAILED, StepState.FAILED)
    assert await stage.bot.deps.store.runs.approval(done.id, "q") is None


def _buttons(message: Message) -> list[dict[str, Any]]:
    return [one for block in message.blocks if block["type"] == "actions" for one in block["elements"]]
