"""Who comes late catches up privately, who goes home hands over, and a reminder can wait."""

from __future__ import annotations

import asyncio
import copy
from datetime import datetime, timedelta

from bot.domain.incident import Severity
from bot.domain.timeline import Kind
from sandbox.slack.state import Channel, Message
from tests.harness.scene import Scene, words


def private(channel: Channel, user: str, sign: str) -> Message | None:
    """The message that only this person sees."""
    messages = (one for one in channel.messages.values() if one.ephemeral_to == user)
    return next((one for one in messages if sign in words(one)), None)


async def wait_minutes(stage: Scene, minutes: float) -> None:
    stage.sandbox.clock.speed = 300.0
    await stage.sandbox.clock.sleep(minutes * 60)
    stage.sandbox.clock.speed = 1.0


async def wait_until(stage: Scene, moment: datetime) -> None:
    """Fast while it is far away, slower near it: a pause of the machine must not carry the clock past it."""
    clock = stage.sandbox.clock
    while (left := (moment - clock.now()).total_seconds()) > 240:
        clock.speed = left / 2
        await asyncio.sleep(0.2)
    clock.speed = 1.0


async def test_who_joins_late_is_told_alone_in_their_language(stage: Scene) -> None:
    channel = await stage.incident("Render lento", sev="SEV3")
    await stage.person("ana").run("/incident update Escalando réplicas", channel.name)
    await wait_minutes(stage, 3)
    emma = stage.person("emma")
    await emma.join(channel.name)
    told = await stage.see(lambda: private(channel, emma.user.id, "Catch-up"))
    assert all(sign in words(told) for sign in ("Render lento", "since", "nobody is in command", "Escalando réplicas"))
    assert private(channel, stage.person("bruno").user.id, "Ponte al día") is None


async def test_who_is_invited_at_the_opening_is_told_nothing(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV2")
    await stage.quiet()
    assert not [one for one in channel.messages.values() if one.ephemeral_to and "Ponte al día" in words(one)]


async def test_a_catch_up_is_given_on_demand_by_word_and_by_button(stage: Scene) -> None:
    channel = await stage.incident("Render lento")
    assert "Ponte al día" in await stage.answer("/incident catchup", channel=channel.name)
    await stage.person("ana").run("/incident ack", channel.name)
    card = stage.card(channel)
    await stage.see(lambda: "catch_up" in [element["action_id"] for _, element in card.elements()])
    reply = await stage.person("bruno").press(card, "catch_up")
    await stage.see(lambda: [one for one in reply.messages if "Ponte al día" in words(one)])


async def test_a_reminder_has_its_buttons_and_can_wait_a_quarter_of_an_hour(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV1")
    assert (await stage.record(channel)).severity is Severity.SEV1
    await wait_minutes(stage, 16)
    reminder = await stage.told(channel, "nadie informa")
    offered = {element["action_id"] for _, element in reminder.elements()}
    assert {"post_update", "snooze"} <= offered
    reply = await stage.person("ana").press(reminder, "snooze")
    await stage.see(lambda: [one for one in reply.messages if "Te lo recuerdo" in words(one)])
    incident = await stage.record(channel)
    await stage.until(lambda: stage.bot.deps.store.incidents.newest(incident.id, Kind.SNOOZED))
    before = len([text for text in stage.own(channel) if "nadie informa" in text])
    await wait_minutes(stage, 10)
    assert len([text for text in stage.own(channel) if "nadie informa" in text]) == before
    await wait_minutes(stage, 6)
    await stage.see(lambda: len([text for text in stage.own(channel) if "nadie informa" in text]) > before)


async def test_the_commander_gets_a_draft_of_the_update_that_is_due_and_the_channel_is_left_alone(stage: Scene) -> None:
    ana = stage.person("ana")
    stage.sandbox.clock.speed = 60.0  # a durable sleep is as long as the clock's speed was when it began
    channel = await stage.incident(sev="SEV1")
    await ana.press(stage.card(channel), "take_command")

    def drafts() -> list[Message]:
        return [
            one
            for c in stage.slack.channels.values()
            if c.is_im and ana.id in c.members
            for one in c.messages.values()
            if "publish_update" in str(one.blocks)
        ]

    draft = await stage.see(lambda: next(iter(drafts()), None), 40)
    stage.sandbox.clock.speed = 1.0
    assert "Nadie informa" in words(draft) and "Seguimos buscando la causa." in words(draft)
    assert not [text for text in stage.own(channel) if "nadie informa" in text]
    again = copy.deepcopy(draft)
    await ana.press(draft, "publish_update")
    await stage.told(channel, "📣", "Seguimos buscando la causa.")
    await stage.see(lambda: "informó a las" in words(draft))
    await ana.press(again, "publish_update")
    await stage.quiet()
    assert len([text for text in stage.own(channel) if "Seguimos buscando" in text and "📣" in text]) == 1
    await (await ana.press(again, "edit_update")).view()
    assert (await ana.submit({"text": "Ya casi está"})).closed
    await stage.told(channel, "Ya casi está")


async def test_when_the_commander_does_not_answer_the_channel_is_reminded_once(stage: Scene) -> None:
    stage.sandbox.clock.speed = 240.0
    channel = await stage.incident(sev="SEV1")
    await stage.person("ana").press(stage.card(channel), "take_command")
    await stage.told(channel, "nadie informa", seconds=40)
    started = stage.sandbox.clock.now()
    while stage.sandbox.clock.now() < started + timedelta(minutes=40):  # noqa: ASYNC110 - it is the clock that moves
        await asyncio.sleep(0.05)
    stage.sandbox.clock.speed = 1.0
    assert len([text for text in stage.own(channel) if "nadie informa" in text]) == 1


async def test_who_comes_on_call_is_told_before_and_can_take_over(stage: Scene) -> None:
    service = "equipo-SRE-TAMV"
    stage.sandbox.pagerduty.opened -= timedelta(hours=82)  # of the week's shift one or two hours are left
    first = next(one for one in await stage.bot.deps.on_call.get(service) if one.level == 1)
    assert first.until is not None
    await wait_until(stage, first.until - timedelta(minutes=35))
    stage.sandbox.clock.speed = 60.0  # before the bot begins to sleep: a sleep is as long as it was when it began
    channel = await stage.incident(sev="SEV2")
    told = await stage.told(channel, "la guardia de *SRETeam* pasa de", seconds=40)
    assert "take_command" in [element["action_id"] for _, element in told.elements()]
    following = words(told).split(" a <@")[1].split(">")[0]
    person = next(one for one in ("ana", "bruno", "carla", "diego") if stage.person(one).user.id == following)

    def told_directly() -> bool:
        direct = [m for c in stage.slack.channels.values() if c.im_user == following for m in c.messages.values()]
        return any("la guardia" in words(one) and "*Qué:*" in words(one) for one in direct)

    await stage.see(told_directly)
    await stage.person(person).press(told, "take_command")
    await stage.until(lambda: _commander(stage, channel, following))


async def _commander(stage: Scene, channel: Channel, user: str) -> bool:
    return (await stage.record(channel)).commander == user
