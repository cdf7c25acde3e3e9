"""Everything that may be done with an incident: by verb, button, form, reaction and shortcut; each is done once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.domain.incident import Milestone, Role, Status
from bot.domain.timeline import Kind
from handlers.slack.commands import COMMANDS
from sandbox.slack.state import Channel
from tests.harness.scene import TEAM, Scene, words

ANA, BRUNO, EMMA = "U0ANA00001", "U0BRUNO002", "U0EMMA0005"


async def kinds(stage: Scene, channel: Channel) -> list[Kind]:
    incident = await stage.record(channel)
    return [event.kind for event in await stage.bot.deps.store.incidents.timeline(incident.id)]


async def test_the_life_of_an_incident_by_commands(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV3")
    ana, bruno = stage.person("ana"), stage.person("bruno")
    incident = await stage.record(channel)
    assert incident.id in await stage.answer("/incident list", who="emma")
    assert "Declarado" in await stage.answer("/incident status", channel=channel.name)

    await bruno.run("/incident ack", channel.name)
    await stage.told(channel, "👀", f"<@{BRUNO}>")
    await ana.run("/incident role commander @ana", channel.name)
    await stage.told(channel, "🧭", f"<@{ANA}>")
    await ana.run("/incident role scribe @bruno", channel.name)
    await stage.told(channel, "🧭", f"<@{BRUNO}>")
    await ana.run("/incident severity sev1", channel.name)
    await stage.told(channel, "SEV3", "*SEV1*")
    await stage.told(channel, "📟", "*SRETeam*")  # SEV3 pages nobody, SEV1 does
    await ana.run("/incident update Escalamos; mejora ya", channel.name)
    await stage.told(channel, "📣", "Escalamos; mejora ya")
    await ana.run("/incident mitigate", channel.name)
    await stage.told(channel, "🩹")
    await ana.run('/incident impact users=1200 revenue="$4,000" services=xr-engine,tamv-core', channel.name)
    await stage.told(channel, "💥", "1200", "$4,000")
    await ana.run('/incident cause primary="Fuga de memoria" lesson="Medir antes"', channel.name)
    await stage.told(channel, "🔎", "Fuga de memoria")
    await ana.run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await ana.run("/incident close", channel.name)
    await stage.told(channel, "⚫")

    done = await stage.record(channel)
    assert done.status is Status.CLOSED and done.severity == "SEV1"
    assert dict(done.roles) == {Role.COMMANDER: ANA, Role.SCRIBE: BRUNO}
    assert list(done.milestones) == list(Milestone)
    assert sorted(done.milestones.values()) == list(done.milestones.values())
    assert (done.impact.users, done.impact.revenue, done.impact.services) == (
        1200,
        "$4,000",
        ("xr-engine", "tamv-core"),
    )
    assert (done.cause.primary, done.cause.lessons) == ("Fuga de memoria", ("Medir antes",))
    (headline,) = [one for one in stage.slack.channel(TEAM).messages.values() if one.bot_id and not one.ephemeral_to]
    await stage.see(lambda: "Cerrado" in words(headline) and "Escalamos; mejora ya" in words(headline))
    assert not list(headline.elements())  # nothing can be pressed any more


async def test_closed_only_reopening_changes_it_and_needs_a_reason(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await stage.person("ana").run("/incident close", channel.name)
    await stage.told(channel, "⚫")
    before = await stage.record(channel)
    for typed in (
        "note algo",
        "update algo",
        "severity SEV1",
        "role ops @bruno",
        "impact users=1",
        "cause primary=x",
        "close",
    ):
        answer = await stage.answer(f"/incident {typed}", channel=channel.name)
        assert "cerrado" in answer and "/incident reopen" in answer, answer
    for typed in ("ack", "mitigate", "resolve"):
        assert (
            "Sin cambios" in (answer := await stage.answer(f"/incident {typed}", channel=channel.name))
            or "reopen" in answer
        )
    assert await stage.record(channel) == before

    await stage.person("ana").run("/incident reopen Volvió a subir", channel.name)
    await stage.told(channel, "🔁", "Volvió a subir")
    again = await stage.record(channel)
    assert again.status is Status.ACKNOWLEDGED
    assert set(again.milestones) == {Milestone.DETECTED, Milestone.DECLARED, Milestone.ACKNOWLEDGED}
    assert (await kinds(stage, channel)).count(Kind.RESOLVED) == 1  # the timeline keeps what was
    await stage.see(lambda: "resolve" in {element["action_id"] for _, element in stage.card(channel).elements()})


async def test_buttons_do_the_same_and_pressed_by_many_at_once_are_one_effect(stage: Scene) -> None:
    channel = await stage.incident()
    ana, bruno = stage.person("ana"), stage.person("bruno")
    await ana.join(channel.name)
    card = stage.card(channel)
    replies = await asyncio.gather(*(who.press(card, "acknowledge") for who in (ana, bruno, ana)))
    assert {reply.status for reply in replies} == {200}
    await stage.told(channel, "👀")
    await stage.quiet()
    assert (await kinds(stage, channel)).count(Kind.ACKNOWLEDGED) == 1
    refused = [text for reply in replies for text in map(words, reply.messages)]
    assert len(refused) == 2 and all("ya estaba reconocido" in text for text in refused)

    reply = await bruno.press(card, "take_command")
    await asyncio.gather(*(stage.slack.deliveries.redeliver(reply.delivery, retry=n) for n in (1, 2)))
    await stage.told(channel, "🧭", f"<@{BRUNO}>")
    await stage.quiet()
    assert (await kinds(stage, channel)).count(Kind.ROLE_ASSIGNED) == 1
    await stage.see(lambda: f"<@{BRUNO}>" in words(stage.card(channel)))
    await ana.press(card, "mitigate")
    await stage.told(channel, "🩹")
    await ana.press(card, "resolve")
    await stage.told(channel, "*resuelto*")
    await stage.see(lambda: "close_incident" in {element["action_id"] for _, element in stage.card(channel).elements()})
    await ana.press(stage.card(channel), "close_incident")
    await stage.told(channel, "⚫")


async def test_a_button_of_an_old_message_is_judged_at_the_click(stage: Scene) -> None:
    channel = await stage.incident()
    old = stage.card(channel)
    kept = [dict(block) for block in old.blocks]
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await stage.quiet()
    old.blocks = kept  # as somebody sees it whose screen has not been drawn again
    reply = await stage.person("ana").press(old, "acknowledge")
    assert "Sin cambios" in words(await reply.message())
    assert (await stage.record(channel)).status is Status.RESOLVED


async def test_the_form_of_an_update(stage: Scene) -> None:
    channel = await stage.incident()
    ana = stage.person("ana")
    view = await (await ana.press(stage.card(channel), "post_update")).view()
    assert view.callback_id == "update"
    wrong = await ana.submit({"text": "  "})
    assert set(wrong.errors) == {"text"} and ana.view is view
    sent = await ana.submit({"text": "Todo <!here> mejora"})
    assert sent.closed and sent.delivery
    await stage.slack.deliveries.redeliver(sent.delivery)
    message = await stage.told(channel, "📣", "mejora")
    assert message.mentions() == {f"@{ANA}"}
    await stage.quiet()
    assert (await kinds(stage, channel)).count(Kind.UPDATE) == 1


async def test_impact_and_cause_are_told_in_plain_words_too(stage: Scene) -> None:
    channel = await stage.incident()
    ana = stage.person("ana")
    await ana.run("/incident impact Nadie podía entrar desde las 3 users=40", channel.name)
    await ana.run("/incident cause El disco se llenó de logs", channel.name)
    await stage.told(channel, "🔎", "El disco se llenó de logs")
    incident = await stage.record(channel)
    assert (incident.impact.summary, incident.impact.users) == ("Nadie podía entrar desde las 3", 40)
    assert incident.cause.primary == "El disco se llenó de logs"


async def test_the_form_of_the_report_keeps_what_is_known(stage: Scene) -> None:
    channel = await stage.incident()
    ana = stage.person("ana")
    await ana.run("/incident impact users=7", channel.name)
    await stage.told(channel, "💥")
    view = await (await ana.run("/incident cause", channel.name)).view()
    assert view.callback_id == "report"
    (users,) = [block["element"] for block in view.blocks if block["block_id"] == "users"]
    assert users["initial_value"] == "7"
    sent = await ana.submit({"primary": "Disco lleno", "contributing": "sin alerta\nsin límite", "lessons": "medir"})
    assert sent.ok
    await stage.told(channel, "🔎", "Disco lleno")
    incident = await stage.record(channel)
    assert incident.impact.users == 7
    assert (incident.cause.contributing, incident.cause.lessons) == (("sin alerta", "sin límite"), ("medir",))


async def test_the_form_of_a_follow_up(stage: Scene) -> None:
    channel = await stage.incident()
    ana = stage.person("ana")
    await (await ana.press(stage.card(channel), "open_followup")).view()
    wrong = await ana.submit({"title": " "})
    assert set(wrong.errors) == {"title"}
    sent = await ana.submit({"title": "Alertar del disco", "labels": "monitoring, disk"})
    assert sent.closed and sent.delivery
    await stage.slack.deliveries.redeliver(sent.delivery)
    await stage.told(channel, "Issue #1", "Alertar del disco")
    await stage.quiet()
    assert [one.title for one in await stage.bot.deps.store.followups.not_done()] == ["Alertar del disco"]
    (issue,) = stage.sandbox.github.issues.values()
    assert {"incident-followup", "monitoring", "disk"} <= set(issue.labels)


async def test_a_pin_and_the_shortcut_put_a_message_on_the_timeline_once(stage: Scene) -> None:
    channel = await stage.incident()
    ana, bruno = stage.person("ana"), stage.person("bruno")
    said = await ana.say(channel.name, "El pico empezó tras el despliegue 2.1.0 & nadie <miró>")
    await bruno.react(said, "eyes")
    await bruno.react(said, "pushpin")
    added = await stage.told(channel, "📌", "despliegue 2.1.0 &amp; nadie &lt;miró&gt;")
    assert f"<@{ANA}>" in words(added)
    await ana.react(said, "pushpin")
    reply = await ana.message_shortcut("add_to_timeline", said)
    assert reply.status == 200
    await stage.slack.deliveries.settled()
    await stage.quiet()
    assert (await kinds(stage, channel)).count(Kind.MESSAGE_ADDED) == 1

    elsewhere = await ana.say(TEAM, "esto no es de ningún incidente")
    await ana.react(elsewhere, "pushpin")
    reply = await ana.message_shortcut("add_to_timeline", elsewhere)
    assert "canal de un incidente" in words(await reply.message())
    assert (await kinds(stage, channel)).count(Kind.MESSAGE_ADDED) == 1


async def test_a_follow_up_out_of_a_message(stage: Scene) -> None:
    channel = await stage.incident()
    said = await stage.person("bruno").say(channel.name, "Habría que\nrotar los logs")
    view = await (await stage.person("bruno").message_shortcut("create_followup", said)).view()
    (title,) = [block["element"] for block in view.blocks if block["block_id"] == "title"]
    assert title["initial_value"] == "Habría que rotar los logs"
    await stage.person("bruno").submit({})
    await stage.told(channel, "Issue #1", "rotar los logs")


async def test_the_app_home_shows_what_is_open_in_the_persons_language(stage: Scene) -> None:
    channel = await stage.incident("Isabella no contesta", sev="SEV1")
    incident = await stage.record(channel)
    home = await stage.person("ana").open_home()
    assert incident.id in home.all_text() and "Isabella no contesta" in home.all_text()
    assert "Incidentes abiertos" in home.all_text()
    english = await stage.person("emma").open_home()
    assert incident.id in english.all_text() and "Incidentes" not in english.all_text()


async def shown_at_home(stage: Scene, who: str, part: str, *, unless: str) -> str:
    """What the App Home says after the title of a part, once it does not say `unless`.

    The App Home does not wait for a Vault that takes longer than a second; its next opening has the answer.
    """

    async def known() -> str | None:
        text = (await stage.person(who).open_home()).all_text()
        return None if unless in text else text.partition(part)[2]

    return str(await stage.until(known))


async def test_the_app_home_says_which_secrets_are_to_be_made_anew(stage: Scene) -> None:
    written = stage.sandbox.vault.version("tamv-prod/auth").created
    due = await shown_at_home(stage, "ana", "Secretos por rotar", unless="Edad desconocida")
    assert "`jwt-secret` · production" in due and "`jwt-secret` · staging" in due and "api-key" not in due
    assert f"<!date^{int((written + timedelta(days=30)).timestamp())}^" in due
    for path in ("tamv-prod/auth", "tamv-staging/auth"):
        stage.sandbox.vault.patch(path, {"jwt-secret": "anew"}, None)
    clock = stage.sandbox.clock
    clock.speed = 100_000
    await clock.sleep(6 * 60)
    clock.speed = 1
    english = await shown_at_home(stage, "emma", "Secrets to rotate", unless="Age unknown")
    assert "None. Next: `jwt-secret` · " in english


async def test_a_vault_that_does_not_answer_is_said_in_a_line_and_nobody_waits_for_it(stage: Scene) -> None:
    stage.sandbox.faults.add("vault", "hang", times=None, seconds=4)
    home = (await stage.person("ana").open_home()).all_text().partition("Secretos por rotar")[2]
    assert "Edad desconocida, Vault no respondió: `jwt-secret` (production), `jwt-secret` (staging), `api-key`" in home
    assert "Ninguna" not in home


async def test_a_verb_names_an_incident_from_anywhere(stage: Scene) -> None:
    channel = await stage.incident()
    incident = await stage.record(channel)
    await stage.person("emma").run(f"/incident note Lo veo desde fuera incident={incident.id.lower()}", TEAM)
    await stage.told(channel, "📝", "Lo veo desde fuera")
    assert incident.id in await stage.answer(f"/incident status incident={incident.id}")


async def test_the_timeline_is_told_in_order_and_says_what_is_left_out(stage: Scene) -> None:
    channel = await stage.incident()
    for number in range(12):
        await stage.person("ana").run(f"/incident note nota {number} {'y más ' * 60}", channel.name)
        await stage.told(channel, f"nota {number} ")
    answer = await stage.answer("/incident timeline", channel=channel.name)
    assert "nota 11" in answer and "nota 0 " not in answer and "/incident report" in answer
    assert answer.index("nota 10") < answer.index("nota 11")


async def test_every_verb_of_every_command_has_help_with_an_example(stage: Scene) -> None:
    for name, command in COMMANDS.items():
        if command.default is None:
            whole = await stage.answer(f"/{name}")
            assert whole == await stage.answer(f"/{name} help")
        for verb, signature in command.verbs.items():
            typed = f"/{name} help {verb}" if verb != name else f"/{name} help"
            answer = await stage.answer(typed)
            assert f"/{name}" in answer
            if verb != name:
                assert "Ejemplo" in answer and signature.example.replace("<", "&lt;") in answer


@pytest.mark.parametrize("typed", ["severity SEV1", "resolve", "close", "reopen nobody"])
async def test_who_may_end_reopen_or_regrade_is_a_rule_of_the_team(stage: Scene, typed: str) -> None:
    channel = await stage.incident()
    before = await stage.record(channel)
    await stage.person("emma").join(channel.name)
    answer = await stage.answer(f"/incident {typed}", who="emma", channel=channel.name, holding="responder")
    assert "<@U0ANA00001>" in answer
    assert await stage.record(channel) == before
    for anybody in ("note Lo veo", "ack"):
        await stage.person("emma").run(f"/incident {anybody}", channel.name)
    await stage.told(channel, "👀", "<@U0EMMA0005>")


async def test_a_button_asks_for_the_same_role_as_the_command(stage: Scene) -> None:
    channel = await stage.incident()
    reply = await stage.person("emma").press(stage.card(channel), "resolve")
    refused = await stage.see(lambda: next((one for one in reply.messages if "responder" in words(one)), None))
    assert "<@U0ANA00001>" in words(refused)
    assert (await stage.record(channel)).status.is_open
