"""`/metrics` and `/readyz`, as Prometheus and Kubernetes see them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.metrics import CONTENT_TYPE, Metrics
from demo.environment import DemoEnvironment, demo_environment
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.real.parts import installed, require

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[DemoEnvironment]:
    async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/bot.db", locale="en") as made:
        yield made


async def get(stage: DemoEnvironment, path: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{stage.url}{path}") as answer:
        return answer.status, await answer.text(), answer.headers["content-type"]


async def figures(stage: DemoEnvironment) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """The samples by name."""
    _, text, _ = await get(stage, "/metrics")
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def value(stage: DemoEnvironment, name: str, **labels: str) -> float:
    """The sum of the samples with these labels."""
    return sum(value for its, value in (await figures(stage)).get(name, ()) if labels.items() <= its.items())


async def until(stage: DemoEnvironment, wanted: float, name: str, **labels: str) -> None:
    async with deadline(20):
        while await value(stage, name, **labels) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_it_counts_what_happens(stage: DemoEnvironment) -> None:
    ana = Person(stage.sandbox.slack, "ana")
    await ana.run("/incident declare Render lento sev=SEV2 service=xr-engine")
    await until(stage, 1, "tamv_bot_incidents", status="declared", severity="SEV2")
    await until(stage, 0, "tamv_bot_outbox")
    await until(stage, 0, "tamv_bot_deliveries_waiting")
    # The command, and the people who join the incident's channel.
    assert await value(stage, "tamv_bot_deliveries_total", source="slack", outcome="accepted") >= 1
    assert await value(stage, "tamv_bot_ack_seconds_count") == 1
    assert await value(stage, "tamv_bot_ack_seconds_bucket", le="3.0") == 1
    await until(stage, 1, "tamv_bot_slack_calls_total", method="conversations.create", outcome="ok")
    await until(stage, 1, "tamv_bot_workflows_total", workflow="declare", outcome="ok")
    assert await value(stage, "tamv_bot_engine_runs") == 1
    assert await value(stage, "tamv_bot_database_up") == 1


async def test_it_counts_what_was_accepted_and_then_failed_by_a_fault_of_ours(stage: DemoEnvironment) -> None:
    assert await value(stage, "tamv_bot_deliveries_total", outcome="failed") == 0
    stage.bot.alerts = Broken()  # type: ignore[assignment]
    body = notification(alert("f1"))
    async with aiohttp.ClientSession() as http:
        answer = await http.post(f"{stage.url}{PATH}", data=body, headers=BEARER)
        assert answer.status == 202
    await until(stage, 1, "tamv_bot_deliveries_total", source="alertmanager", outcome="failed")


class Broken:
    """A service with a fault."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("a fault of ours")


async def test_it_counts_what_fails(stage: DemoEnvironment) -> None:
    stage.sandbox.faults.add("slack", "status", "conversations.create", status=500, times=1)
    stage.sandbox.faults.add("slack", "error", "conversations.setTopic", error="too_long", times=2)
    await Person(stage.sandbox.slack, "ana").run("/incident declare Render lento sev=SEV4")
    await until(stage, 1, "tamv_bot_slack_calls_total", method="conversations.create", outcome="slack_unreachable")
    await until(stage, 1, "tamv_bot_slack_calls_total", method="conversations.create", outcome="ok")
    await until(stage, 1, "tamv_bot_step_waits_total", workflow="declare", step="channel")
    await until(stage, 1, "tamv_bot_step_failures_total", workflow="declare", step="topic", error="slack_refused")
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await session.post(f"{stage.url}/webhooks/alertmanager", headers={"Authorization": "Bearer wrong"})
    assert await value(stage, "tamv_bot_webhooks_total", source="alertmanager", status="401") == 2


async def test_promtool_finds_nothing_to_say_about_it(stage: DemoEnvironment) -> None:
    require("prometheus")
    await Person(stage.sandbox.slack, "ana").run("/incident declare Render lento sev=SEV4")
    await until(stage, 1, "tamv_bot_incidents", severity="SEV4")
    status, text, content_type = await get(stage, "/metrics")
    assert (status, content_type) == (200, CONTENT_TYPE)
    checked = subprocess.run(
        [installed("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_figure_is_documented_and_nothing_else() -> None:
    made = {
        name
        for name in re.findall(r"^# TYPE (\w+)", Metrics().text().decode(), re.MULTILINE)
        if name[-8:] != "_created"
    }
    table = (ROOT / "docs/operating.md").read_text("utf-8").split("### Its own figures")[1].split("\n##")[0]
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == made


async def test_readiness_is_told_in_time_when_slack_hangs(tmp_path: Path) -> None:
    sandbox = Sandbox()
    sandbox.faults.add("slack", "hang", "auth.test", times=None)
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db") as stage:
        async with deadline(4):
            status, said, _ = await get(stage, "/readyz")
        assert status == 503 and '"slack":"timed_out"' in said and '"database":"ok"' in said
        assert (await get(stage, "/healthz"))[0] == 200


async def ready(stage: DemoEnvironment) -> tuple[int, dict[str, str]]:
    status, said, _ = await get(stage, "/readyz")
    return status, json.loads(said)


async def test_a_process_that_can_do_its_job_is_ready(stage: DemoEnvironment) -> None:
    async def leads() -> bool:
        return (await ready(stage))[1]["engine"] == "runs"

    async with deadline(20):
        while not await leads():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await ready(stage) == (200, {"database": "ok", "slack": "ok", "engine": "runs"})
    for check in ("database", "slack", "engine"):
        assert await value(stage, "tamv_bot_ready", check=check) == 1


async def test_a_token_that_slack_refuses_now_makes_it_not_ready(tmp_path: Path) -> None:
    sandbox = Sandbox()
    sandbox.faults.add("slack", "error", "auth.test", error="token_revoked", times=None)
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db") as stage:
        status, said = await ready(stage)
        assert (status, said["slack"]) == (503, "slack_blocked: token_revoked")
        asked = len(sandbox.slack.calls_of("auth.test"))
        for _ in range(5):
            await ready(stage)
        assert len(sandbox.slack.calls_of("auth.test")) == asked  # at most every 30 s
        assert await value(stage, "tamv_bot_ready", check="slack") == 0


async def test_a_database_that_answers_and_takes_nothing_makes_it_not_ready(
    stage: DemoEnvironment, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "bot.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with deadline(20):
            while (await ready(stage))[1]["database"] == "ok":  # noqa: ASYNC110 - the last answer holds for a moment
                await asyncio.sleep(0.2)
        assert (await ready(stage))[0] == 503
        other.execute("ROLLBACK")


@pytest.mark.real("postgresql")
async def test_a_database_that_is_read_only_makes_it_not_ready(postgresql_url: str) -> None:
    async with demo_environment(Sandbox(), postgresql_url) as stage:
        name = postgresql_url.rpartition("/")[2]
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
            connection.execute(
                b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                b"WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'tamv-bot/%'"
            )
        async with deadline(20):
            while "ReadOnly" not in str(await ready(stage)) and "Internal" not in str(await ready(stage)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert (await ready(stage))[0] == 503
