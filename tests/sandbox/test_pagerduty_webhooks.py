"""The V3 webhooks of the sandbox's PagerDuty: shape, signature, order, retries, switching off."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.pagerduty import shapes
from sandbox.pagerduty.api import routes
from sandbox.pagerduty.backend import Deliverer, PagerDuty
from sandbox.pagerduty.state import API_TOKEN, BOT, Incident
from sandbox.server import serving
from tests.harness.receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as receiver:
        yield receiver


@pytest.fixture
async def pagerduty() -> AsyncIterator[PagerDuty]:
    clock = Clock()
    backend = PagerDuty(load_company(), clock, Deliverer(clock, timeout=0.3, retry_delays=(0.01, 0.01)))
    yield backend
    await backend.aclose()


def opened(pagerduty: PagerDuty, key: str = "INC-2026-0001") -> Incident:
    service = pagerduty.services["PSRE001"]
    agent = shapes.integration_reference(pagerduty, service)
    return pagerduty.open(service, key, "xr-engine is slow", agent)


async def events(pagerduty: PagerDuty, receiver: Receiver) -> list[dict[str, Any]]:
    async with deadline(5):
        await pagerduty.deliverer.idle()
    return [received.json["event"] for received in receiver.received]


async def test_what_a_person_does_is_told_with_the_person_as_agent(pagerduty: PagerDuty, receiver: Receiver) -> None:
    pagerduty.subscribe(receiver.url, "secret")
    incident = opened(pagerduty)
    ana = pagerduty.person("ana")
    await ana.acknowledge(incident)
    await ana.note("INC-2026-0001", "scaling to 10")
    await ana.escalate(incident, 2)
    await ana.reassign(incident, "diego")
    await ana.set_priority(incident, "P1")
    await ana.resolve(incident)
    await ana.reopen(incident)
    told = await events(pagerduty, receiver)
    assert [event["event_type"].removeprefix("incident.") for event in told] == [
        "triggered",
        "acknowledged",
        "annotated",
        "escalated",
        "reassigned",
        "priority_updated",
        "resolved",
        "reopened",
    ]
    assert told[0]["agent"]["type"] == "inbound_integration_reference"
    assert {event["agent"]["summary"] for event in told[1:]} == {"Ana Torres"}
    assert {event["agent"]["type"] for event in told[1:]} == {"user_reference"}
    assert told[2]["data"]["content"] == "scaling to 10"
    assert told[2]["data"]["incident"]["id"] == incident.id
    assert told[4]["data"]["assignees"][0]["summary"] == "Diego Ruiz"
    assert told[5]["data"]["priority"]["summary"] == "P1"
    assert told[6]["data"]["assignees"] == []


async def test_a_change_by_the_api_has_its_from_user_as_agent(pagerduty: PagerDuty, receiver: Receiver) -> None:
    pagerduty.subscribe(receiver.url, "secret")
    incident = opened(pagerduty)
    app = Starlette(routes=[Mount("/pagerduty", routes=routes(pagerduty))])
    headers = {"Authorization": f"Token token={API_TOKEN}", "From": BOT.email}
    async with serving(app) as base, aiohttp.ClientSession(headers=headers) as http:
        url = f"{base}/pagerduty/api/incidents/{incident.id}"
        async with http.put(url, json={"incident": {"status": "acknowledged"}}) as answer:
            assert answer.status == 200
    told = await events(pagerduty, receiver)
    assert told[-1]["agent"]["id"] == BOT.id


async def test_webhooks_are_signed_with_every_secret(pagerduty: PagerDuty, receiver: Receiver) -> None:
    subscription = pagerduty.subscribe(receiver.url, "old")
    subscription.secrets = ("old", "new")
    opened(pagerduty)
    await events(pagerduty, receiver)
    [received] = receiver.received
    expected = [hmac.new(s, received.body, hashlib.sha256).hexdigest() for s in (b"old", b"new")]
    assert received.headers["x-pagerduty-signature"] == f"v1={expected[0]},v1={expected[1]}"
    assert received.headers["x-webhook-subscription"] == subscription.id
    assert received.headers["x-webhook-id"]


@pytest.mark.parametrize("answer", [500, 503, 429, 2.0])
async def test_a_failed_webhook_comes_again_with_the_same_id(
    pagerduty: PagerDuty, receiver: Receiver, answer: int | float
) -> None:
    pagerduty.subscribe(receiver.url, "secret")
    receiver.answers = [answer]
    opened(pagerduty)
    await events(pagerduty, receiver)
    first, second = receiver.received
    assert first.headers["x-webhook-id"] == second.headers["x-webhook-id"]
    assert first.body == second.body
    assert pagerduty.deliverer.log[0].state == "delivered"


async def test_it_gives_up_after_all_attempts(pagerduty: PagerDuty, receiver: Receiver) -> None:
    pagerduty.subscribe(receiver.url, "secret")
    receiver.answers = [500, 500, 500]
    opened(pagerduty)
    await events(pagerduty, receiver)
    assert pagerduty.deliverer.log[0].attempts == [500, 500, 500]
    assert pagerduty.deliverer.log[0].state == "dropped"


async def test_nobody_listening_is_a_failed_attempt(pagerduty: PagerDuty) -> None:
    pagerduty.subscribe("http://127.0.0.1:9/hook", "secret")
    opened(pagerduty)
    async with deadline(5):
        await pagerduty.deliverer.idle()
    assert pagerduty.deliverer.log[0].attempts == ["ClientConnectorError"] * 3


async def test_three_drops_in_a_row_disable_the_subscription(pagerduty: PagerDuty, receiver: Receiver) -> None:
    subscription = pagerduty.subscribe(receiver.url, "secret")
    receiver.answers = [400, 401, 202, 400, 404, 422]
    for number in range(6):
        opened(pagerduty, f"key-{number}")
    await events(pagerduty, receiver)
    assert len(receiver.received) == 6  # no 4xx was tried again, and a 202 in between starts the count anew
    assert subscription.disabled_until is not None
    assert subscription.disabled_until - pagerduty.clock.now() > timedelta(hours=23)
    opened(pagerduty, "while it is off")
    await events(pagerduty, receiver)
    assert len(receiver.received) == 6
    assert pagerduty.deliverer.log[-1].state == "dropped"


async def test_a_disabled_subscription_is_enabled_again_by_the_api(pagerduty: PagerDuty, receiver: Receiver) -> None:
    app = Starlette(routes=[Mount("/pagerduty", routes=routes(pagerduty))])
    headers = {"Authorization": f"Token token={API_TOKEN}"}
    async with serving(app) as base, aiohttp.ClientSession(headers=headers) as http:
        url = f"{base}/pagerduty/api/webhook_subscriptions"
        wanted = {
            "type": "webhook_subscription",
            "delivery_method": {"type": "http_delivery_method", "url": receiver.url},
            "events": ["incident.triggered"],
            "filter": {"type": "service_reference", "id": "PSRE001"},
        }
        async with http.post(url, json={"webhook_subscription": wanted}) as answer:
            made = (await answer.json())["webhook_subscription"]
        assert made["delivery_method"]["secret"]
        async with http.get(f"{url}/{made['id']}") as answer:
            assert (await answer.json())["webhook_subscription"]["delivery_method"]["secret"] is None
        receiver.answers = [410, 410, 410]
        for number in range(3):
            opened(pagerduty, f"key-{number}")
        await events(pagerduty, receiver)
        async with http.post(f"{url}/{made['id']}/enable") as answer:
            method = (await answer.json())["webhook_subscription"]["delivery_method"]
        assert method["temporarily_disabled"] is False
        opened(pagerduty, "again")
        assert (await events(pagerduty, receiver))[-1]["data"]["incident_key"] == "again"
        async with http.delete(f"{url}/{made['id']}") as answer:
            assert answer.status == 204
        assert pagerduty.subscriptions == {}


async def test_only_events_and_services_that_were_asked_for(pagerduty: PagerDuty, receiver: Receiver) -> None:
    pagerduty.subscribe(receiver.url, "secret", ["incident.resolved"], service="PSRE001")
    pagerduty.subscribe(receiver.url, "secret", ["incident.triggered"], service="PAI0001")
    await pagerduty.person("ana").resolve(opened(pagerduty))
    assert [event["event_type"] for event in await events(pagerduty, receiver)] == ["incident.resolved"]
