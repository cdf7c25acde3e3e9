"""Real Alertmanagers: two with equal group keys, another grouping, a limit, a silence, an inhibition."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from tests.harness.scene import Scene
from tests.real.alertmanager import alertmanager
from tests.real.parts import require

pytestmark = pytest.mark.real("alertmanager")
STARTED = datetime.now(UTC) - timedelta(minutes=3)


@contextlib.asynccontextmanager
async def running(stage: Scene, *group_by: str, max_alerts: int = 0, **config: Any) -> AsyncIterator[str]:
    """An Alertmanager that calls the bot."""
    require("alertmanager")
    webhook = {
        "url": f"{stage.url}/webhooks/alertmanager",
        "max_alerts": max_alerts,
        "http_config": {"authorization": {"type": "Bearer", "credentials": WEBHOOK_TOKEN}},
    }
    route = {"receiver": "bot", "group_by": list(group_by), "group_wait": "1s", "group_interval": "1s"}
    program = alertmanager({"route": route, "receivers": [{"name": "bot", "webhook_configs": [webhook]}], **config})
    url = await asyncio.to_thread(program.__enter__)
    try:
        yield url
    finally:
        await asyncio.to_thread(program.__exit__, None, None, None)


async def post(url: str, path: str, body: Any) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v2{path}", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def fire(url: str, *pods: str, ended: bool = False, **labels: str) -> None:
    now = datetime.now(UTC)
    times = {"startsAt": STARTED.isoformat(), "endsAt": (now + timedelta(seconds=0 if ended else 600)).isoformat()}
    common = {"alertname": "HighLatency", "service": "xr-engine", "severity": "warning"} | labels
    await post(url, "/alerts", [{"labels": common | {"pod": pod}, **times} for pod in pods])


async def firing(stage: Scene, id: str, count: int) -> None:
    async def reached() -> bool:
        return await stage.bot.deps.store.alerts.count_firing(id) == count

    await stage.until(reached, 20)


async def test_two_alertmanagers_with_equal_group_keys_end_their_own_alerts_only(stage: Scene) -> None:
    async with running(stage, "alertname") as eu, running(stage, "alertname") as us:
        await fire(eu, "xr-1", region="eu")
        channel = await stage.opened()
        incident = await stage.record(channel)
        await fire(us, "xr-1", region="us")
        await firing(stage, incident.id, 2)
        await fire(us, "xr-1", region="us", ended=True)
        await firing(stage, incident.id, 1)
        assert not [text for text in stage.own(channel) if "Ninguna alerta" in text]
        await fire(eu, "xr-1", region="eu", ended=True)
        await stage.told(channel, "Ninguna alerta de HighLatency", seconds=20)
    assert await stage.bot.deps.store.incidents.count() == 1


async def test_another_grouping_opens_no_other_incidents(stage: Scene) -> None:
    pods = [f"xr-{n}" for n in range(5)]
    async with running(stage, "service") as before:
        await fire(before, *pods)
        incident = await stage.record(await stage.opened())
        await firing(stage, incident.id, 5)
    async with running(stage, "pod") as after:
        await fire(after, *pods)
        await asyncio.sleep(4)
        await fire(after, *pods, ended=True)
        await firing(stage, incident.id, 0)
    assert await stage.bot.deps.store.incidents.count() == 1


async def test_silenced_inhibited_or_beyond_the_limit_is_not_over(stage: Scene) -> None:
    inhibit = {
        "source_matchers": ['severity="critical"'],
        "target_matchers": ['severity="warning"'],
        "equal": ["service"],
    }
    async with running(stage, "service", max_alerts=3, inhibit_rules=[inhibit]) as url:
        await fire(url, "xr-1", "xr-2")
        channel = await stage.opened()
        incident = await stage.record(channel)
        await firing(stage, incident.id, 2)
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": "pod", "value": "xr-1", "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "ana",
            "comment": "x",
        }
        await post(url, "/silences", silence)
        await fire(url, "xr-2", ended=True)
        await firing(stage, incident.id, 1)
        await fire(url, "xr-9", alertname="Down", severity="critical")  # inhibits what is left
        await firing(stage, incident.id, 2)
        await fire(url, *(f"more-{n}" for n in range(9)), alertname="Down", severity="critical")

        async def cut_off() -> bool:
            return await stage.bot.deps.store.alerts.count_firing(incident.id) >= 10

        await stage.until(cut_off, 20)
        assert not [text for text in stage.own(channel) if "Ninguna alerta" in text]
    assert await stage.bot.deps.store.incidents.count() == 1
