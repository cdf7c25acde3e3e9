"""PagerDuty both ways: what is done in one place shows in the other, once, and never comes back as news."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

import pytest

from bot.domain.incident import Status
from bot.domain.timeline import Kind
from sandbox.pagerduty.backend import WEBHOOK_SECRET
from sandbox.pagerduty.shapes import integration_reference
from sandbox.pagerduty.state import Incident as PagerDutyIncident
from sandbox.slack.state import Channel
from tests.harness.scene import Scene, words

PATH = "/webhooks/pagerduty"


async def paged(stage: Scene, title: str = "Render caído") -> tuple[Channel, PagerDutyIncident]:
    """An incident that has paged, and its page."""
    channel = await stage.incident(title, sev="SEV2")
    await stage.told(channel, "📟", "SRETeam")
    await stage.quiet()
    incident = await stage.record(channel)
    return channel, stage.sandbox.pagerduty.incident(incident.id)


async def settled(stage: Scene) -> None:
    """Until no webhook is on its way and nothing follows from any."""
    await stage.sandbox.pagerduty.deliverer.idle()
    await stage.quiet()


def requests(stage: Scene) -> int:
    """How many times the bot has written to PagerDuty."""
    return len([one for one in stage.sandbox.pagerduty.requests if one.method != "GET"])


def status(page: PagerDutyIncident) -> str:
    return page.status


async def count(stage: Scene, channel: Channel, kind: Kind) -> int:
    incident = await stage.record(channel)
    return [one.kind for one in await stage.bot.deps.store.incidents.timeline(incident.id)].count(kind)


async def test_acknowledged_and_resolved_here_it_is_so_there(stage: Scene) -> None:
    channel, page = await paged(stage)
    await stage.person("ana").press(stage.card(channel), "acknowledge")
    await stage.told(channel, "👀")
    await settled(stage)
    assert status(page) == "acknowledged"
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await settled(stage)
    assert status(page) == "resolved"
    assert await count(stage, channel, Kind.ACKNOWLEDGED) == await count(stage, channel, Kind.RESOLVED) == 1


async def test_acknowledged_and_resolved_there_it_is_so_here_and_nothing_goes_back(stage: Scene) -> None:
    channel, page = await paged(stage)
    written = requests(stage)
    bruno = stage.sandbox.pagerduty.person("bruno")
    await bruno.acknowledge(page)
    await stage.told(channel, "👀", "<@U0BRUNO002>", "PagerDuty")
    assert (await stage.record(channel)).status is Status.ACKNOWLEDGED
    await bruno.resolve(page)
    await stage.told(channel, "*resuelto*", "PagerDuty")
    await settled(stage)
    assert (await stage.record(channel)).status is Status.RESOLVED
    assert requests(stage) == written


async def test_notes_go_both_ways_once(stage: Scene) -> None:
    channel, page = await paged(stage)
    await stage.person("ana").run("/incident note Reinicio los pods", channel.name)

    async def noted() -> bool:
        return bool(page.notes)

    await stage.until(noted)
    (note,) = page.notes
    assert "Ana Torres" in note.content and "Reinicio los pods" in note.content
    await stage.sandbox.pagerduty.person("bruno").note(page, "Miro los nodos <!channel>")
    message = await stage.told(channel, "📝", "Miro los nodos", "PagerDuty")
    assert message.mentions() == {"@U0BRUNO002"}
    await settled(stage)
    assert len(page.notes) == 2 and await count(stage, channel, Kind.NOTE) == 2


async def test_escalating_and_reassigning_there_is_told_here(stage: Scene) -> None:
    channel, page = await paged(stage)
    ana = stage.sandbox.pagerduty.person("ana")
    await ana.escalate(page, 2)
    await stage.told(channel, "📟⬆️", "Escalado en PagerDuty")
    await ana.reassign(page, "fran")
    await stage.told(channel, "📟⬆️", "Fran Ortiz")


async def test_reopened_there_it_is_open_here_and_nobody_is_paged_again(stage: Scene) -> None:
    channel, page = await paged(stage)
    bruno = stage.sandbox.pagerduty.person("bruno")
    await bruno.resolve(page)
    await stage.told(channel, "*resuelto*")
    await settled(stage)
    await bruno.reopen(page)
    await stage.told(channel, "🔁", "PagerDuty")
    await settled(stage)
    assert (await stage.record(channel)).status.is_open
    assert len(page.alerts) == 1 and len(stage.sandbox.pagerduty.incidents) == 1


async def test_a_team_that_was_called_in_resolves_its_page_and_not_the_incident(stage: Scene) -> None:
    channel, page = await paged(stage)
    await stage.person("ana").run("/page ai-team Mirad el modelo", channel.name)
    await stage.told(channel, "📟", "*AITeam*", "PagerDuty")
    await settled(stage)
    (other,) = [one for one in stage.sandbox.pagerduty.incidents.values() if one is not page]
    await stage.sandbox.pagerduty.person("carla").resolve(other)
    await stage.told(channel, "AITeam", "cerrado", "<@U0CARLA003>")
    await settled(stage)
    assert (await stage.record(channel)).status is Status.DECLARED and status(page) == "triggered"
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.told(channel, "*resuelto*")
    await settled(stage)
    assert status(page) == "resolved"


async def test_resolved_there_by_one_page_the_others_stop_ringing(stage: Scene) -> None:
    channel, page = await paged(stage)
    await stage.person("ana").run("/page ai-team Mirad el modelo", channel.name)
    await stage.told(channel, "📟", "*AITeam*", "PagerDuty")
    await settled(stage)
    await stage.sandbox.pagerduty.person("ana").resolve(page)
    await stage.told(channel, "*resuelto*")

    async def quiet() -> bool:
        return all(status(one) == "resolved" for one in stage.sandbox.pagerduty.incidents.values())

    await stage.until(quiet)


async def test_what_is_opened_there_is_an_incident_here_and_pages_nobody_twice(stage: Scene) -> None:
    pagerduty = stage.sandbox.pagerduty
    service = pagerduty.company.pagerduty.service("equipo-SRE-TAMV")
    agent = integration_reference(pagerduty, service)
    page = pagerduty.open(service, "nagios/42", "Disk full on db-1 <!here>", agent)
    channel = await stage.opened()
    await settled(stage)
    incident = await stage.record(channel)
    assert (incident.title, incident.severity, incident.source) == ("Disk full on db-1 <!here>", "SEV2", "pagerduty")
    assert list(pagerduty.incidents) == [page.id]  # who is on call has been woken already
    await stage.person("ana").run("/incident ack", channel.name)
    await stage.told(channel, "👀")
    await settled(stage)
    assert status(page) == "acknowledged"
    await pagerduty.person("bruno").resolve(page)
    await stage.told(channel, "*resuelto*", "PagerDuty")


def event(kind: str, **data: Any) -> bytes:
    agent = {"id": "PANA001", "type": "user_reference", "summary": "Ana Torres"}
    content = {"id": "Q1", "type": "incident", "title": "x"} | data
    return json.dumps({"event": {"id": "01EVENT", "event_type": kind, "agent": agent, "data": content}}).encode()


def signed(body: bytes, *secrets: str, id: str | None = None) -> dict[str, str]:
    marks = [f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}" for secret in secrets]
    return {"X-PagerDuty-Signature": ",".join(marks), "X-Webhook-Id": id or str(uuid.uuid4())}


@pytest.mark.parametrize(
    "kind", ["service.created", "incident.workflow.started", "incident.from.the.future", "pagey.ping"]
)
async def test_events_that_nobody_knows_are_accepted(stage: Scene, kind: str) -> None:
    for body in (event(kind), json.dumps({"event": {"event_type": kind, "data": None}}).encode()):
        code, _ = await stage.post(PATH, body, signed(body, WEBHOOK_SECRET))
        assert code == 202
    assert await stage.bot.deps.store.incidents.count() == 0


async def test_a_replaced_secret_is_good_as_long_as_one_signature_fits(stage: Scene) -> None:
    body = event("pagey.ping")
    assert (await stage.post(PATH, body, signed(body, "older", WEBHOOK_SECRET)))[0] == 202
    assert (await stage.post(PATH, body, signed(body, "older", "oldest")))[0] == 401


async def test_the_same_event_under_another_delivery_is_carried_over_once(stage: Scene) -> None:
    """The id of a delivery is not signed: who repeats a captured one under a new id changes nothing."""
    channel, page = await paged(stage)
    await stage.sandbox.pagerduty.person("bruno").note(page, "una sola vez")
    await stage.told(channel, "una sola vez")
    await settled(stage)
    sent = stage.sandbox.pagerduty.deliverer.log[-1]
    body = json.dumps({"event": sent.event}).encode()
    for _ in range(3):
        assert (await stage.post(PATH, body, signed(body, WEBHOOK_SECRET)))[0] == 202
    await settled(stage)
    assert await count(stage, channel, Kind.NOTE) == 1
    assert len([text for text in stage.own(channel) if "una sola vez" in text]) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"event": 7}',
        b'{"event": {"event_type": 7}}',
        b'{"event": {"event_type": "incident.resolved"}}',
        b"\xff{}",
        b"{",
    ],
)
async def test_a_wrong_body_is_refused(stage: Scene, body: bytes) -> None:
    code, answer = await stage.post(PATH, body, signed(body, WEBHOOK_SECRET))
    assert code == 400 and "Traceback" not in answer


async def test_who_is_on_call_is_answered_with_phone_and_until_when(stage: Scene) -> None:
    answer = await stage.answer("/oncall", holding="SRETeam")
    assert "*Ana Torres*" in answer or "*Bruno Díaz*" in answer
    assert "☎ +" in answer and "<!date^" in answer and "hasta" in answer
    english = await stage.answer("/oncall", who="emma", holding="SRETeam")
    assert "On call" in english or "on call" in english
    one = await stage.answer("/oncall @sre-team", holding="SRETeam")
    assert "AITeam" in answer and "AITeam" not in one
    without = await stage.answer("/oncall DevTeam")
    assert "DevTeam" in without and "+" in without, "whom to call instead"


async def test_paging_by_hand_elsewhere_declares_and_pages_that_team(stage: Scene) -> None:
    answer = await stage.answer("/page ai-team El modelo alucina sev=SEV3")
    assert "AITeam" in answer
    channel = await stage.opened()
    await stage.told(channel, "📟", "*AITeam*", "PagerDuty")
    (page,) = stage.sandbox.pagerduty.incidents.values()
    assert stage.sandbox.pagerduty.services[page.service].name == "equipo-IA-TAMV"
    assert "El modelo alucina" in page.title
    await stage.person("ana").run("/page ack", channel.name)
    await stage.told(channel, "👀")
    await settled(stage)
    assert status(page) == "acknowledged"
    await stage.person("ana").run("/page resolve", channel.name)
    await stage.told(channel, "📟", "cerrado")
    await settled(stage)
    assert status(page) == "resolved" and (await stage.record(channel)).status.is_open
    assert not [text for text in stage.own(channel) if "NO ha salido" in text]
    assert all("Traceback" not in words(one) for one in channel.messages.values())


async def test_a_false_alarm_ends_its_page(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV2")
    key = (await stage.record(channel)).id
    await stage.until(lambda: _page_state(stage, key, "triggered"))
    await stage.person("ana").run("/incident dismiss Prueba de carga", channel.name)
    await stage.until(lambda: _page_state(stage, key, "resolved"))


async def _page_state(stage: Scene, key: str, state: str) -> bool:
    return any(page.key == key and page.status == state for page in stage.sandbox.pagerduty.incidents.values())
