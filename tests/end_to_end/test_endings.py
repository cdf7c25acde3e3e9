"""An incident is ended deliberately: what still fires is said before, shown after, and looked at again."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from bot.domain.incident import Status
from bot.domain.timeline import Kind
from sandbox.slack.state import Channel, Message
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import TEAM, Scene, words


async def send(stage: Scene, *alerts: dict[str, Any]) -> None:
    status, _ = await stage.post(PATH, notification(*alerts), BEARER)
    assert status == 202
    await stage.quiet()


def dialog(message: Message, action_id: str) -> str:
    element = next(element for _, element in message.elements() if element["action_id"] == action_id)
    return str(element.get("confirm"))


async def firing(stage: Scene, *names: str) -> Channel:
    await send(stage, *(alert(name) for name in names))
    return await stage.opened()


@pytest.mark.parametrize("action_id", ["resolve", "mitigate"])
async def test_a_tap_that_ends_something_is_asked_back_with_what_still_fires(stage: Scene, action_id: str) -> None:
    channel = await firing(stage, "f1", "f2")
    await stage.see(lambda: "Siguen 2 alertas activas" in dialog(stage.card(channel), action_id))
    await send(stage, alert("f1", status="resolved"), alert("f2", status="resolved"))
    await stage.see(lambda: "Ninguna alerta activa" in dialog(stage.card(channel), action_id))


async def test_a_confirmation_that_has_aged_is_asked_again_with_the_truth(stage: Scene) -> None:
    channel = await firing(stage, "f1")
    bruno, card = stage.person("bruno"), stage.card(channel)
    await stage.see(lambda: "Sigue 1 alerta activa" in dialog(card, "resolve"))
    as_shown = copy.deepcopy(card)
    await send(stage, alert("f1"), alert("f2"))
    await bruno.press(as_shown, "resolve")
    await stage.see(lambda: bruno.view and "siguen 2 alertas activas" in str(bruno.view.body))
    assert (await stage.record(channel)).status.is_open
    await bruno.submit({})
    await stage.until(lambda: _is(stage, channel, Status.RESOLVED))


async def test_resolved_while_alerts_fire_the_headline_says_so_and_it_is_said_again_loudly(stage: Scene) -> None:
    channel = await firing(stage, "f1", "f2")
    stage.sandbox.clock.speed = 300.0  # before: a sleep that has begun is as long as it was
    await stage.person("ana").run("/incident resolve", channel.name)
    headline = await stage.told(TEAM, "Resuelto con alertas", "🔔 2")
    told = await stage.told(channel, "está resuelto, pero siguen *2 alertas* activas", "<@U0ANA00001>")
    stage.sandbox.clock.speed = 1.0
    await stage.person("bruno").press(told, "reopen")
    await stage.until(lambda: _is(stage, channel, Status.ACKNOWLEDGED))
    await stage.see(lambda: "Resuelto con alertas" not in words(headline))


async def test_resolved_and_calm_nobody_is_called(stage: Scene) -> None:
    channel = await firing(stage, "f1")
    await send(stage, alert("f1", status="resolved"))
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.until(lambda: _is(stage, channel, Status.RESOLVED))
    stage.sandbox.clock.speed = 600.0
    await stage.sandbox.clock.sleep(timedelta(minutes=45).total_seconds())
    stage.sandbox.clock.speed = 1.0
    incident = await stage.record(channel)
    timeline = await stage.bot.deps.store.incidents.timeline(incident.id)
    assert Kind.STILL_FIRING not in {event.kind for event in timeline}


async def test_a_false_alarm_is_an_end_of_its_own_that_no_statistics_count(stage: Scene) -> None:
    channel = await firing(stage, "f1")
    ana = stage.person("ana")
    await ana.press(stage.card(channel), "dismiss")
    await stage.see(lambda: ana.view and "Sigue 1 alerta activa" in str(ana.view.body))
    await ana.submit({"reason": "límite mal puesto"})
    await stage.told(channel, "Falsa alarma", "límite mal puesto")
    await stage.until(lambda: _is(stage, channel, Status.DISMISSED))
    assert await stage.bot.deps.store.incidents.records() == []
    await send(stage, alert("f1"))  # Alertmanager repeats it
    assert await stage.bot.deps.store.incidents.count() == 1, "the same alert does not come back as an incident"
    assert "falsa alarma" in (await stage.answer("/incident close", channel=channel.name)).lower()
    await stage.person("ana").run("/incident reopen era de verdad", channel.name)
    await stage.until(lambda: _is(stage, channel, Status.ACKNOWLEDGED))
    assert len(await stage.bot.deps.store.incidents.records()) == 1


async def test_dismissing_needs_a_reason_and_says_so_privately(stage: Scene) -> None:
    channel = await firing(stage, "f1")
    assert "/incident dismiss" in await stage.answer("/incident dismiss", channel=channel.name)
    assert (await stage.record(channel)).status.is_open


async def _is(stage: Scene, channel: Channel, status: Status) -> bool:
    return (await stage.record(channel)).status is status
