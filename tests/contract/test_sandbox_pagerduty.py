"""The sandbox's PagerDuty, held against recorded webhooks, PagerDuty's own signature, and its own client."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.pagerduty import shapes
from sandbox.pagerduty.api import routes
from sandbox.pagerduty.backend import PagerDuty, signature
from sandbox.pagerduty.state import API_TOKEN, BOT, USER_TOKEN
from sandbox.server import serving
from tests.contract.webapi import CONTRACTS
from tests.harness.receiver import Receiver

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pdpyras

RECORDED = CONTRACTS / "pagerduty" / "v3_zulip"
VECTOR = CONTRACTS / "pagerduty" / "signature_vector.json"
KINDS = ("triggered", "acknowledged", "annotated", "priority_updated", "resolved")
needs_recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"{RECORDED} is missing: set CONTRACTS_DIR")


@pytest.fixture
async def pagerduty() -> AsyncIterator[PagerDuty]:
    backend = PagerDuty(load_company(), Clock())
    yield backend
    await backend.aclose()


@pytest.fixture
async def base(pagerduty: PagerDuty) -> AsyncIterator[str]:
    async with serving(Starlette(routes=[Mount("/pagerduty", routes=routes(pagerduty))])) as base:
        yield f"{base}/pagerduty"


def api(base: str, token: str = API_TOKEN) -> Any:
    session = pdpyras.APISession(token, default_from=BOT.email)
    session.url = f"{base}/api"
    return session


@needs_recorded
@pytest.mark.parametrize("kind", KINDS)
async def test_webhooks_have_what_recorded_ones_have(pagerduty: PagerDuty, kind: str) -> None:
    async with Receiver().serving() as receiver:
        pagerduty.subscribe(receiver.url, "secret")
        service = pagerduty.services["PSRE001"]
        agent = shapes.integration_reference(pagerduty, service)
        incident = pagerduty.open(service, "INC-2026-0001", "slow", agent)
        ana = pagerduty.person("ana")
        await ana.acknowledge(incident)
        await ana.note(incident, "looking")
        await ana.set_priority(incident, "P1")
        await ana.resolve(incident)
        async with deadline(5):
            await pagerduty.deliverer.idle()
    events = [received.json["event"] for received in receiver.received]
    ours = next(event for event in events if event["event_type"] == f"incident.{kind}")
    recorded = json.loads((RECORDED / f"{kind}_v3.json").read_text(encoding="utf-8"))["event"]
    assert lacking(recorded, ours) == []
    ours["data"].pop("id")
    assert lacking(recorded, ours) == ["event.data.id"]


def lacking(recorded: Any, ours: Any, path: str = "event") -> list[str]:
    """Paths of what the recorded event has and ours has not, or has as another type."""
    if isinstance(recorded, dict):
        if not isinstance(ours, dict):
            return [path]
        return [
            lack
            for key, value in recorded.items()
            for lack in (lacking(value, ours[key], f"{path}.{key}") if key in ours else [f"{path}.{key}"])
        ]
    if recorded is None or isinstance(ours, type(recorded)):
        return []
    return [path]


@pytest.mark.skipif(not VECTOR.exists(), reason=f"{VECTOR} is missing: set CONTRACTS_DIR")
def test_the_signature_is_pagerdutys_own() -> None:
    vector = json.loads(VECTOR.read_text(encoding="utf-8"))
    assert signature(vector["body"].encode(), [vector["secret"]]) == vector["signature"]


async def test_pagerdutys_client_pages(pagerduty: PagerDuty, base: str) -> None:
    events = pdpyras.EventsAPISession(pagerduty.routing_key("PSRE001"))
    events.url = f"{base}/events"
    key = await asyncio.to_thread(events.trigger, "slow", "xr-engine", severity="critical")
    assert await asyncio.to_thread(events.acknowledge, key) == key
    assert await asyncio.to_thread(events.resolve, key) == key
    assert pagerduty.incident(key).status == "resolved"


async def test_pagerdutys_client_reads_and_writes(pagerduty: PagerDuty, base: str) -> None:
    service = pagerduty.services["PSRE001"]
    agent = shapes.integration_reference(pagerduty, service)
    for number in range(30):
        pagerduty.open(service, f"key-{number}", "slow", agent)

    def work() -> None:
        rest = api(base)
        assert len(list(rest.iter_all("incidents", page_size=7))) == 30  # by pages, to the last of them
        incident = rest.rget("incidents", params={"incident_key": "key-3"})[0]
        note = rest.rpost(f"incidents/{incident['id']}/notes", json={"content": "looking"})
        assert note["content"] == "looking"
        incident["status"] = "acknowledged"
        assert rest.rput(f"incidents/{incident['id']}", json=incident)["status"] == "acknowledged"
        many = [{"id": one["id"], "type": "incident", "status": "resolved"} for one in rest.rget("incidents")]
        assert {one["status"] for one in rest.rput("incidents", json=many)} == {"resolved"}
        assert rest.find("users", "ana@tamv.world", attribute="email")["name"] == "Ana Torres"
        assert rest.find("services", "equipo-sre-tamv")["id"] == "PSRE001"
        assert {one["escalation_level"] for one in rest.list_all("oncalls")} == {1, 2}
        assert rest.api_key_access == "account"
        assert api(base, USER_TOKEN).api_key_access == "user"
        with pytest.raises(pdpyras.PDHTTPError) as refused:
            rest.rget("incidents/QNOBODY")
        assert refused.value.response.status_code == 404

    await asyncio.to_thread(work)


async def test_pagerdutys_client_manages_webhook_subscriptions(pagerduty: PagerDuty, base: str) -> None:
    def work() -> str:
        rest = api(base)
        made = rest.rpost(
            "webhook_subscriptions",
            json={
                "type": "webhook_subscription",
                "delivery_method": {"type": "http_delivery_method", "url": "http://127.0.0.1:9/"},
                "events": ["incident.triggered"],
                "filter": {"type": "account_reference"},
            },
        )
        assert rest.rget(f"webhook_subscriptions/{made['id']}")["active"] is True
        assert len(rest.list_all("webhook_subscriptions")) == 1
        return str(made["id"])

    made = await asyncio.to_thread(work)
    pagerduty.subscriptions[made].disabled_until = pagerduty.clock.now() + timedelta(hours=1)
    await asyncio.to_thread(lambda: api(base).rdelete(f"webhook_subscriptions/{made}"))
    assert pagerduty.subscriptions == {}
