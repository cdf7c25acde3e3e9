"""Stakeholders know in time: a draft for who leads, published with one tap, and the end is told, too."""

from __future__ import annotations

import copy

from bot.domain.timeline import Kind
from bot.workflows.reports.report import compose
from sandbox.slack.state import Channel, Message
from tests.harness.scene import Scene, words

UPDATES = "tamv-avisos"


def drafts(stage: Scene, handle: str) -> list[Message]:
    """The drafts that this person has got as direct messages, oldest first."""
    person = stage.person(handle).user.id
    channels = [c for c in stage.slack.channels.values() if c.is_im and person in c.members]
    return [one for c in channels for one in c.messages.values() if one.bot_id and not one.ephemeral_to]


def offers(message: Message) -> set[str]:
    return {element["action_id"] for _, element in message.elements()}


async def pass_minutes(stage: Scene, minutes: float, asked: str | None = None) -> None:
    """Let the world's time pass, slowly enough for the bot to keep up, and until `asked` has got a second draft."""
    clock = stage.sandbox.clock
    clock.speed = 60.0
    await clock.sleep(minutes * 60)
    if asked:
        await stage.see(lambda: len(drafts(stage, asked)) == 2)
    clock.speed = 1.0


async def led_incident(stage: Scene, sev: str = "SEV2", speed: float = 1.0) -> Channel:
    stage.sandbox.clock.speed = speed  # a durable sleep is as long as the clock's speed was when it began
    channel = await stage.incident(sev=sev)
    await stage.person("ana").press(stage.card(channel), "take_command")
    return channel


async def test_a_draft_without_anything_internal_is_published_with_one_tap_and_edited(stage: Scene) -> None:
    channel = await led_incident(stage)
    draft = await stage.see(lambda: next(iter(drafts(stage, "ana")), None))
    assert "#tamv-avisos" in words(draft)
    assert "Mundos inmersivos: con problemas. Estamos trabajando en ello." in words(draft)
    assert "xr-engine" not in words(draft).split("con problemas")[1]
    await stage.person("ana").press(draft, "publish_notice")
    told = await stage.told(UPDATES, "🟠 Mundos inmersivos: con problemas. Estamos trabajando en ello.")
    assert "próxima noticia antes de las" in words(told)
    assert not [sign for sign in ("xr-engine", "INC-", "Ana") if sign in words(told)]
    await stage.see(lambda: not offers(drafts(stage, "ana")[0]))
    await stage.told(channel, "informó a #tamv-avisos")

    await stage.person("ana").run("/incident mitigate", channel.name)
    better = await stage.see(
        lambda: next((one for one in drafts(stage, "ana") if "vuelve a funcionar" in words(one)), None)
    )
    ana = stage.person("ana")
    await (await ana.press(better, "edit_notice")).view()
    assert (await ana.submit({"text": "Mundos inmersivos va bien otra vez; seguimos mirando."})).closed
    await stage.see(lambda: "va bien otra vez" in words(told))
    assert len(stage.own(UPDATES)) == 1

    await ana.run("/incident resolve", channel.name)
    last = await stage.see(lambda: next((one for one in drafts(stage, "ana") if "último" in words(one)), None))
    await ana.press(last, "publish_notice")
    await stage.told(UPDATES, "✅ Mundos inmersivos: funciona con normalidad.")
    assert len(stage.own(UPDATES)) == 2
    await stage.see(lambda: not any(map(offers, drafts(stage, "ana"))))
    incident = await stage.record(channel)
    _, report = await compose(stage.bot.deps, incident.id)
    part = report.markdown.split("## A quién se informó")[1].split("##")[0]
    assert part.count("Ana") == 3 and "✓ objetivo: menos de 10 min" in part


async def test_who_leads_does_not_answer_so_somebody_else_is_asked(stage: Scene) -> None:
    channel = await led_incident(stage, speed=60.0)
    await stage.person("ana").run("/incident role ops @bruno", channel.name)
    await stage.see(lambda: drafts(stage, "ana"))
    await pass_minutes(stage, 11, asked="ana")
    asked = await stage.see(lambda: next(iter(drafts(stage, "bruno")), None))
    await stage.person("bruno").press(asked, "publish_notice")
    await stage.told(UPDATES, "Mundos inmersivos")
    await stage.see(lambda: not any(map(offers, [*drafts(stage, "ana"), *drafts(stage, "bruno")])))


async def test_a_draft_that_the_incident_has_overtaken_is_not_published(stage: Scene) -> None:
    channel = await led_incident(stage)
    draft = await stage.see(lambda: next(iter(drafts(stage, "ana")), None))
    as_shown = copy.deepcopy(draft)
    await stage.person("ana").run("/incident mitigate", channel.name)
    await stage.see(lambda: not offers(draft))
    assert "ya no vale" in words(draft)
    reply = await stage.person("ana").press(as_shown, "publish_notice")
    await stage.see(lambda: [one for one in reply.messages if "/incident announce" in words(one)])
    assert not stage.own(UPDATES)


async def test_a_draft_waits_for_five_minutes_when_asked_to(stage: Scene) -> None:
    channel = await led_incident(stage, speed=60.0)
    draft = await stage.see(lambda: next(iter(drafts(stage, "ana")), None))
    await stage.person("ana").press(draft, "snooze_notice")
    await stage.see(lambda: "otra vez a las" in words(draft))
    assert len(drafts(stage, "ana")) == 1
    await pass_minutes(stage, 6, asked="ana")
    incident = await stage.record(channel)
    assert await stage.bot.deps.store.incidents.newest(incident.id, Kind.NOTICE_SNOOZED)


async def test_a_person_tells_stakeholders_in_their_own_words(stage: Scene) -> None:
    channel = await led_incident(stage)
    view = await (await stage.person("ana").run("/incident announce", channel.name)).view()
    assert view.callback_id == "notice"
    await stage.person("bruno").run("/incident announce Vamos lentos <!channel>; contamos más pronto.", channel.name)
    told = await stage.told(UPDATES, "Vamos lentos")
    assert "<!channel>" not in words(told)
    await stage.person("emma").join(channel.name)
    assert "role `responder`" in await stage.answer("/incident announce Hola", who="emma", channel=channel.name)


async def test_an_incident_of_a_lower_severity_asks_for_no_notice(stage: Scene) -> None:
    channel = await led_incident(stage, sev="SEV3", speed=60.0)
    await pass_minutes(stage, 12)
    await stage.quiet()
    assert not drafts(stage, "ana") and not stage.own(UPDATES)
    incident = await stage.record(channel)
    _, report = await compose(stage.bot.deps, incident.id)
    assert "A quién se informó" not in report.markdown
