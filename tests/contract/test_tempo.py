"""The bot's Tempo client, and `tempo.search`, against the sandbox over HTTP, also when it fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from bot.domain.errors import BadInput, NotConfigured, Refused, Unavailable
from bot.integrations.tempo import Tempo, Trace, slower_than
from bot.messages.results import result_sentence
from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.world.deployments import Fault
from tests.harness.actor import Actor, parts

HOUR = timedelta(hours=1)


@dataclass
class World:
    sandbox: Sandbox
    url: str
    client: Tempo
    since: datetime  # it was quick before

    async def slow(self, query: str | None = None, limit: int = 10) -> list[Trace]:
        now = self.sandbox.clock.now()
        return await self.client.search(
            slower_than("xr-engine", 500) if query is None else query, now - HOUR, now, limit
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """xr-engine has been six times slower than it should be for ten minutes, at least."""
    sandbox = Sandbox(clock=Clock())
    since = sandbox.clock.now()
    sandbox.world.inject("xr-engine", "outside", Fault(latency=6.0))
    sandbox.clock.speed = 20_000
    await sandbox.clock.sleep(600)
    sandbox.clock.speed = 1
    async with sandbox.serving() as url, Tempo(f"{url}/tempo", timeout=5) as client:
        yield World(sandbox, f"{url}/tempo", client, since)


async def test_the_slowest_come_first_and_are_of_the_service(world: World) -> None:
    found = await world.slow()
    durations = [trace.milliseconds for trace in found]
    assert len(found) == 10 and durations == sorted(durations, reverse=True) and min(durations) >= 500
    assert {trace.service for trace in found} == {"xr-engine"} and {len(trace.id) for trace in found} == {32}
    assert sum(trace.began >= world.since - timedelta(minutes=1) for trace in found) >= 9
    assert await world.slow() == found
    assert await world.slow(slower_than("tenochtitlan-security", 1000)) == []


async def test_a_trace_is_there_by_its_id(world: World) -> None:
    (found,) = await world.slow(limit=1)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{world.url}/api/traces/{found.id}") as answer:
            (batch,) = (await answer.json())["batches"]
        async with http.get(f"{world.url}/api/traces/{'0' * 32}") as missing:
            assert missing.status == 404
    (span,) = batch["scopeSpans"][0]["spans"]
    took = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e6
    assert span["traceId"] == found.id and int(took) == found.milliseconds


def test_a_name_cannot_widen_the_query() -> None:
    assert slower_than("xr-engine", 500) == '{ resource.service.name = "xr-engine" && duration > 500ms }'
    assert slower_than('x" || true || "', 5).count('"') - slower_than('x" || true || "', 5).count('\\"') == 2


@pytest.mark.parametrize(
    "query",
    ['{service_name="xr-engine"} | duration > 500ms', "{ duration > 500 }", "{ name = 5ms }", "{", "", "{ a b }",
     '{ resource.service.name = "x" duration > 5ms }'],
)  # fmt: skip
async def test_what_is_no_traceql_is_refused_in_tempos_words(world: World, query: str) -> None:
    with pytest.raises(Refused) as wrong:
        await world.slow(query)
    assert wrong.value.facts["status"] == 400 and "TraceQL" in str(wrong.value.facts["why"])


@pytest.mark.parametrize(
    ("query", "some"),
    [
        ("{}", True),
        ('{ resource.service.name != "xr-engine" }', True),
        ('{ name = "GET /api/v1/scene" && .service.name = "xr-engine" }', True),
        ("{ traceDuration > 1h }", False),
        ("{ status = error }", False),
    ],
)
async def test_the_conditions_of_traceql(world: World, query: str, some: bool) -> None:
    found = await world.slow(query)
    assert bool(found) == some
    assert not any(trace.service == "xr-engine" for trace in found if "!=" in query)


async def test_when_tempo_fails(world: World) -> None:
    faults = world.sandbox.faults
    for kind, status in (("status", 503), ("ratelimit", None), ("drop_before", None), ("nonsense", None)):
        faults.add("tempo", kind, status=status, times=None)  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await world.slow()
        faults.clear()
    for body in ("[]", '{"traces": [1]}', '{"traces": [{"traceID": "zz", "startTimeUnixNano": "1"}]}', '{"traces": 5}'):
        faults.add("tempo", "nonsense", body=body)
        with pytest.raises(Unavailable):
            await world.slow()
    async with Tempo(world.url, timeout=0.3) as hasty:
        faults.add("tempo", "hang")
        now = world.sandbox.clock.now()
        with pytest.raises(Unavailable):
            await hasty.search("{}", now - HOUR, now, 1)
    with pytest.raises(Unavailable):
        await Tempo(world.url).search("{}", now - HOUR, now, 1)


async def test_the_action_gives_links_to_grafana(world: World, tmp_path: Path) -> None:
    made = parts(tmp_path, world.sandbox.clock, tempo=world.client, grafana_url="https://grafana.tamv.world/")
    actor = Actor(made)
    effects, _ = await actor.rehearse("tempo.search", service="xr-engine")
    found = await actor.perform("tempo.search", service="xr-engine")
    assert effects == [] and len(found.traces) == 5
    link = urlsplit(found.traces[0].link)
    pane = json.loads(parse_qs(link.query)["panes"][0])["a"]
    assert (link.netloc, link.path) == ("grafana.tamv.world", "/explore")
    assert pane["queries"][0]["query"] == found.traces[0].id
    said = result_sentence("tempo.search", {"slower_than": 500, "link": found.link, "traces": [
        {"milliseconds": 900, "name": "GET <x>", "link": found.traces[0].link}]}, made.words)  # fmt: skip
    assert "900 ms" in said and "GET &lt;x&gt;" in said


async def test_without_tempo_grafana_is_where_to_look(tmp_path: Path) -> None:
    made = parts(tmp_path, Clock(), grafana_url="https://grafana.tamv.world")
    found = await Actor(made).perform("tempo.search", service="xr-engine", slower_than_ms=800)
    pane = json.loads(parse_qs(urlsplit(found.link).query)["panes"][0])["a"]
    assert pane["queries"][0]["query"] == '{ resource.service.name = "xr-engine" && duration > 800ms }'
    assert found.traces == []
    with pytest.raises(NotConfigured):
        await Actor(replace(made, grafana_url=None)).perform("tempo.search")
    with pytest.raises(BadInput):
        await Actor(made).perform("tempo.search", service="nobody")
