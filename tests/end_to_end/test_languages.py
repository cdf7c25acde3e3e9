"""Who speaks English is answered in English; what everybody reads is in the team's language."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.scene import TEAM, Scene, scene, words

SPANISH = ("Declarado", "declaró", "Comandante", "Reconocer", "Falta", "canal", "incidente", "Ejemplo", "Hecho")
ENGLISH = ("Declared", "declared", "Commander", "Acknowledge", "missing", "incident", "Example", "Done")


async def test_a_person_of_english_slack_among_spaniards(stage: Scene) -> None:
    channel = await stage.incident("Checkout is down", sev="SEV3", who="emma")
    await stage.told(channel, "Comandante")
    assert any("Declarado" in text for text in stage.own(TEAM))
    emma = stage.person("emma")
    for typed, said in (
        ("/incident status", "Declared"),
        ("/incident note", "/incident note"),
        ("/incident ack", "Done"),
        ("/incident ack", "already"),
        ("/incident help", "declare an incident"),
        ("/incident timeline", "Timeline"),
        ("/incident nonsense", "help"),
        ("/oncall", "On call"),
        ("/page sre-taem x", "team"),
    ):
        reply = await emma.run(typed, channel.name)
        answer = words(await reply.message())
        assert said.lower() in answer.lower(), answer
        assert not [word for word in SPANISH if word in answer], answer
    await stage.told(channel, "👀", "lo reconoció")
    view = await (await emma.press(stage.card(channel), "post_update")).view()
    assert view.title == "Post an update" or "update" in view.title.lower()
    wrong = await emma.submit({"text": " "})
    assert "text" in wrong.errors["text"].lower() and "Falta" not in wrong.errors["text"]


async def test_ana_is_answered_in_spanish_on_a_team_that_writes_english(tmp_path: Path) -> None:
    async with scene(tmp_path, locale="en") as stage:
        channel = await stage.incident()
        await stage.told(channel, "Commander")
        answer = await stage.answer("/incident status", channel=channel.name)
        assert "Declarado" in answer
        await stage.person("ana").run("/incident ack", channel.name)
        await stage.told(channel, "👀", "acknowledged")
        assert not [text for text in stage.own(channel) if "reconoció" in text]


@pytest.mark.parametrize("error", ["user_not_found", "internal_error"])
async def test_while_slack_does_not_say_the_persons_language_the_teams_has_to_do(stage: Scene, error: str) -> None:
    stage.sandbox.faults.add("slack", "error", "users.info", error=error, times=None)
    assert "Declarado" not in await stage.answer("/incident list", who="emma")
    assert "incidentes abiertos" in await stage.answer("/incident list", who="emma")
