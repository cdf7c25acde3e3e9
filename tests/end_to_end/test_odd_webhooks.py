"""Webhooks that are not what their documentation says are taken as far as they go: nothing that fires is lost."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.domain.incident import Incident, Severity
from bot.domain.timeline import Kind
from sandbox.pagerduty.backend import WEBHOOK_SECRET
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import Scene, scene
from tests.harness.walk import team_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("odd-webhooks")
    async with scene(folder, team_dir=str(team_folder(folder)), grafana_webhook_token="grafana-token") as made:
        yield made


async def declared(stage: Scene, path: str, body: bytes, headers: dict[str, str]) -> list[Incident]:
    """The incidents that come of a webhook, once it is handled; their channels may come later."""
    incidents = stage.bot.deps.store.incidents
    before = await incidents.count()
    status, answer = await stage.post(path, body, headers)
    assert status == 202, answer

    async def handled() -> bool:
        return await stage.bot.deps.store.deliveries.count_pending() == 0

    await stage.until(handled)
    new = await incidents.count() - before
    return (await incidents.recent(new)) if new else []


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of requests that came in."""
    return [one.getMessage() for one in caplog.records if one.name.startswith("handlers.")]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"status": " Firing "},
        {"groupLabels": ["a"], "commonLabels": "b", "commonAnnotations": 7},
        {"truncatedAlerts": "many"},
        {"truncatedAlerts": 2.5},
        {"truncatedAlerts": 10**30},
        {"truncatedAlerts": -(10**400)},
        {"truncatedAlerts": math.nan},
        {"truncatedAlerts": math.inf},
        {"externalURL": {}},
        {"alerts": [alert() | {"status": "FIRING"}]},
        {"alerts": [alert() | {"startsAt": "9999-12-31T23:59:59-12:00"}]},
        {"alerts": [alert() | {"startsAt": "0001-01-01T00:00:00+12:00"}]},
        {"alerts": [alert() | {"endsAt": "9999-12-31T23:59:59-12:00"}]},
        {"alerts": [alert() | {"fingerprint": 7}]},
        {"alerts": [alert() | {"fingerprint": "f" * 65}]},
        {"alerts": [alert() | {"generatorURL": 5, "panelURL": []}]},
        {"alerts": [alert(), alert(status="resolved")]},  # the same one twice
    ],
    ids=lambda change: json.dumps(change)[:60],
)
async def test_what_only_describes_an_alert_does_not_lose_it(
    stage: Scene, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    group = f"group {await stage.bot.deps.store.incidents.count()}"
    body = json.loads(json.dumps(json.loads(notification(alert(), groupKey=group)) | change))
    for one in body["alerts"]:  # another alert each time
        one["labels"]["pod"] = group
        if one["fingerprint"] == "f1":
            one["fingerprint"] = group
    (incident,) = await declared(stage, PATH, json.dumps(body).encode(), BEARER)
    assert incident.title == "Latencia alta: Mundos inmersivos" and incident.severity is Severity.SEV2
    assert refusals(caplog) == []


async def test_a_label_without_a_value_is_no_label(stage: Scene) -> None:
    unnamed = alert(alertname="", pod=None, summary="sin nombre")  # type: ignore[arg-type]
    (incident,) = await declared(stage, PATH, notification(unnamed, groupKey="empty", groupLabels={}), BEARER)
    assert incident.title == "alert: sin nombre"
    (kept,) = await stage.bot.deps.store.alerts.of_incident(incident.id)
    assert set(kept.labels) == {"service", "severity"}


async def test_a_body_that_is_compressed_is_refused_for_what_it_is(
    stage: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    status, _ = await stage.post(PATH, b"\x1f\x8b\x08", {**BEARER, "Content-Encoding": "gzip"})
    assert status == 415
    assert refusals(caplog) == ["refused a request of alertmanager (415): compressed by gzip"]


async def test_a_rule_of_grafana_without_data_is_named(stage: Scene) -> None:
    labels = {"alertname": "DatasourceError", "rulename": "CPU alta", "datasource_uid": "P1", "ref_id": "A"}
    failed = {
        "status": "firing",
        "labels": labels,
        "annotations": {"Error": "failed to query data: dial tcp: i/o timeout"},
        "startsAt": "2026-01-07T02:10:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "g1",
        "values": None,
    }
    body = json.loads(notification(alert(), groupKey="grafana", groupLabels={}, commonLabels={}))
    body |= {"version": "1", "state": "alerting", "title": "[FIRING:1]", "alerts": [failed], "commonAnnotations": {}}
    headers = {"Authorization": "Bearer grafana-token"}
    (incident,) = await declared(stage, "/webhooks/grafana", json.dumps(body).encode(), headers)
    assert incident.title == "DatasourceError · CPU alta: failed to query data: dial tcp: i/o timeout"


BRUNO = {"id": "PBRUNO", "type": "user_reference", "summary": "Bruno"}


async def from_pagerduty(stage: Scene, kind: str, data: dict[str, Any], agent: Any = None) -> list[Incident]:
    """The incidents that come of an event of PagerDuty."""
    told = {"id": uuid.uuid4().hex, "event_type": f"incident.{kind}", "agent": agent, "data": data}
    body = json.dumps({"event": told}).encode()
    mark = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return await declared(stage, "/webhooks/pagerduty", body, {"X-PagerDuty-Signature": f"v1={mark}"})


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ({"title": "\n Caído \n "}, "Caído"),
        ({"title": "\n \n"}, "QODD"),
        ({"title": "\u200b"}, "QODD"),
        ({"title": None}, "QODD"),
        ({"title": ["a"], "incident_key": 5, "urgency": {}, "html_url": 7}, "QODD"),
        ({"title": "x" * 5000}, f"{'x' * 199}…"),
        ({"title": "Caído", "assignees": [None, {"summary": "sin id"}, BRUNO]}, "Caído"),
        ({"title": "Caído", "assignees": "fran", "escalation_policy": [], "resolve_reason": "merge"}, "Caído"),
        ({"title": "Caído", "html_url": "javascript:alert(1)"}, "Caído"),
    ],
)
async def test_a_page_from_outside_opens_its_incident_whatever_describes_it(
    stage: Scene, data: dict[str, Any], title: str
) -> None:
    id = f"QODD{uuid.uuid4().hex[:8].upper()}"
    (incident,) = await from_pagerduty(stage, "triggered", {"id": id, "urgency": "high"} | data, {"summary": "no id"})
    assert incident.title == (id if title == "QODD" else title)


