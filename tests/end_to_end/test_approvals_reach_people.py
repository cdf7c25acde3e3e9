"""An approval reaches those who can give it; one that expires does not end the cure: asked again, gone on without."""

from __future__ import annotations

from typing import Any

from bot.domain.incident import Severity
from bot.domain.people import Person
from bot.domain.run import Run, RunRequest, RunState, StepState, continued_key, run_id
from bot.domain.runbook import Runbook
from bot.runbooks import Library
from bot.services.runs import Runs
from sandbox.slack.state import Message
from tests.harness.scene import TEAM, Scene, words

ANA = Person("U0ANA00001", "Ana Torres")
ASK = {"id": "q", "title": {"es": "Nodos más grandes"}, "uses": "flow.approve", "with": {"question": "¿Los cambio?"}}
CHEAP = {"id": "cheap", "title": {"es": "Lo barato"}, "uses": "flow.wait", "with": {"duration": "1s"}}


async def begin(stage: Scene, *steps: dict[str, Any], idempotency_key: str = "c", incident: Any = None) -> Run:
    book = Runbook.model_validate({"name": "asks", "title": {"es": "Pregunta"}, "steps": steps, "on-failure": "undo"})
    made = Runs(stage.bot.deps, Library({"asks": book}))
    channel = None if incident else f"#{TEAM}"
    return await made.start("asks", {}, RunRequest(ANA, idempotency_key, channel=channel, incident=incident))


async def ended(stage: Scene, id: str) -> Run:
    async def look() -> Run | None:
        now = await stage.bot.deps.store.runs.get(id)
        return now if now.state.ended else None

    found: Run = await stage.until(look, 30)
    return found


def direct(stage: Scene, handle: str, sign: str) -> Message | None:
    """The newest direct message of the bot to this person with this sign."""
    user = stage.person(handle).user.id
    messages = [m for c in stage.slack.channels.values() if c.im_user == user for m in c.messages.values()]
    return next((m for m in reversed(messages) if sign in words(m)), None)


def offers(message: Message) -> list[str]:
    return [element["action_id"] for _, element in message.elements()]


async def test_who_can_approve_is_mentioned_and_gets_the_buttons_in_a_direct_message(stage: Scene) -> None:
    run = await begin(stage, ASK)
    card = await stage.told(TEAM, "Falta otra persona: Nodos más grandes")
    for able in ("U0BRUNO002", "U0CARLA003", "U0DIEGO004", "U0FRAN0006"):
        assert f"<@{able}>" in words(card)
    assert "<@U0ANA00001> " not in card.blocks[0]["text"]["text"], "who asks may not approve"
    mine = await stage.see(lambda: direct(stage, "bruno", "te pide una aprobación"))
    assert {"approve", "reject"} <= set(offers(mine)) and "Espera desde" in words(mine)
    assert direct(stage, "ana", "aprobación") is None and direct(stage, "emma", "aprobación") is None
    await stage.person("bruno").press(mine, "approve")
    assert (await ended(stage, run.id)).state is RunState.SUCCEEDED
    await stage.see(lambda: direct(stage, "carla", "No tienes que hacer nada"))
    assert not [one for one in ("bruno", "carla", "diego") if direct(stage, one, "te pide una aprobación")]
    await stage.see(lambda: not offers(card) and "aprobó" in words(card))


async def test_the_app_home_has_the_buttons_and_shows_the_change(stage: Scene) -> None:
    run = await begin(stage, ASK)
    await stage.told(TEAM, "Falta otra persona")
    carla = stage.person("carla")
    home = await carla.open_home()
    assert "approve" in str(home.body) and "Nodos más grandes" in str(home.body)
    await carla.press(home, "show_change")
    await stage.see(lambda: carla.view and "¿Los cambio?" in str(carla.view.body))
    await carla.close()
    await carla.press(home, "approve")
    assert (await ended(stage, run.id)).state is RunState.SUCCEEDED
    await stage.see(lambda: (shown := carla.home) and "Nodos más grandes" not in str(shown.body))


async def test_at_half_time_they_are_called_again_and_the_next_on_call_is_paged_in_a_serious_incident(
    stage: Scene,
) -> None:
    channel = await stage.incident(sev="SEV2")
    incident = await stage.record(channel)
    assert incident.severity is Severity.SEV2
    run = await begin(stage, {**ASK, "approval": {"expires": "8s"}}, incident=incident)
    first = await stage.told(channel, "Falta otra persona: Nodos más grandes")
    await stage.told(channel, "Segunda llamada: Nodos más grandes")
    await stage.see(lambda: first.ts not in channel.messages or None)
    await stage.told(channel, "PagerDuty avisó a *segunda llamada*")
    pages = [one for one in stage.sandbox.pagerduty.incidents.values() if one.key == f"{run.id}/q"]
    assert [one.assignees for one in pages] == [("PBRU002",)]
    again = await stage.see(lambda: direct(stage, "bruno", "segunda llamada"))
    await stage.person("bruno").press(again, "approve")
    assert (await ended(stage, run.id)).state is RunState.SUCCEEDED
    assert not pages[0].is_open, "nobody needs to wake up any more"


