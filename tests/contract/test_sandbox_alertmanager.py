"""The sandbox's Alertmanager does as a real one: the same alerts, the same calls, the same answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette

from sandbox.alertmanager.api import routes
from sandbox.alertmanager.backend import Alertmanager
from sandbox.alertmanager.state import Route
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.server import serving
from tests.contract.alertmanager_contract import Contract
from tests.harness.receiver import Receiver
from tests.real.alertmanager import alertmanager
from tests.real.parts import require

pytestmark = pytest.mark.real("alertmanager")
TOKEN = "am-secret"
ALERTS = [
    {
        "labels": {"alertname": "HighErrorRate", "service": "checkout", "severity": "critical", "instance": instance},
        "annotations": {"summary": summary, "html": "<b>&</b>"},
        "generatorURL": "http://prom/graph?g0.expr=x&g0.tab=1",
    }
    for instance, summary in (("b:80", "5xx 9%"), ("a:80", "5xx 12%"))
]


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with deadline(seconds):
        while not condition():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.02)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def receivers() -> AsyncIterator[tuple[Receiver, Receiver]]:
    async with Receiver().serving() as real, Receiver().serving() as ours:
        yield real, ours


@pytest.fixture
async def real(receivers: tuple[Receiver, Receiver]) -> AsyncIterator[str]:
    require("alertmanager")
    webhook = {
        "url": receivers[0].url,
        "send_resolved": True,
        "http_config": {"authorization": {"type": "Bearer", "credentials": TOKEN}},
    }
    route = {"receiver": "bot", "group_by": ["alertname", "service"], "repeat_interval": "1h"}
    config = {
        "route": {**route, "group_wait": "1s", "group_interval": "2s"},
        "receivers": [{"name": "bot", "webhook_configs": [webhook]}],
    }
    stack = alertmanager(config)
    url = await asyncio.to_thread(stack.__enter__)
    yield url
    await asyncio.to_thread(stack.__exit__, None, None, None)


@pytest.fixture
async def ours(receivers: tuple[Receiver, Receiver]) -> AsyncIterator[str]:
    route = Route("bot", ("alertname", "service"), timedelta(seconds=1), timedelta(seconds=2), timedelta(hours=1))
    backend = Alertmanager(Clock(), route, url=receivers[1].url, token=TOKEN)
    async with serving(Starlette(routes=routes(backend))) as url:
        yield url
    await backend.aclose()


def alike(body: Any) -> Any:
    """A body without what must differ: who sent it."""
    return {**body, "externalURL": ""}


async def test_both_call_with_the_same_body_and_retry_it_unchanged(
    http: aiohttp.ClientSession, receivers: tuple[Receiver, Receiver], real: str, ours: str
) -> None:
    start = datetime.now(UTC).replace(microsecond=250_000)
    for receiver in receivers:
        receiver.answers = [503, 503]
    for base in (real, ours):
        alerts = [{**alert, "startsAt": start.isoformat()} for alert in ALERTS]
        assert (await http.post(f"{base}/api/v2/alerts", json=alerts)).status == 200
    await until(lambda: min(len(receiver.received) for receiver in receivers) >= 3)
    for receiver in receivers:
        first = receiver.received[:3]
        assert len({each.body for each in first}) == 1, "a retry is the identical body"
        assert {each.headers["authorization"] for each in first} == {f"Bearer {TOKEN}"}
        assert {each.headers["content-type"] for each in first} == {"application/json"}
    theirs, own = (receiver.received[0] for receiver in receivers)
    assert alike(own.json) == alike(theirs.json)
    assert own.body.replace(b"https://alertmanager.tamv.world", theirs.json["externalURL"].encode()) == theirs.body

    end = (start + timedelta(microseconds=500_000)).isoformat()
    for base in (real, ours):
        alerts = [{**alert, "startsAt": start.isoformat(), "endsAt": end} for alert in ALERTS]
        assert (await http.post(f"{base}/api/v2/alerts", json=alerts)).status == 200
    await until(lambda: all(receiver.received[-1].json["status"] == "resolved" for receiver in receivers))
    theirs, own = (receiver.received[-1] for receiver in receivers)
    assert alike(own.json) == alike(theirs.json)
    assert {each["endsAt"] for each in own.json["alerts"]} == {each["endsAt"] for each in theirs.json["alerts"]}


async def test_both_answer_the_same_to_silences(http: aiohttp.ClientSession, real: str, ours: str) -> None:
    contract, now = Contract(), datetime.now(UTC)
    matchers = [{"name": "service", "value": "check.*", "isRegex": True, "isEqual": True}]
    good = {
        "matchers": matchers,
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "ana",
        "comment": "known",
    }
    contract.check_request("postableSilence", good)
    bad: list[dict[str, Any]] = [
        {"endsAt": (now - timedelta(hours=1)).isoformat()},
        {"matchers": []},
        {"matchers": [{"name": "a", "value": ".*", "isRegex": True}]},
        {"matchers": [{"name": "a", "value": "(", "isRegex": True}]},
        {"startsAt": (now + timedelta(hours=2)).isoformat()},
        {"startsAt": "tomorrow"},
        {"comment": None},
        {"matchers": [{"name": "", "value": "b", "isRegex": False}]},
        {"id": "0f3c4a52-9f6e-4b0e-9b57-1d6a4d0e4c11"},
        {"createdBy": 3},
    ]
    wrong_alerts: list[Any] = [
        [{"labels": {}}],
        [{}],
        {"labels": {"a": "b"}},
        [{"labels": {"a": 1}}],
        [{"labels": {"9a": "x"}}],
        [{"labels": {"a": ""}}],
    ]
    filters = ("no matcher", 'a=~"("')
    told: list[list[Any]] = []
    for base in (real, ours):
        seen: list[Any] = []
        for change in bad:
            seen.append((await http.post(f"{base}/api/v2/silences", json={**good, **change})).status)
        for body in wrong_alerts:
            seen.append((await http.post(f"{base}/api/v2/alerts", json=body)).status)
        for text in filters:
            seen.append((await http.get(f"{base}/api/v2/alerts", params={"filter": text})).status)
        made = await http.post(f"{base}/api/v2/silences", json=good)
        silence_id = (await made.json())["silenceID"]
        await http.post(f"{base}/api/v2/alerts", json=ALERTS)

        async def state(base: str = base) -> list[str]:
            alerts = await (await http.get(f"{base}/api/v2/alerts")).json()
            return sorted({each["status"]["state"] for each in alerts})

        async with deadline(20):
            while await state() != ["suppressed"]:  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.05)
        alerts = await (await http.get(f"{base}/api/v2/alerts", params={"filter": 'instance="a:80"'})).json()
        assert alerts[0]["status"]["silencedBy"] == [silence_id]
        seen += [alerts[0]["fingerprint"], alerts[0]["labels"], alerts[0]["annotations"], alerts[0]["receivers"]]
        silences = await (await http.get(f"{base}/api/v2/silences")).json()
        seen += [silences[0]["status"], silences[0]["matchers"], silences[0]["createdBy"], silences[0]["comment"]]
        ended = await http.delete(f"{base}/api/v2/silence/{silence_id}")
        gone = await (await http.get(f"{base}/api/v2/silence/{silence_id}")).json()
        unknown = await http.get(f"{base}/api/v2/silence/0f3c4a52-9f6e-4b0e-9b57-1d6a4d0e4c11")
        seen += [made.status, ended.status, gone["status"], unknown.status]
        told.append(json.loads(json.dumps(seen)))
    assert told[1] == told[0]
