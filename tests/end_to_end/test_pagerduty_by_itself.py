"""What PagerDuty does by itself, and to which page: told for what it is, never taken for another's."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from bot.domain.incident import Milestone, Status
from bot.domain.timeline import Kind
from sandbox.pagerduty.backend import WEBHOOK_SECRET
from sandbox.pagerduty.shapes import integration_reference
from tests.end_to_end.test_pagerduty import PATH, paged, settled, signed, status
from tests.harness.scene import Scene

MONITOR = {"id": "PINTEG1", "type": "events_api_v2_inbound_integration_reference", "summary": "Nagios"}


async def hear(stage: Scene, kind: str, page: Any, agent: Any = None, **data: Any) -> None:
    """One event of a page, as PagerDuty sends it."""
    content = {"id": page.id, "type": "incident", "title": page.title, "incident_key": page.key} | data
    event = {"id": str(uuid.uuid4()), "event_type": f"incident.{kind}", "agent": agent, "data": content}
    body = json.dumps({"event": event}).encode()
    code, _ = await stage.post(PATH, body, signed(body, WEBHOOK_SECRET))
    assert code == 202
    await settled(stage)


async def test_another_incident_whose_title_begins_with_our_number_is_not_our_page(stage: Scene) -> None:
    channel, page = await paged(stage)
    incident = await stage.record(channel)
    pagerduty = stage.sandbox.pagerduty
    other = pagerduty.open(
        pagerduty.company.pagerduty.service("equipo-IA-TAMV"), "somebody/1", f"{incident.id} is mentioned here",
        page.changed_by,
    )  # fmt: skip
    await settled(stage)
    await pagerduty.person("carla").acknowledge(other)
    await pagerduty.person("carla").resolve(other)
    await settled(stage)
    assert (await stage.record(channel)).status is Status.DECLARED and status(page) == "triggered"


@pytest.mark.parametrize(
    ("kind", "data", "sign"),
    [
        ("escalated", {"assignees": [{"id": "PFRA006", "summary": "Fran Ortiz"}]}, "Nadie respondió a tiempo"),
        ("escalated", dict.fromkeys(("title", "type", "assignees", "html_url", "urgency")), "Nadie respondió a tiempo"),
        ("delegated", {"escalation_policy": {"id": "PESC1", "summary": "Plataforma"}}, "Traspasado"),
        ("reassigned", {"assignees": [{"id": "PFRA006", "summary": "Fran Ortiz"}]}, "Reasignado"),
    ],
)
async def test_what_happens_without_anybody_is_told(stage: Scene, kind: str, data: dict[str, Any], sign: str) -> None:
    channel, page = await paged(stage)
    await hear(stage, kind, page, None, **data)
    await stage.told(channel, sign)


async def test_an_acknowledgement_that_expires_is_taken_back(stage: Scene) -> None:
    channel, page = await paged(stage)
    await stage.sandbox.pagerduty.person("bruno").acknowledge(page)
    await stage.told(channel, "👀")
    await settled(stage)
    await hear(stage, "unacknowledged", page)
    await stage.told(channel, "Ya no lo atiende nadie")
    incident = await stage.record(channel)
    assert incident.status is Status.DECLARED and Milestone.ACKNOWLEDGED not in incident.milestones
    await stage.see(lambda: "acknowledge" in json.dumps(stage.card(channel).blocks))


async def test_resolved_by_a_monitor_is_told_and_the_incident_stays_open(stage: Scene) -> None:
    channel, page = await paged(stage)
    await hear(stage, "resolved", page, MONITOR)
    await stage.told(channel, "cerrado por un monitor", "Nagios")
    assert (await stage.record(channel)).status.is_open


async def test_our_own_end_of_a_page_that_comes_back_is_not_told_again(stage: Scene) -> None:
    channel, page = await paged(stage)
    await stage.person("ana").run("/page resolve", channel.name)
    await settled(stage)
    await hear(stage, "resolved", page, MONITOR)
    assert (await stage.record(channel)).status.is_open
    assert not [text for text in stage.own(channel) if "monitor" in text]


async def test_a_page_that_is_merged_goes_on_where_it_went(stage: Scene) -> None:
    channel, page = await paged(stage)
    into = {"id": "QTARGET1", "type": "incident_reference", "summary": "Todo caído", "html_url": "https://pd.example/Q"}
    reason = {"type": "merge_resolve_reason", "incident": into}
    person = {"id": "PBRU002", "type": "user_reference", "summary": "Bruno Díaz"}
    await hear(stage, "resolved", page, person, resolve_reason=reason)
    await stage.told(channel, "se ha unido en PagerDuty", "Todo caído")
    assert (await stage.record(channel)).status.is_open
    (stored,) = await stage.bot.deps.store.pages.list_by_incident((await stage.record(channel)).id)
    assert stored.pagerduty_id == "QTARGET1"


async def test_a_team_without_pagerduty_is_refused_before_anything_is_done(stage: Scene) -> None:
    answer = await stage.answer("/page ProductTeam hola", holding="ProductTeam")
    assert "no se ha avisado a nadie" in answer and "product@tamv.world" in answer and "SRETeam" in answer
    await stage.quiet()
    assert await stage.bot.deps.store.incidents.count() == 0
    assert not stage.sandbox.pagerduty.incidents


async def test_a_page_that_was_refused_is_said_loudly_and_tried_again(stage: Scene) -> None:
    stage.sandbox.faults.add("pagerduty", "status", "*enqueue", status=403, times=1)
    channel = await stage.incident("Render caído", sev="SEV2")
    await stage.told(channel, "NO ha salido", "Se reintenta")
    await stage.told(channel, "PagerDuty avisó", "SRETeam", seconds=40)
    assert await _kinds(stage, channel) >= {Kind.PAGE_FAILED, Kind.PAGED}


async def _kinds(stage: Scene, channel: Any) -> set[Kind]:
    incident = await stage.record(channel)
    return {event.kind for event in await stage.bot.deps.store.incidents.timeline(incident.id)}


async def test_a_page_that_arrived_though_its_answers_were_lost_stops_when_all_is_over(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV2")
    await stage.told(channel, "PagerDuty avisó", "SRETeam")
    await stage.quiet()
    (page,) = stage.sandbox.pagerduty.incidents.values()
    await stage.bot.deps.store.pages.add(page.key, page.key, "SRETeam", "failed")  # all that the bot knows of it then
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await stage.quiet()
    assert not page.is_open


@pytest.mark.parametrize("done", ["acknowledge", "resolve"])
async def test_what_was_done_there_before_its_beginning_is_heard_of_is_so_here(stage: Scene, done: str) -> None:
    """PagerDuty does not promise the order of its events."""
    pagerduty = stage.sandbox.pagerduty
    service = pagerduty.company.pagerduty.service("equipo-SRE-TAMV")
    subscriptions, pagerduty.subscriptions = pagerduty.subscriptions, {}
    page = pagerduty.open(service, "nagios/43", "Disk full on db-1", integration_reference(pagerduty, service))
    await getattr(pagerduty.person("bruno"), done)(page)
    pagerduty.subscriptions = subscriptions
    for kind in (f"{done}d", "triggered"):
        await hear(stage, kind, page)
    if done == "resolve":
        assert await stage.bot.deps.store.incidents.count() == 0
        return
    channel = await stage.opened()
    assert (await stage.record(channel)).status is Status.ACKNOWLEDGED
    await stage.told(channel, "👀", "<@U0BRUNO002>", "PagerDuty")
