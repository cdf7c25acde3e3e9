"""Text from people, alerts and PagerDuty is data: shown as typed, it pings nobody, runs nothing, holds no secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.pagerduty.shapes import integration_reference
from sandbox.slack.state import Message
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import Scene, scene, words

TITLES = [
    "x" * 200,
    "Ñandú caído: ¿qué pasó con el render? " + "ñ" * 100,
    "🔥🔥🔥",
    "レンダリングが遅い",
    "<!channel> todo caído <@U0BRUNO002> <#C0GENERAL1>",
    "@channel @here @everyone @ana",
    'comillas "dobles" y \'simples\' y `código`',
    "{{ 1234 * 5678 }} {% for x in y %} {# nada #} ${1234*5678} #{1234*5678}",
    "a & b < c > d &amp; &lt;",
    "*negrita* _cursiva_ ~tachado~ |tubo|",
    "https://evil.example/?q=<script>alert(1)</script>",
    "../../etc/passwd; rm -rf / $(id) `id`",
    "-- ' OR 1=1; DROP TABLE incidents; --",
    "ends with backslash \\",
    "\u202eoverride \u200bzero-width",
    "INC-2026-0001 no soy yo",
]  # fmt: skip


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def said_by_the_bot(stage: Scene) -> list[Message]:
    return [one for one in stage.slack.messages() if one.bot_id]


async def declared(stage: Scene, title: str) -> str:
    """Declare through the form, which takes the title as it is; gives the channel's name."""
    before = set(stage.slack.channels)
    await (await stage.person("ana").global_shortcut("declare_incident")).view()
    assert (await stage.person("ana").submit({"title": title, "severity": "SEV4"})).ok
    channel = await stage.opened(before)
    await stage.quiet()
    return channel.name


async def test_titles_are_shown_as_typed_ping_nobody_and_give_a_valid_channel(stage: Scene) -> None:
    for title in TITLES:
        name = await declared(stage, title)
        assert re.fullmatch(r"inc-\d{4}-\d{4}[a-z0-9-]{0,67}", name), name
        channel = stage.slack.channel(name)
        incident = await stage.record(channel)
        assert incident.title == " ".join(title.split())
        card = stage.card(channel)
        header = next(block["text"]["text"] for block in card.blocks if block["type"] == "header")
        assert len(header) <= 150 and incident.title[:100] in header
        listed = await stage.answer("/incident list")
        assert escaped(incident.title)[:60] in listed
        shown = await stage.answer("/incident timeline", channel=name)
        assert escaped(incident.title) in shown
        assert len(channel.topic.value) <= 250
        await stage.person("ana").run("/incident resolve", name)
        await stage.told(channel, "*resuelto*")
    people = {f"@{user}" for user in stage.slack.users}
    for message in said_by_the_bot(stage):
        assert not message.mentions() - people, message.all_text()
        assert "@U0BRUNO002" not in message.mentions()  # named in a title, not called
        assert "7006652" not in message.all_text()


async def test_a_title_that_is_typed_in_a_command_keeps_its_signs(stage: Scene) -> None:
    await stage.person("ana").run("/incident declare «Render» — <!channel> {{ x }} & más sev=SEV4")
    channel = await stage.opened()
    title = (await stage.record(channel)).title
    assert "<!channel>" in title and "{{ x }} & más" in title
    assert stage.card(channel).mentions() <= {f"@{user}" for user in stage.slack.users}


async def test_notes_updates_and_reasons_are_data_too(stage: Scene) -> None:
    channel = await stage.incident()
    evil = "<!channel> {{ 1234*5678 }} <https://evil.example|inocente> <@U0BRUNO002> *x*"
    for typed, sign in (("note", "📝"), ("update", "📣")):
        view_text = f"/incident {typed} {evil}"
        await stage.person("ana").run(view_text, channel.name)
        message = await stage.told(channel, sign)
        assert message.mentions() == {"@U0ANA00001"}
        assert "7006652" not in message.all_text() and "<https://evil" not in message.all_text()
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await stage.person("ana").run(f"/incident reopen {evil}", channel.name)
    message = await stage.told(channel, "🔁")
    assert message.mentions() == {"@U0ANA00001"}


async def test_alerts_are_data_too(stage: Scene) -> None:
    evil = "<!channel> {{ 1234*5678 }} <https://evil.example|inocente>"
    await stage.post(PATH, notification(alert("f1", summary=evil, alertname=evil), commonLabels={}), BEARER)
    channel = await stage.opened()
    await stage.post(PATH, notification(alert("f1"), alert("f2", summary=evil, pod=evil)), BEARER)
    await stage.told(channel, "🔔", "&lt;!channel&gt; {{ 1234*5678 }}")
    assert not [one for one in said_by_the_bot(stage) if "!channel" in one.mentions()]


# Put together here, so that no scanner of this repository takes them for real ones.
SECRETS = {
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ",
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8",
    "url": "hunter2-in-an-address",
    "named": "hunter2-by-name",
}
LEAK = (
    f"postgresql://tamv:{SECRETS['url']}@db/tamv password={SECRETS['named']} "
    f"{SECRETS['jwt']} {SECRETS['aws']} {SECRETS['github']}"
)


async def test_no_secret_is_posted_stored_or_logged_wherever_it_comes_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pasted by a person, in an alert, in PagerDuty, and our own settings too."""
    async with scene(tmp_path) as stage:
        ours = stage.sandbox.pagerduty.routing_key("equipo-SRE-TAMV")
        channel = await stage.incident(f'"Caído con {ours[:8]}"', sev="SEV2")
        await (await stage.person("ana").press(stage.card(channel), "post_update")).view()
        await stage.person("ana").submit({"text": f"{LEAK} {ours}"})
        await stage.told(channel, "📣", "***")
        said = await stage.person("ana").say(channel.name, LEAK)
        await stage.person("ana").react(said, "pushpin")
        await stage.told(channel, "📌", "***")
        await stage.post(PATH, notification(alert("f1", summary=LEAK, token=SECRETS["named"])), BEARER)
        second = await stage.opened({channel.id})
        assert "*HighLatency:* " in words(stage.card(second)) and "***" in words(stage.card(second))
        page = stage.sandbox.pagerduty.incident((await stage.record(channel)).id)
        await stage.sandbox.pagerduty.person("bruno").note(page, LEAK)
        await stage.told(channel, "📝", "***")
        service = stage.sandbox.pagerduty.company.pagerduty.service("equipo-SRE-TAMV")
        agent = integration_reference(stage.sandbox.pagerduty, service)
        stage.sandbox.pagerduty.open(service, "elsewhere/1", LEAK[:200], agent)
        await stage.opened({channel.id, second.id})
        await stage.answer(f"/incident {LEAK}")
        await stage.sandbox.pagerduty.deliverer.idle()
        await stage.quiet()
        posted = [str(call.arguments) for call in stage.slack.calls]
        posted += [words(one) for one in said_by_the_bot(stage)]
        notes = [note.content for one in stage.sandbox.pagerduty.incidents.values() for note in one.notes]
        posted += [note for note in notes if "[INC-" in note]  # ours, not Bruno's own
        told = await stage.bot.deps.store.incidents.timeline((await stage.record(channel)).id)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    for name, secret in {**SECRETS, "ours": ours}.items():
        assert not [text for text in posted if secret in text], name
        assert not [event for event in told if secret in str(event)], name
        assert secret.encode() not in stored, name
        assert secret not in caplog.text, name
