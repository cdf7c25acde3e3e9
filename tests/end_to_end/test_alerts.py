"""Alertmanager's groups: one incident each, which hears what begins and what ends; a wrong body changes nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from bot.domain.incident import Milestone, Severity
from bot.domain.timeline import Kind
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import Scene


async def send(stage: Scene, body: bytes) -> None:
    status, _ = await stage.post(PATH, body, BEARER)
    assert status == 202
    await stage.quiet()


async def kinds(stage: Scene, incident_id: str) -> list[Kind]:
    told = await stage.bot.deps.store.incidents.timeline(incident_id)
    return [one.kind for one in told if one.kind in (Kind.ALERT_FIRING, Kind.ALERT_RESOLVED)]


async def test_a_group_tells_its_incident_what_begins_and_what_ends(stage: Scene) -> None:
    await send(stage, notification(alert("f1")))
    channel = await stage.opened()
    incident = await stage.record(channel)
    await send(stage, notification(alert("f1"), alert("f2", summary="p95 de 2 s en otro pod", pod="xr-2")))
    await stage.told(channel, "🔔", "p95 de 2 s en otro pod")
    await stage.see(lambda: "🔔 2 " in stage.card(channel).all_text())
    await send(stage, notification(alert("f1"), alert("f2", status="resolved")))
    await stage.told(channel, "🔕", "HighLatency")
    await send(stage, notification(alert("f1", status="resolved"), alert("f2", status="resolved")))
    await stage.told(channel, "Ninguna alerta de HighLatency sigue activa", "/incident resolve")
    assert await kinds(stage, incident.id) == [Kind.ALERT_FIRING, Kind.ALERT_RESOLVED, Kind.ALERT_RESOLVED]
    assert (await stage.record(channel)).status.is_open  # an alert that calms down is no proof that it is mended
    assert await stage.bot.deps.store.incidents.count() == 1


async def test_every_group_has_its_own_incident_and_the_worst_alert_says_how_bad(stage: Scene) -> None:
    await send(stage, notification(alert("f1", severity="warning"), alert("f2", severity="emergency")))
    await send(stage, notification(alert("f3", severity="strange"), groupKey="{}:{alertname=Other}"))
    found = {one.severity for one in await stage.bot.deps.store.incidents.recent()}
    assert found == {Severity.SEV1, Severity.SEV3}


async def test_a_critical_alert_makes_the_incident_of_a_warning_as_severe_as_itself_once(stage: Scene) -> None:
    warning, critical = alert("f1", severity="warning"), alert("f2", severity="critical")
    await send(stage, notification(warning))
    channel = await stage.opened()
    assert (await stage.record(channel)).severity is Severity.SEV3
    await send(stage, notification(warning, critical))
    await stage.told(channel, "Alertmanager", "SEV3 → *SEV2*")
    await stage.told(channel, "PagerDuty avisó", "SRETeam")  # a warning pages nobody
    await stage.person("ana").run("/incident severity SEV3", channel.name)
    await stage.told(channel, "SEV2 → *SEV3*")
    await send(stage, notification(warning, critical))  # who knows better is not contradicted by a repetition
    assert (await stage.record(channel)).severity is Severity.SEV3


async def test_what_newer_versions_add_and_services_that_nobody_knows_do_no_harm(stage: Scene) -> None:
    strange = alert("f1", service="unheard-of") | {"newKey": {"a": [1]}, "endsAt": None}
    await send(stage, notification(strange, surprise=[1, 2], notificationReason="new"))
    incident = await stage.record(await stage.opened())
    assert incident.service is None and incident.title == "Latencia alta: unheard-of"


async def test_resolved_by_hand_it_may_settle_and_then_it_was_not_over(stage: Scene) -> None:
    """An identical body counts again: what it means depends on what has become of the incident."""
    body = notification(alert("f1"))
    await send(stage, body)
    first = await stage.opened()
    await stage.person("ana").run("/incident resolve", first.name)
    await stage.told(first, "*resuelto*")
    await send(stage, body)  # a retry, another Alertmanager, or the next interval
    assert await stage.bot.deps.store.incidents.count() == 1

    stage.sandbox.clock.speed = 6000
    await stage.sandbox.clock.sleep(16 * 60)
    stage.sandbox.clock.speed = 1
    await send(stage, body)
    second = await stage.opened({first.id})
    before, now = await stage.record(first), await stage.record(second)
    assert now.title == f"Latencia alta: Mundos inmersivos (↩ {before.id})"
    assert now.milestones[Milestone.DETECTED] > before.milestones[Milestone.RESOLVED]
    event = await stage.bot.deps.store.incidents.newest(now.id, Kind.DECLARED)
    assert event and event.facts["before"] == before.id

    await send(stage, body)  # and then it is told once
    assert await stage.bot.deps.store.incidents.count() == 2
    await send(stage, notification(alert("f1", status="resolved")))
    await stage.told(second, "Ninguna alerta de HighLatency sigue activa")


async def test_what_begins_after_the_end_is_a_new_incident_at_once(stage: Scene) -> None:
    await send(stage, notification(alert("f1")))
    first = await stage.opened()
    await stage.person("ana").run("/incident resolve", first.name)
    await stage.told(first, "*resuelto*")
    began: datetime = stage.sandbox.clock.now() + timedelta(seconds=1)
    await send(stage, notification(alert("f2") | {"startsAt": began.isoformat()}))
    second = await stage.record(await stage.opened({first.id}))
    assert "↩" not in second.title


async def test_what_ends_after_the_incident_is_over_is_told_all_the_same(stage: Scene) -> None:
    await send(stage, notification(alert("f1")))
    channel = await stage.opened()
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await send(stage, notification(alert("f1", status="resolved")))
    message = await stage.told(channel, "Ninguna alerta de HighLatency sigue activa")
    assert "/incident resolve" not in message.all_text()


async def test_the_same_group_from_two_alertmanagers_at_once_is_one_incident(stage: Scene) -> None:
    bodies = [notification(alert("f1"), externalURL=f"http://alertmanager-{n}") for n in range(8)]
    answers = await asyncio.gather(*(stage.post(PATH, body, BEARER) for body in bodies))
    assert {status for status, _ in answers} == {202}
    await stage.opened()
    await stage.quiet()
    assert await stage.bot.deps.store.incidents.count() == 1


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"version": "3"}, "version"),
        ({"version": None}, "version"),
        ({"groupKey": ""}, "groupKey"),
        ({"alerts": []}, "alerts"),
        ({"alerts": None}, "alerts"),
        ({"alerts": [{}]}, "alerts"),
        ({"alerts": [alert() | {"startsAt": "yesterday"}]}, "startsAt"),
        ({"alerts": [alert() | {"startsAt": "2026-01-07T02:10:00"}]}, "startsAt"),
        ({"alerts": [{key: value for key, value in alert().items() if key != "startsAt"}]}, "startsAt"),
        ({"alerts": [alert() | {"labels": ["a"]}]}, "labels"),
        ({"status": "on fire"}, "status"),
    ],
)
async def test_a_wrong_body_is_refused_and_changes_nothing(
    stage: Scene, change: dict[str, object], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps(json.loads(notification(alert())) | change).encode()
    status, answer = await stage.post(PATH, body, BEARER)
    assert (status, json.loads(answer)) == (400, {"error": "not understood"})
    assert where in caplog.text and len(caplog.records) == 1
    assert await stage.bot.deps.store.incidents.count() == 0
