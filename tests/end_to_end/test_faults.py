"""What fails outside: the incident goes on and says so, and what is owed comes in the end, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.domain.timeline import Kind
from bot.store.deliveries import Delivery
from sandbox.slack.state import Channel, Message
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import TEAM, Scene, scene, words

LATER = 45.0  # seconds


def headlines(stage: Scene) -> list[Message]:
    return [one for one in stage.slack.channel(TEAM).messages.values() if one.bot_id and not one.ephemeral_to]


def channels(stage: Scene) -> list[Channel]:
    return [one for one in stage.slack.channels.values() if one.name.startswith("inc-")]


def made_once(stage: Scene) -> None:
    """One channel, one headline, one card, one page, and no message twice."""
    (channel,) = channels(stage)
    assert len(headlines(stage)) == 1
    assert len(channel.pins) == 1
    texts = stage.own(channel)
    assert len(texts) == len(set(texts)), texts
    assert len(stage.sandbox.pagerduty.incidents) == 1


async def declared(stage: Scene) -> Channel:
    await stage.person("ana").run("/incident declare Render caído sev=SEV2 service=xr-engine")
    channel = await stage.see(lambda: next((one for one in channels(stage) if one.pins), None), LATER)
    await stage.told(channel, "📟", "SRETeam", seconds=LATER)
    return channel


METHODS = (
    "conversations.create",
    "chat.postMessage",
    "conversations.invite",
    "conversations.setTopic",
    "bookmarks.add",
    "pins.add",
    "usergroups.users.list",
)  # fmt: skip
PASSING: list[tuple[str, dict[str, Any]]] = [
    ("ratelimit", {"retry_after": 1, "times": 2}),
    ("status", {"status": 500, "times": 2}),
    ("status", {"status": 503, "body": "<html>upstream</html>", "times": 2}),
    ("error", {"error": "internal_error", "times": 2}),
    ("drop_before", {"times": 2}),
    ("drop_after", {"times": 1}),
    ("nonsense", {"times": 1}),
    ("hang", {"seconds": 0.5, "times": 1}),
]


@pytest.mark.parametrize(("kind", "how"), PASSING, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(PASSING)])
async def test_slack_fails_for_a_while_in_every_method_at_once(stage: Scene, kind: Any, how: dict[str, Any]) -> None:
    faults = [stage.sandbox.faults.add("slack", kind, method, **how) for method in METHODS]
    channel = await declared(stage)
    await stage.see(lambda: len(channel.bookmarks) == 2, LATER)
    await stage.see(lambda: "Render caído" in channel.topic.value, LATER)
    await stage.see(lambda: {"U0ANA00001", "U0BRUNO002"} <= set(channel.members), LATER)
    await stage.quiet(LATER)
    assert all(fault.used for fault in faults)
    made_once(stage)
    assert len(channel.bookmarks) == 2


async def test_one_message_a_second_is_all_that_slack_takes(stage: Scene) -> None:
    stage.sandbox.faults.add("slack", "channel_limit", seconds=1.0, times=None)
    channel = await declared(stage)
    for number in range(3):
        await stage.person("ana").run(f"/incident note nota {number}", channel.name)
    for number in range(3):
        await stage.told(channel, f"nota {number}", seconds=LATER)
    await stage.quiet(LATER)
    made_once(stage)


@pytest.mark.parametrize(
    ("method", "error", "said"),
    [
        ("bookmarks.add", "missing_scope", "los enlaces"),
        ("conversations.setTopic", "restricted_action", "el tema"),
    ],
)
async def test_one_method_is_refused_and_the_rest_comes_and_it_too_when_it_is_allowed(
    stage: Scene, method: str, error: str, said: str
) -> None:
    fault = stage.sandbox.faults.add("slack", "error", method, error=error, times=None)
    channel = await declared(stage)
    await stage.told(channel, "🧩", said, error, "Lo demás sigue")
    fault.times = 0  # an administrator has fixed it
    await stage.quiet(LATER)
    made_once(stage)
    assert len(channel.bookmarks) == 2 and "Render caído" in channel.topic.value


async def test_no_channel_may_be_made_and_the_headlines_thread_has_to_do(stage: Scene) -> None:
    stage.sandbox.faults.add("slack", "error", "conversations.create", error="restricted_action", times=None)
    await stage.person("ana").run("/incident declare Render caído sev=SEV2")
    headline = await stage.told(TEAM, "Render caído", "INC-")
    trouble = await stage.told(TEAM, "🧩", "abrir el canal", "restricted_action")
    assert trouble.thread_ts == headline.ts
    assert (await stage.told(TEAM, "📟", "SRETeam")).thread_ts == headline.ts
    (page,) = stage.sandbox.pagerduty.incidents.values()
    await stage.person("ana").press(headline, "acknowledge")
    assert (await stage.told(TEAM, "👀")).thread_ts == headline.ts

    async def acknowledged() -> bool:
        return page.status == "acknowledged"

    await stage.until(acknowledged)


async def test_the_alerts_runbook_is_proposed_and_run_in_the_headlines_thread(stage: Scene) -> None:
    stage.sandbox.faults.add("slack", "error", "conversations.create", error="restricted_action", times=None)
    await stage.post(PATH, notification(alert("f1")), BEARER)
    offered = await stage.told(TEAM, "render-latency")
    headline = await stage.told(TEAM, "HighLatency", "INC-")
    assert offered.thread_ts == headline.ts
    await stage.person("ana").press(offered, "rehearse_proposed")
    assert (await stage.told(TEAM, "📒", "ensayo")).thread_ts == headline.ts


async def test_while_no_channel_can_be_made_the_page_goes_out_and_the_headline_says_so(stage: Scene) -> None:
    """Longer than a moment: nobody sleeps on because of Slack."""
    fault = stage.sandbox.faults.add("slack", "status", "conversations.create", status=500, times=None)
    await stage.person("ana").run("/incident declare Render caído sev=SEV2")

    async def paged() -> bool:
        return len(stage.sandbox.pagerduty.incidents) == 1

    await stage.until(paged, 5)
    await stage.told(TEAM, "Render caído", "INC-", seconds=LATER)
    await stage.told(TEAM, "🧩", "abrir el canal", seconds=LATER)
    fault.times = 0
    channel = await stage.see(lambda: next((one for one in channels(stage) if one.pins), None), LATER)
    await stage.see(lambda: f"<#{channel.id}>" in words(headlines(stage)[0]), LATER)


async def test_prometheus_is_down_and_the_incident_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path, prometheus_url="http://127.0.0.1:9/") as stage:
        channel = await declared(stage)
        await stage.told(channel, "Prometheus no respondió", "Se reintenta", seconds=LATER)
        await stage.person("ana").run("/incident ack", channel.name)
        await stage.told(channel, "👀")
        assert "Prometheus no respondió" in await stage.answer("/snapshot xr-engine")


@pytest.mark.parametrize(
    ("kind", "how"),
    [("status", {"status": 503}), ("drop_before", {})],
)  # fmt: skip
async def test_a_page_that_does_not_go_out_is_said_loudly_with_phones_and_comes_later(
    stage: Scene, kind: Any, how: dict[str, Any]
) -> None:
    await stage.answer("/oncall", holding="☎")  # who is on call is known from before
    fault = stage.sandbox.faults.add("pagerduty", kind, "*", times=None, **how)
    await stage.person("ana").run("/incident declare Render caído sev=SEV2")
    channel = await stage.see(lambda: next((one for one in channels(stage) if one.pins), None), LATER)
    loud = await stage.told(channel, "NO ha salido", "SRETeam", seconds=LATER)
    assert "☎ +" in words(loud) and "Se reintenta" in words(loud)
    assert "Ana Torres" in words(loud) or "Bruno Díaz" in words(loud)
    await stage.person("bruno").run("/incident ack", channel.name)  # nothing else waits for PagerDuty
    await stage.told(channel, "👀")
    assert stage.sandbox.pagerduty.incidents == {}
    fault.times = 0
    await stage.told(channel, "📟", "PagerDuty avisó", "SRETeam", seconds=LATER)
    await stage.quiet(LATER)
    (page,) = stage.sandbox.pagerduty.incidents.values()
    assert page.status == "acknowledged"  # somebody is on it already: it does not ring


async def test_a_page_that_is_refused_for_good_says_so_and_whom_to_call(tmp_path: Path) -> None:
    async with scene(tmp_path, pagerduty_routing_key="0" * 32, pagerduty_api_token=None) as stage:
        await stage.person("ana").run("/incident declare Render caído sev=SEV2")
        channel = await stage.opened()
        loud = await stage.told(channel, "NO ha salido", "SRE Lead", "sre-lead@tamv.world", "+1-XXX-XXX-XXXX")
        assert "Se reintenta" not in words(loud)
        assert "0" * 32 not in words(loud)


async def test_without_pagerduty_the_channel_is_told_whom_to_call(tmp_path: Path) -> None:
    async with scene(tmp_path, pagerduty_routing_key=None, pagerduty_api_token=None) as stage:
        await stage.person("ana").run("/incident declare Render caído sev=SEV2")
        channel = await stage.opened()
        await stage.told(channel, "NO ha salido", "PagerDuty no está configurado", "sre-lead@tamv.world")
        assert "PagerDuty no está configurado" in await stage.answer("/page sre-team algo", channel=channel.name)
        oncall = await stage.answer("/oncall")
        assert "sre-lead@tamv.world" in oncall and "Emergencias" in oncall


async def test_while_pagerduty_hangs_nobody_waits_for_it(stage: Scene) -> None:
    stage.sandbox.faults.add("pagerduty", "hang", "*", seconds=60, times=None)
    reply = await stage.person("ana").run("/incident declare Render caído sev=SEV2")
    assert reply.milliseconds < 2500
    channel = await stage.see(lambda: next((one for one in channels(stage) if one.pins), None), LATER)
    await stage.person("ana").run("/incident mitigate", channel.name)
    await stage.told(channel, "🩹", seconds=LATER)
    await stage.told(channel, "NO ha salido", seconds=LATER)


async def test_while_slack_hangs_commands_are_acknowledged_and_kept(stage: Scene) -> None:
    """Every call of ours hangs; what Slack sends us is taken all the same, and carried out when it goes on."""
    fault = stage.sandbox.faults.add("slack", "hang", "api/*", seconds=60, times=None)
    fault.match = "/api/*"
    reply = await stage.person("ana").run("/incident declare Render caído sev=SEV2")
    assert reply.status == 200 and reply.milliseconds < 3000
    status, _ = await stage.post(PATH, notification(alert("f1")), BEARER)
    assert status == 202

    async def two() -> bool:
        return await stage.bot.deps.store.incidents.count() == 2

    await stage.until(two, LATER)
    fault.times = 0
    await stage.see(lambda: len([one for one in channels(stage) if one.pins]) == 2, LATER * 2)
    assert len(headlines(stage)) == 2


async def test_github_is_down_and_the_follow_up_is_kept(stage: Scene) -> None:
    channel = await declared(stage)
    fault = stage.sandbox.faults.add("github", "status", "*", status=502, times=None)
    await stage.person("ana").run('/incident followup "Alertar del disco" owner=SRETeam', channel.name)
    await stage.told(channel, "Alertar del disco")
    await stage.person("ana").run("/incident ack", channel.name)
    await stage.told(channel, "👀")
    fault.times = 0
    await stage.told(channel, "Issue #1", seconds=LATER)
    assert len(stage.sandbox.github.issues) == 1


async def test_a_repository_without_issues_is_said_once_and_in_the_report(stage: Scene) -> None:
    stage.sandbox.github.has_issues = False
    channel = await declared(stage)
    ana = stage.person("ana")
    await ana.run('/incident followup "Alertar del disco" owner=SRETeam', channel.name)
    await stage.told(channel, "*Alertar del disco* no se pudo crear en GitHub", "no acepta issues", seconds=LATER)
    asked = len([one for one in stage.sandbox.github.requests if one.path.endswith("/issues")])
    await ana.run("/incident resolve", channel.name)
    (incident,) = await stage.bot.deps.store.incidents.recent()

    async def report() -> str:
        document = await stage.bot.deps.store.documents.read(incident.id, f"{incident.id}.md")
        return document.content.decode() if document else ""

    async def reported() -> bool:
        return "Alertar del disco (SRETeam" in (text := await report()) and "· no está en GitHub" in text

    await stage.until(reported, LATER)
    again = len([one for one in stage.sandbox.github.requests if one.path.endswith("/issues")])
    assert again - asked <= 1, "only the follow-up that the end opened is tried: what is refused is not asked for ever"


async def test_a_failing_answer_is_no_failing_command(stage: Scene) -> None:
    """The person is not answered, yet what was asked is done, once."""
    stage.sandbox.faults.add("slack", "status", "*", status=500, times=None).match = "/commands/*"
    channel = await declared(stage)
    await stage.person("ana").run("/incident ack", channel.name)
    await stage.told(channel, "👀")
    incident = await stage.record(channel)
    kinds = [event.kind for event in await stage.bot.deps.store.incidents.timeline(incident.id)]
    assert kinds.count(Kind.ACKNOWLEDGED) == 1


async def test_what_was_handled_long_ago_is_forgotten(stage: Scene) -> None:
    """The inbox does not grow for ever."""
    deliveries, clock = stage.bot.deps.store.deliveries, stage.sandbox.clock
    old = Delivery("slack:of-last-month", "slack", "{}")
    assert await deliveries.accept(old, clock.now())
    await deliveries.mark_done(old.key, clock.now())
    assert not await deliveries.accept(old, clock.now())
    clock.speed = 2_000_000  # until it has been cleaned up: a clock that stood still before might be too early
    await stage.until(lambda: deliveries.accept(old, clock.now()), 30)
    clock.speed = 1
    await deliveries.mark_done(old.key, clock.now())
