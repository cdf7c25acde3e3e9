"""People and channels by their ids, lists with the true number, and answers that are true."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest

from bot.domain.incident import Severity
from bot.domain.people import Person as Declarer
from sandbox.slack.state import Message
from tests.harness.scene import TEAM, Scene, scene

LATER = 45.0


async def typed(stage: Scene, text: str, channel: str = TEAM) -> None:
    """Send a command as Slack does when it escapes mentions."""
    command, _, rest = text.partition(" ")
    person = stage.person("ana")
    place = stage.slack.channel(channel)
    form = {
        "command": command, "text": rest, "user_id": person.id, "user_name": "ana", "channel_id": place.id,
        "team_id": stage.slack.company.workspace.team_id, "api_app_id": stage.slack.company.workspace.app_id,
        "trigger_id": "1.2.3",
    }  # fmt: skip
    body = urlencode(form).encode()
    status, _ = await stage.post("/slack/events", body, signed(stage, body))
    assert status == 200


def signed(stage: Scene, body: bytes) -> dict[str, str]:
    from slack_sdk.signature import Clock, SignatureVerifier

    secret, now = stage.slack.credentials.signing_secret, str(int(Clock().now()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=now, body=body) or ""
    return {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": now,
        "x-slack-signature": signature,
    }


async def test_a_group_is_paged_and_a_person_made_owner_by_id_whatever_they_are_called(stage: Scene) -> None:
    channel = await stage.incident()
    await typed(stage, "/page <!subteam^S0SRETEAM1|@sres> el render no responde", channel.name)
    await stage.told(channel, "📟", "SRETeam")
    await typed(stage, '/incident followup "Revisar alertas" owner=<@U0ANA00001|jefa de guardia>', channel.name)
    await typed(stage, '/incident followup "Mirar el disco" owner=<!subteam^S0SRETEAM1|@sres>', channel.name)

    async def owners() -> bool:
        kept = await stage.bot.deps.store.followups.list_by_incident((await stage.record(channel)).id)
        return {one.owner for one in kept} == {"U0ANA00001", "SRETeam"}

    await stage.until(owners)


async def test_a_page_that_cannot_go_out_declares_nothing_and_the_same_page_joins_the_first(tmp_path: Path) -> None:
    async with scene(tmp_path, pagerduty_routing_key=None, pagerduty_api_token=None) as stage:
        for _ in range(3):
            assert "PagerDuty no está configurado" in await stage.answer("/page @SRETeam no va")
        assert await stage.bot.deps.store.incidents.count() == 0


async def test_the_same_page_again_joins_the_first(stage: Scene) -> None:
    for _ in range(3):
        assert "SRETeam" in await stage.answer("/page @SRETeam no va", holding="📟")
    assert await stage.bot.deps.store.incidents.count() == 1


async def test_a_page_of_many_words_is_sent_whole_and_its_incident_has_a_title(stage: Scene) -> None:
    text = "el render no responde " * 20
    await stage.person("ana").run(f"/page @SRETeam {text}")
    channel = await stage.opened()
    await stage.told(channel, "📟", "SRETeam")
    assert (await stage.record(channel)).title == f"{text[:199]}…"
    await stage.quiet()
    (page,) = stage.sandbox.pagerduty.incidents.values()  # one, though its severity pages the same team
    assert page.key == (await stage.record(channel)).id and text.strip() in page.title
    assert len([one for one in stage.own(channel) if "PagerDuty avisó" in one]) == 1


async def test_seventy_open_incidents_are_counted_and_all_can_be_seen(stage: Scene) -> None:
    incidents, ana = stage.bot.incidents, Declarer("U0ANA00001", "Ana", "es")
    for number in range(70):
        await incidents.declare(f"Fallo número {number:02d} &", Severity.SEV3, by=ana, idempotency_key=f"k{number}")
    seen, page = "", 1
    while True:
        answer = await stage.answer(f"/incident list {page}", holding="70 incidentes")
        seen += answer
        if f"/incident list {page + 1}" not in answer:
            break
        page += 1
    assert all(f"Fallo número {number:02d}" in seen for number in range(70))
    home = await stage.person("ana").open_home()
    assert "70 incidentes abiertos" in home.all_text()


async def test_a_pinned_reply_and_a_pinned_attachment_are_kept(stage: Scene) -> None:
    channel = await stage.incident()
    ana = stage.person("ana")
    root = await ana.say(channel.name, "¿alguien mira la cola?")
    reply = await stage.person("bruno").say(channel.name, "la cola crece", thread=root)
    await ana.react(reply, "pushpin")
    await stage.told(channel, "📌", "la cola crece")
    alert: Message = stage.slack.post(
        channel,
        stage.slack.user("USLACKBOT"),
        attachments=[{"title": "HighLatency", "text": "p95 de 900 ms", "fallback": "x"}],
    )
    await ana.react(alert, "pushpin")
    await stage.told(channel, "📌", "HighLatency", "p95 de 900 ms")
    await ana.message_shortcut("declare_from_message", alert)
    form = await stage.see(lambda: ana.view)
    assert "HighLatency p95 de 900 ms" in str(form.body)


async def test_a_renamed_incidents_channel_is_still_the_incidents_channel(stage: Scene) -> None:
    await stage.incident()
    await stage.quiet()
    slack = stage.slack
    slack.rename(slack.channel(TEAM), "incidentes-2027", slack.user("ana"))
    await stage.person("ana").run("/incident declare Otro fallo", "general")
    await stage.told("incidentes-2027", "Otro fallo", "INC-")


async def test_the_incidents_channel_may_be_given_by_id(tmp_path: Path) -> None:
    async with scene(tmp_path, incident_channel="C0INCIDENT") as stage:
        home = stage.slack.channel(TEAM)
        stage.slack.channels["C0INCIDENT"] = home
        home.id = "C0INCIDENT"
        await stage.person("ana").run("/incident declare Render caído", "general")
        await stage.told(home, "Render caído", "INC-")


async def test_an_answer_that_slack_refuses_once_comes(stage: Scene) -> None:
    stage.sandbox.faults.add("slack", "status", "*", status=500, times=1).match = "/commands/*"
    assert "No hay incidentes abiertos" in await stage.answer("/incident list", holding="No hay")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/incident stauts", "`/incident status`"),
        ("/incident severity SEV9", "SEV1 | SEV2 | SEV3 | SEV4"),
        ("/ops scale xr-engine diez", "un número entero"),
        ("/incident impact users=-3", "0 o más"),
        ("/incident stats luego", "una duración"),
    ],
)
async def test_mistakes_are_explained_in_the_persons_language(stage: Scene, command: str, said: str) -> None:
    channel = await stage.incident()
    answer = await stage.answer(command, channel=channel.name, holding="`")
    assert said in answer
    assert "Input should" not in answer and "¿Querías decir `SEV" not in answer


async def test_keys_may_be_typed_in_any_case(stage: Scene) -> None:
    await stage.person("ana").run("/incident declare Render lento Sev=sev1 SERVICE=xr-engine", TEAM)
    channel = await stage.opened()
    record = await stage.record(channel)
    assert record.severity is Severity.SEV1 and record.service == "xr-engine" and record.title == "Render lento"


async def test_somebody_without_a_language_is_answered_in_the_teams(tmp_path: Path) -> None:
    async with scene(tmp_path, locale="en") as stage:
        stage.slack.user("ana").locale = ""
        stage.bot.deps.slack._users.clear()
        assert "No open incidents" in await stage.answer("/incident list", holding="ncident")
