"""Alerts as they are in the wild: two senders, other groups, limits, storms, and what a card says of them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.alert import STORM, IncidentAlert
from bot.domain.incident import Incident, Severity
from bot.domain.people import Person
from bot.domain.timeline import Kind
from sandbox.pagerduty.backend import WEBHOOK_SECRET
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import Scene, scene, words

EU, US = "http://alertmanager-eu:9093", "http://alertmanager-us:9093"
GRAFANA = {"Authorization": "bearer  grafana-token", "Content-Type": "application/json"}


@pytest.fixture
async def grafana(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path, grafana_webhook_token="grafana-token") as made:
        yield made


async def send(stage: Scene, body: bytes, seconds: float = 15) -> None:
    status, _ = await stage.post(PATH, body, BEARER)
    assert status == 202
    await stage.quiet(seconds)


def given(alert: IncidentAlert) -> str:
    """The fingerprint as it was sent: made up, and so told apart by the alert's name."""
    return alert.fingerprint.partition("/")[0]


async def counted(stage: Scene) -> int:
    return await stage.bot.deps.store.incidents.count()


def lines(stage: Scene) -> list[str]:
    return [text for channel in stage.slack.channels.values() for text in stage.own(channel)]


async def test_the_end_that_another_alertmanager_reports_is_not_the_end_of_ours(stage: Scene) -> None:
    eu, us = alert("eu", region="eu"), alert("us", region="us")
    await send(stage, notification(eu, externalURL=EU))
    channel = await stage.opened()
    await send(stage, notification(us, externalURL=US))
    await send(stage, notification(us | {"status": "resolved"}, externalURL=US))
    assert await counted(stage) == 1
    assert not any("Ninguna alerta" in text for text in stage.own(channel))
    await send(stage, notification(eu | {"status": "resolved"}, externalURL=EU))
    await stage.told(channel, "Ninguna alerta")


async def test_an_alert_stays_in_its_incident_whatever_its_group(stage: Scene) -> None:
    alerts = [alert(f"f{n}", pod=f"xr-{n}") for n in range(4)]
    await send(stage, notification(*alerts))
    await stage.opened()
    for n, one in enumerate(alerts):  # group_by has changed, and the configuration was reloaded
        key = f'{{}}:{{alertname="HighLatency", pod="xr-{n}"}}'
        await send(stage, notification(one, groupKey=key))
    assert await counted(stage) == 1


async def test_an_alert_that_becomes_more_severe_raises_its_incident_once(stage: Scene) -> None:
    """A script's fingerprint stays the same, whatever the severity that it reports."""
    await send(stage, notification(alert("disk", severity="warning")))
    channel = await stage.opened()
    assert (await stage.record(channel)).severity is Severity.SEV3
    worse = alert("disk", severity="critical")
    await send(stage, notification(worse))
    assert (await stage.record(channel)).severity is Severity.SEV2
    await stage.told(channel, "SEV2")
    await stage.answer("/incident severity SEV3", channel=channel.name)
    await send(stage, notification(worse))
    assert (await stage.record(channel)).severity is Severity.SEV3


async def test_groups_whose_long_keys_differ_at_their_end_are_two(stage: Scene) -> None:
    route = "/".join(f'{{team="{"t" * 40}-{n}"}}' for n in range(150))
    for end in ("a", "b"):
        await send(stage, notification(alert(end, service=end), groupKey=f'{route}:{{alertname="{end}"}}'))
    assert await counted(stage) == 2


async def test_what_says_firing_opens_an_incident_though_the_limit_hides_what_fires(stage: Scene) -> None:
    body = notification(alert("f1", status="resolved"), status="firing", truncatedAlerts=7)
    await send(stage, body)
    await stage.opened()
    await send(stage, body)
    assert await counted(stage) == 1


async def test_pagerduty_and_alertmanager_tell_of_one_group_and_it_is_one_incident(stage: Scene) -> None:
    key = '{}:{alertname="HighLatency"}'
    dedup = hashlib.sha256(key.encode()).hexdigest()
    await send(stage, notification(alert("f1"), groupKey=key))
    data = {
        "id": "QOUTSIDE1",
        "type": "incident",
        "title": "[FIRING:1] HighLatency",
        "incident_key": dedup,
        "urgency": "high",
    }
    body = json.dumps(
        {"event": {"id": "01EV", "event_type": "incident.triggered", "agent": None, "data": data}}
    ).encode()
    mark = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    status, _ = await stage.post("/webhooks/pagerduty", body, {"X-PagerDuty-Signature": f"v1={mark}"})
    assert status == 202
    await stage.quiet()
    assert await counted(stage) == 1