async def test_an_expired_approval_asks_how_to_go_on_and_the_cheap_cure_is_tried(stage: Scene) -> None:
    run = await begin(stage, {**ASK, "approval": {"expires": "2s"}}, CHEAP)
    asked = await stage.told(TEAM, "nadie aprobó", "Lo barato")
    assert {"go_on_without", "ask_again"} <= set(offers(asked))
    stopped = await ended(stage, run.id)
    assert (stopped.state, stopped.step("q").error) == (RunState.FAILED, "expired")
    await stage.person("emma").press(asked, "go_on_without")  # no responder
    await stage.person("ana").press(asked, "go_on_without")
    await stage.person("bruno").press(asked, "go_on_without")  # a second tap makes no second run
    done = await ended(stage, run_id(continued_key(run.id, "cheap")))
    assert (done.state, done.step("cheap").state, done.step("q").copied_from) == (
        RunState.SUCCEEDED,
        StepState.DONE,
        run.id,
    )
    await stage.see(lambda: not offers(asked) and f"siguió en {done.id}" in words(asked))
    assert len([one for one in await stage.bot.deps.store.runs.recent() if one.runbook == "asks"]) == 2


async def test_ask_again_asks_for_the_same_change_once_more(stage: Scene) -> None:
    run = await begin(stage, {**ASK, "approval": {"expires": "2s"}}, CHEAP)
    await stage.person("ana").press(await stage.told(TEAM, "nadie aprobó"), "ask_again")
    again = run_id(continued_key(run.id, "q"))
    card = await stage.told(TEAM, "Falta otra persona", f"{again}/q")
    await stage.person("bruno").press(card, "approve")
    assert (await ended(stage, again)).state is RunState.SUCCEEDED


async def test_a_runbook_says_that_an_expiry_skips_the_step_and_a_person_may_do_so_at_once(stage: Scene) -> None:
    run = await begin(stage, {**ASK, "approval": {"expires": "2s", "on-expiry": "skip"}}, CHEAP)
    await stage.told(TEAM, "Si nadie contesta, sigo con *Lo barato*")
    asked = await stage.told(TEAM, "nadie aprobó", "sigo con *Lo barato*")
    assert not [m for m in stage.slack.channel(TEAM).messages.values() if "approve" in offers(m)]
    await stage.person("ana").press(asked, "go_on_without")
    done = await ended(stage, run.id)
    assert (done.state, done.step("q").state, done.step("cheap").state) == (
        RunState.SUCCEEDED,
        StepState.SKIPPED,
        StepState.DONE,
    )
    await stage.see(lambda: not offers(asked) and "siguió sin *Nodos más grandes*" in words(asked))


async def test_after_two_minutes_it_goes_on_by_itself(stage: Scene) -> None:
    run = await begin(stage, {**ASK, "approval": {"expires": "2s", "on-expiry": "skip"}}, CHEAP)
    asked = await stage.told(TEAM, "nadie aprobó")
    stage.sandbox.clock.speed = 100.0
    done = await ended(stage, run.id)
    assert (done.state, done.step("q").state) == (RunState.SUCCEEDED, StepState.SKIPPED)
    await stage.see(lambda: "Seguí sin *Nodos más grandes*: nadie contestó" in words(asked))


async def test_ask_again_of_the_runbook_is_one_more_round(stage: Scene) -> None:
    run = await begin(stage, {**ASK, "approval": {"expires": "2s", "on-expiry": "ask-again"}}, CHEAP)
    done = await ended(stage, run.id)
    assert (done.state, done.step("q").error, done.step("q").facts["rounds"]) == (RunState.FAILED, "expired", 2)
    cards = [text for text in stage.own(TEAM) if "Nadie aprobó *Nodos más grandes*" in text or f"{run.id}/q" in text]
    assert len(cards) == 1 and "Nadie aprobó" in cards[0], "the older ones are deleted"


async def test_a_rejection_can_mean_to_skip_the_step(stage: Scene) -> None:
    run = await begin(stage, {**ASK, "approval": {"on-reject": "skip"}}, CHEAP)
    await stage.person("bruno").press(await stage.told(TEAM, "Falta otra persona"), "reject")
    asked = await stage.told(TEAM, "rechazó", "sigo con *Lo barato*")
    await stage.person("ana").press(asked, "go_on_without")
    assert (await ended(stage, run.id)).state is RunState.SUCCEEDED
