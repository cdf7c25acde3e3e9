"""Real Prometheus scrapes the sandbox's world, real Alertmanager calls the bot: one incident comes to its report.

Nothing is told to the bot but by signed requests and by Alertmanager; its figures come from the real Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.routing import Mount

from bot.domain.timeline import Kind
from demo.environment import DemoEnvironment, demo_environment
from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from sandbox.clock import Clock
from sandbox.server import Sandbox, serving
from sandbox.slack.person import Person
from sandbox.slack.state import Channel, Message
from sandbox.world.api import routes as world_routes
from sandbox.world.scenario import load_scenario
from tests.real.alertmanager import alertmanager
from tests.real.parts import require
from tests.real.past import past
from tests.real.prometheus import prometheus
from tests.real.unreliable_road import UnreliableRoad

DEPLOY = Path(__file__).parents[2] / "deploy"
SLOW_SINCE = timedelta(minutes=8)  # the pods of before have been gone for longer than Prometheus looks back
SOON = 20.0


@dataclass(frozen=True)
class Observed:
    stage: DemoEnvironment
    road: UnreliableRoad

    async def shown(self, what: Callable[[], Any], seconds: float = SOON) -> Any:
        return await self.stage.sandbox.slack.wait_for(what, seconds)

    async def said(self, channel: Channel, words: str, seconds: float = SOON) -> Message:
        """The message with these words, when everybody in the channel sees it."""
        found: Message = await self.shown(
            lambda: next((one for one in channel.messages.values() if words in one.all_text()), None), seconds
        )
        return found


@pytest.fixture
async def observed(tmp_path: Path) -> AsyncIterator[Observed]:
    require("prometheus")
    require("alertmanager")
    sandbox = await _slow_for_a_while()
    road = UnreliableRoad(losses=2, bot_url=asyncio.get_running_loop().create_future())
    front = Starlette(routes=[Mount("/world", routes=world_routes(sandbox.world)), road.route()])
    async with serving(front) as url, contextlib.AsyncExitStack() as stack:

        async def start(program: contextlib.AbstractContextManager[str]) -> str:
            base = await asyncio.to_thread(program.__enter__)
            stack.callback(program.__exit__, None, None, None)
            return base

        alerting = await start(alertmanager(_alertmanager_config(url)))
        scraped = url.removeprefix("http://")
        history = past(sandbox.world.tsdb, {"job": "world", "instance": scraped})
        real = await start(prometheus(_prometheus_config(scraped, alerting, tmp_path), openmetrics=history))
        stage = await stack.enter_async_context(
            demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", prometheus_url=real, alertmanager_url=alerting)
        )
        sandbox.alertmanager.url = None  # the real one tells the bot
        road.bot_url.set_result(stage.url)
        yield Observed(stage, road)


async def _slow_for_a_while() -> Sandbox:
    """A sandbox whose clock has come to the real time, with an xr-engine that has been slow for some minutes."""
    clock = Clock(datetime.now(UTC) - SLOW_SINCE)
    sandbox = Sandbox(clock=clock)
    sandbox.world.play(load_scenario("render-latency"))
    clock.speed = SLOW_SINCE.total_seconds()
    while (behind := (datetime.now(UTC) - clock.now()).total_seconds()) > 0:  # noqa: ASYNC110 - time is no event
        await asyncio.sleep(behind / clock.speed)
    clock.speed = 1
    sandbox.world.advance()
    return sandbox


def _alertmanager_config(url: str) -> dict[str, Any]:
    """The one of deploy/, told where the bot is, and in a hurry."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yaml").read_text("utf-8"))
    config["route"] |= {"group_wait": "1s", "group_interval": "2s"}
    (webhook,) = config["receivers"][0]["webhook_configs"]
    webhook["url"] = f"{url}/webhooks/alertmanager"
    webhook["http_config"]["authorization"] = {"type": "Bearer", "credentials": WEBHOOK_TOKEN}
    return config


def _prometheus_config(scraped: str, alertmanager_url: str, folder: Path) -> dict[str, Any]:
    """The world under the rules of deploy/, which need not hold for minutes here."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "tamv.rules.yaml").read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = "1s"
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file)],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager_url.removeprefix("http://")]}]}],
        },
        "scrape_configs": [
            {
                "job_name": "world",
                "honor_labels": True,
                "metrics_path": "/world/metrics",
                "static_configs": [{"targets": [scraped]}],
            }
        ],
    }


@pytest.mark.real("prometheus")
@pytest.mark.real("alertmanager")
async def test_from_the_real_alert_to_the_report(observed: Observed) -> None:
    stage, slack = observed.stage, observed.stage.sandbox.slack
    store, ana, bruno = stage.bot.deps.store, Person(slack, "ana"), Person(slack, "bruno")

    await observed.said(slack.channel("tamv-incidents"), "INC-")
    (incident,) = await store.incidents.recent()
    opened = incident.id.lower()
    channel: Channel = await observed.shown(
        lambda: next((one for one in slack.channels.values() if one.name.startswith(opened)), None)
    )
    await observed.shown(lambda: {ana.id, bruno.id} <= set(channel.members))
    await observed.shown(lambda: _charts(channel) == 4)
    stage.sandbox.world.perform("fix")
    for person, typed, shown in (
        (ana, "ack", "👀"),
        (bruno, "impact users=1200", "💥"),
        (bruno, 'cause primary="Función experimental"', "🔎"),
        (ana, "mitigate", "🩹"),
    ):
        await person.run(f"/incident {typed}", channel.name)
        await observed.said(channel, shown)
    await observed.shown(lambda: _charts(channel) == 8)
    await ana.run("/incident resolve", channel.name)
    names: list[str] = await observed.shown(lambda: _reports(slack.files, channel), 2 * SOON)
    assert names == [f"{incident.id}.md", f"{incident.id}.html"]

    (first, *_), (bodies, statuses) = observed.road.deliveries, zip(*observed.road.deliveries, strict=True)
    assert statuses[:3] == (503, 503, 202)
    assert set(statuses[2:]) == {202}
    assert len(set(bodies[:3])) == 1
    assert json.loads(first[0])["groupLabels"] == {"service": "xr-engine"}
    (incident,) = await store.incidents.recent()
    assert (incident.service, incident.source) == ("xr-engine", "alertmanager")

    document = await store.documents.read(incident.id, f"{incident.id}.md")
    assert document
    report = document.content.decode()
    drawn = [name for name in await store.documents.names(incident.id) if name.startswith("charts/")]
    assert len(drawn) == 12  # when it was declared, mitigated and resolved
    assert all(name in report for name in drawn if name.startswith("charts/resolved-"))
    told = [event.kind for event in await store.incidents.timeline(incident.id)]
    assert Kind.TROUBLE not in told
    assert told.count(Kind.DECLARED) == 1


def _charts(channel: Channel) -> int:
    return sum(len(message.files) for message in channel.messages.values() if len(message.files) == 4)


def _reports(files: Any, channel: Channel) -> list[str] | None:
    """The names of the report's files when both are in the channel."""
    names = [files[id].name for message in channel.messages.values() for id in message.files]
    reports = [name for name in names if name.endswith((".md", ".html"))]
    return reports if len(reports) == 2 else None