async def test_pages_whose_long_keys_differ_at_their_end_are_two(stage: Scene) -> None:
    keys = {"QLONGA": "k" * 254 + "a", "QLONGB": "k" * 254 + "b"}
    opened = [
        (await from_pagerduty(stage, "triggered", {"id": id, "title": id, "incident_key": key}))[0]
        for id, key in keys.items()
    ]
    for incident, key in zip(opened, keys.values(), strict=True):
        page = await stage.bot.deps.store.pages.by_key(key)
        assert page and page.incident_id == incident.id


async def test_a_note_of_pagerduty_that_is_long_is_cut_and_told(stage: Scene, caplog: pytest.LogCaptureFixture) -> None:
    (incident,) = await from_pagerduty(stage, "triggered", {"id": "QNOTE", "title": "Con notas", "incident_key": "n"})
    monitor = {"id": "PSVC", "type": "service_reference", "summary": "S" * 255}
    for content in ("n" * 25_000, " \n", "\u200b"):
        note = {"id": "PNOTE", "type": "incident_note", "incident": {"id": "QNOTE"}, "content": content}
        await from_pagerduty(stage, "annotated", note, monitor)
    timeline = await stage.bot.deps.store.incidents.timeline(incident.id)
    (told,) = [one for one in timeline if one.kind is Kind.NOTE]
    assert told.facts["text"] == f"{'n' * 2999}…" and len(told.by.name) == 100
    assert refusals(caplog) == []


async def test_a_page_from_outside_leads_to_pagerduty(stage: Scene) -> None:
    url = "https://acme.pagerduty.com/incidents/QLINK"
    before = set(stage.slack.channels)
    await from_pagerduty(stage, "triggered", {"id": "QLINK", "title": "Con enlace", "html_url": url})

    def button() -> str | None:
        for channel in stage.slack.channels.values():
            for message in channel.messages.values() if channel.id not in before else ():
                for _, element in message.elements():
                    if element.get("url") == url:
                        return str(element["text"]["text"])
        return None

    assert await stage.see(button) == "Ver en PagerDuty"