async def test_a_group_of_megabytes_is_taken_and_what_is_too_large_is_logged_and_counted(
    stage: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    many = [alert(f"f{n}", pod=f"pod-{n}", summary="x" * 4000) for n in range(1900)]
    body = notification(*many)
    assert 8_000_000 < len(body) < 10_000_000
    await send(stage, body, 60)
    assert await counted(stage) == 1
    status, _ = await stage.post(PATH, body + b" " * 10_000_000, BEARER)
    assert status == 413
    assert len([one for one in caplog.records if "413" in one.getMessage()]) == 1


async def test_one_alert_that_cannot_be_read_takes_no_other_with_it(
    stage: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [alert("f2") | {"startsAt": "yesterday"}, alert("f3") | {"labels": ["a"]}, 7]
    strange = alert("f4", pod="a\x00b\ud800c\x07") | {"annotations": {"n": 5, "gone": None}, "endsAt": "?"}
    await send(stage, notification(alert("f1"), *wrong, strange))
    incident = await stage.record(await stage.opened())
    kept = await stage.bot.deps.store.alerts.of_incident(incident.id)
    assert {given(one) for one in kept} == {"f1", "f4"}
    assert kept[1].labels["pod"] == "abc"
    assert len([one for one in caplog.records if "refused a part" in one.getMessage()]) == 3


async def test_the_card_says_where_why_and_leads_to_what_the_alert_names(stage: Scene) -> None:
    crash = alert("f1", alertname="KubePodCrashLooping", namespace="tamv-prod", pod="isabella-ai-7d9f4b8c6-x2x4z",
                  service="kube-state-metrics", reason="CrashLoopBackOff")  # fmt: skip
    crash["annotations"] = {
        "description": "Pod tamv-prod/isabella-ai-7d9f4b8c6-x2x4z is in waiting state <!channel>",
        "runbook_url": "https://runbooks.example/crash",
        "dashboard_url": "https://grafana.example/d/pods",
    }
    await send(stage, notification(crash, groupLabels={}, commonLabels={}))
    channel = await stage.opened()
    card = stage.card(channel)
    assert all(
        sign in words(card) for sign in ("tamv-prod", "isabella-ai-7d9f4b8c6-x2x4z", "CrashLoopBackOff", "waiting")
    )
    assert card.mentions() == set()
    urls = {element.get("url") for block in card.blocks for element in block.get("elements", [])}
    assert {"https://runbooks.example/crash", "https://grafana.example/d/pods"} <= urls
    assert any(url and url.startswith("http://prometheus.example") for url in urls)
    incident = await stage.record(channel)
    assert incident.service == "isabella-ai" and "waiting state" in incident.title


@pytest.mark.parametrize(
    "labels", [{"alertname": "InfoInhibitor", "severity": "none"}, {"alertname": "Any", "severity": "none"}]
)
async def test_what_the_team_leaves_out_opens_nothing(stage: Scene, labels: dict[str, str]) -> None:
    await send(stage, notification(alert("f1", **labels)))
    assert await counted(stage) == 0
    await send(stage, notification(alert("f1", **labels), alert("f2")))
    incident = await stage.record(await stage.opened())
    assert [given(one) for one in await stage.bot.deps.store.alerts.of_incident(incident.id)] == ["f2"]


async def test_a_dead_mans_switch_that_stops_is_an_alert_until_it_is_heard_again(stage: Scene) -> None:
    watchdog = alert("w", alertname="Watchdog", severity="none")
    stage.sandbox.clock.speed = 600
    status, _ = await stage.post(PATH, notification(watchdog, groupKey="w"), BEARER)
    assert status == 202
    await asyncio.sleep(0.5)
    assert await counted(stage) == 0  # five minutes later

    async def stopped() -> bool:
        return await counted(stage) == 1

    await stage.until(stopped)
    stage.sandbox.clock.speed = 1
    channel = await stage.opened()
    incident = await stage.record(channel)
    assert incident.title.startswith("Watchdog") and incident.severity is Severity.SEV2
    await stage.post(PATH, notification(watchdog, groupKey="w"), BEARER)
    await stage.told(channel, "Ninguna alerta de Watchdog")


async def test_an_alert_that_comes_and_goes_is_one_line(stage: Scene) -> None:
    channel = None
    for minute in range(10, 20):
        one = alert("f1") | {"startsAt": f"2026-01-07T02:{minute}:00Z"}
        for state in ("firing", "resolved"):
            body = notification(one | {"status": state, "endsAt": f"2026-01-07T02:{minute}:30Z"})
            assert (await stage.post(PATH, body, BEARER))[0] == 202
            await stage.until(lambda: _handled(stage))
        channel = channel or await stage.opened()
    assert channel
    line = await stage.told(channel, "🔁 HighLatency", "9 veces", "no está activa")
    about = [text for text in stage.own(channel) if "🔔" in text or "🔕" in text or "🔁" in text]
    assert len([text for text in about if "🔁" in text]) == 1 and len(about) <= 4  # the card, its record, the end
    assert line.ts
    await stage.quiet()


async def _handled(stage: Scene) -> bool:
    return await stage.bot.deps.store.deliveries.count_pending() == 0


async def test_a_storm_opens_few_channels_pages_once_and_loses_nothing(stage: Scene) -> None:
    groups = 60

    async def one(n: int) -> int:
        body = notification(
            alert(f"f{n}", alertname=f"Alert{n}", pod=f"pod-{n}"), groupKey=f"g{n}", commonLabels={}, groupLabels={}
        )
        return (await stage.post(PATH, body, BEARER))[0]

    assert set(await asyncio.gather(*(one(n) for n in range(groups)))) == {202}
    await stage.until(lambda: _handled(stage), 60)
    store = stage.bot.deps.store
    incidents = await store.incidents.recent(100)
    assert len(incidents) == 10
    (storm,) = [incident for incident in incidents if incident.source == STORM]
    kept = [alert for incident in incidents for alert in await store.alerts.of_incident(incident.id)]
    assert {given(alert) for alert in kept} == {f"f{n}" for n in range(groups)}

    def opened() -> Any:
        return next((one for one in stage.slack.channels.values() if one.name.startswith(storm.id.lower())), None)

    channel = await stage.see(opened)
    await stage.told(channel, "🌊", f"{groups - 9} alertas", seconds=40)

    async def paged() -> bool:
        pages = [page for one in incidents for page in await store.pages.list_by_incident(one.id)]
        held = [await store.incidents.newest(one.id, Kind.PAGE_HELD) for one in incidents]
        arrived = len(stage.sandbox.pagerduty.incidents)
        return (len(pages), arrived) == (1, 1) and sum(event is not None for event in held) == 9

    await stage.until(paged, 40)
    inside = (await store.alerts.of_incident(storm.id))[0]
    await stage.see(lambda: stage.slack.user("ana").id in channel.members)
    answer = await stage.answer(f"/incident split {inside.name}", channel=channel.name, holding="✂️")
    moved = next(incident for incident in await store.incidents.recent(1))
    assert moved.id in answer and moved.id != storm.id
    assert [alert.fingerprint for alert in await store.alerts.of_incident(moved.id)] == [inside.fingerprint]


def grafana_body(status: str = "firing", **keys: Any) -> bytes:
    """As Grafana's documentation shows it."""
    one = alert("c6eadffa33fcdf37", status=status, alertname="High memory usage", severity="Critical") | {
        "values": {"B": 44.23943737541908, "C": 1},
        "silenceURL": "https://grafana.example/alerting/silence/new",
        "dashboardURL": "https://grafana.example/d/abc",
        "panelURL": "https://grafana.example/d/abc?viewPanel=1",
    }
    body = json.loads(notification(one, version="1", orgId=1, title="[FIRING:1]", state="alerting", message="x"))
    return json.dumps(body | keys).encode()


async def test_grafanas_own_alerting_opens_and_ends_an_incident(grafana: Scene) -> None:
    for body in (grafana_body(), grafana_body(), grafana_body("resolved")):
        status, _ = await grafana.post("/webhooks/grafana", body, GRAFANA)
        assert status == 202
        await grafana.quiet()
    channel = await grafana.opened()
    incident = await grafana.record(channel)
    assert (incident.source, incident.severity) == ("grafana", Severity.SEV2)
    await grafana.told(channel, "Ninguna alerta de High memory usage")
    urls = {one.get("url") for block in grafana.card(channel).blocks for one in block.get("elements", [])}
    assert "https://grafana.example/d/abc?viewPanel=1" in urls
    assert await counted(grafana) == 1


async def test_grafana_needs_its_own_token_and_is_off_without_one(grafana: Scene) -> None:
    for header in ("Bearer wrong", "grafana-token", "Basic grafana-token", ""):
        assert (await grafana.post("/webhooks/grafana", grafana_body(), {"Authorization": header}))[0] == 401
    assert await counted(grafana) == 0


async def test_grafana_is_off_without_its_token(stage: Scene) -> None:
    assert (await stage.post("/webhooks/grafana", grafana_body(), GRAFANA))[0] == 404


async def test_a_held_page_is_sent_after_a_minute_unless_somebody_has_answered(stage: Scene) -> None:
    """One team, three groups of alerts within a minute, and no storm."""
    stage.sandbox.clock.speed = 10.0
    for name in ("First", "Second", "Third"):
        body = notification(alert(name, alertname=name), groupKey=name, commonLabels={}, groupLabels={})
        assert (await stage.post(PATH, body, BEARER))[0] == 202
    store = stage.bot.deps.store

    async def held() -> list[Incident]:
        incidents = [
            one for one in await store.incidents.recent() if await store.incidents.newest(one.id, Kind.PAGE_HELD)
        ]
        return incidents if len(incidents) == 2 else []

    answered, waiting = await stage.until(held)
    await stage.bot.incidents.acknowledge(answered.id, by=Person("U0ANA00001", "Ana"), idempotency_key="ack")
    await stage.until(lambda: _paged(stage, waiting.id), 30)
    assert {page.key for page in stage.sandbox.pagerduty.incidents.values()} >= {waiting.id}
    assert answered.id not in {page.key for page in stage.sandbox.pagerduty.incidents.values()}


async def _paged(stage: Scene, incident_id: str) -> bool:
    return any(page.state == "sent" for page in await stage.bot.deps.store.pages.list_by_incident(incident_id))
