"""A year of the calendar at a clock moved by hand: each due thing once, over restarts and days of being down."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import func, select

from bot.domain.followup import FollowUpDraft
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import Person
from bot.store.calendar import BEGAN
from bot.store.tables import calendar
from bot.workflows.calendar import check_calendar
from demo.environment import DemoEnvironment, demo_environment
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.person import Person as Somebody
from sandbox.slack.state import Message
from tests.harness.hand_clock import HandClock
from tests.harness.scene import TEAM, words

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, 18, 0, tzinfo=UTC)  # noon in Mexico City
DAY = 24 * 3600.0
ANA = Person("U0ANA00001", "Ana Torres")


class Year:
    """A bot that is started and stopped while the time goes by."""

    def __init__(self, database_url: str, team: Path) -> None:
        self.clock = HandClock(START)
        self.sandbox = Sandbox(clock=self.clock)
        self._url, self._team = database_url, team

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[DemoEnvironment]:
        off: dict[str, Any] = dict.fromkeys(("prometheus_url", "aws_region", "aws_endpoint_url"))
        async with demo_environment(self.sandbox, self._url, team_dir=str(self._team), **off) as made:
            yield made

    def said(self) -> list[Message]:
        """What the bot has said in the incident channel."""
        return [one for one in self.sandbox.slack.channel(TEAM).messages.values() if one.bot_id]

    def told(self) -> list[Message]:
        """What of it the calendar has said: lines about incidents and runs are there, too."""
        keys = {one.ts: one.metadata["event_payload"]["key"] for one in self.said() if one.metadata}
        return [one for one in self.said() if keys.get(one.ts, "").startswith("calendar/")]

    async def days(self, made: DemoEnvironment, count: int) -> None:
        """Let days go by, looking at the calendar on each, and wait until all that is due is told."""
        for _ in range(count):
            self.clock.forward(DAY)
            await check_calendar(made.bot.deps)
        await self.all_told(made)

    async def all_told(self, made: DemoEnvironment) -> None:
        """Wait for the messages of all that was found due, by the test or by the bot itself."""
        async with made.bot.deps.store.database.read() as connection:
            kept = select(func.count()).select_from(calendar).where(calendar.c.key != BEGAN)
            due = (await connection.execute(kept)).scalar_one()
        await self.sandbox.slack.wait_for(lambda: len(self.told()) >= due, 30)

    def rotated(self) -> None:
        secret = self.sandbox.vault.secret("tamv-prod/auth")
        secret.versions[-1] = replace(secret.versions[-1], created=self.clock.now())


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """TAMV's team, with another calendar."""
    folder = tmp_path / "team"
    folder.mkdir()
    for name in ("runbooks", "manifests"):
        (folder / name).symlink_to(ROOT / "teams/tamv" / name)
    raw = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    raw["schedules"]["maintenance"]["rds"]["every"] = "13w"
    for secret in raw["secrets"].values():
        del secret["paths"]["staging"]
    (folder / "team.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), "utf-8")
    return folder


async def test_in_a_year_each_due_thing_is_told_once(tmp_path: Path, team: Path) -> None:
    year = Year(f"sqlite:///{tmp_path}/bot.db", team)
    async with year.running() as made:
        assert await check_calendar(made.bot.deps) == [], "the first day is quiet"
        await year.days(made, 31)
        year.rotated()  # on 1 February, so that it is due again on 3 March
    async with year.running() as made:
        await year.days(made, 57)
    year.clock.forward(3 * DAY)  # down from 30 March, a Monday on which a task is due, to 2 April
    async with year.running() as made:
        await check_calendar(made.bot.deps)
        await check_calendar(made.bot.deps)
        await year.days(made, 130)
    async with year.running() as made:
        await year.days(made, 144)
        assert await check_calendar(made.bot.deps) == []
    texts = [words(message).splitlines()[0] for message in year.told()]
    expected = {
        "La semana": 52,  # that of the Monday on which it was down is told late
        "Mantenimiento:": 5,
        "Revisar la salud": 13,
        "Toca simulacro": 8,  # not January's: it was due before the bot knew of it; the next January's is
        "rotar jwt-secret* (production)": 2,
        "rotar api-key* (production)": 1,
    }
    assert {sign: sum(sign in text for text in texts) for sign in expected} == expected
    assert len(texts) == sum(expected.values()), texts


async def test_told_late_after_the_answer_was_lost_and_the_bot_stopped(database_url: str, team: Path) -> None:
    """The message is in Slack, nobody wrote that down, and the bot is killed: the next one finds it."""
    year = Year(database_url, team)
    async with year.running() as made:
        await check_calendar(made.bot.deps)
        year.clock.forward(2 * DAY)
        year.sandbox.faults.add("slack", "drop_after", match="chat.postMessage", times=1)
        keys = await check_calendar(made.bot.deps)
        await year.sandbox.slack.wait_for(lambda: len(year.told()) >= 1, 20)
    async with year.running() as made:
        assert await check_calendar(made.bot.deps) == []
        async with deadline(20):
            await year.sandbox.slack.wait_for(lambda: len(year.told()) == len(keys), 20)
    assert len({words(message) for message in year.told()}) == len(year.told()) == len(keys) > 1


async def test_the_button_starts_the_runbook_once(tmp_path: Path, team: Path) -> None:
    year = Year(f"sqlite:///{tmp_path}/bot.db", team)
    async with year.running() as made:
        await check_calendar(made.bot.deps)
        await year.days(made, 2)
        (message,) = [one for one in year.told() if "rotar jwt-secret* (production)" in words(one)]
        for handle in ("ana", "bruno"):
            await Somebody(year.sandbox.slack, handle).press(message, "run_due")

        def begun() -> bool:
            return any("rotate-secrets" in words(one) and "R-" in words(one) for one in year.said())

        await year.sandbox.slack.wait_for(begun, 20)
        assert len(await made.bot.deps.store.runs.list_by_runbook("rotate-secrets")) == 1


async def test_the_digest_says_what_the_week_was(tmp_path: Path, team: Path) -> None:
    year = Year(f"sqlite:///{tmp_path}/bot.db", team)
    async with year.running() as made:
        store = made.bot.deps.store
        await check_calendar(made.bot.deps)
        year.clock.forward(DAY)
        at = year.clock.now()
        declaration = Declaration("Render lento", Severity.SEV3, by=ANA, at=at, service="xr-engine")
        incident, _ = await store.incidents.declare(
            lambda id: Incident.declare(id, declaration), at, idempotency_key="test"
        )
        await store.incidents.change(incident.id, lambda now: now.acknowledge(by=ANA, at=at + timedelta(minutes=7)))
        draft = FollowUpDraft("Alertar de la memoria", owner="SRETeam", due=(at + timedelta(days=1)).date())
        await store.followups.open(incident.id, draft, by=ANA, at=at, idempotency_key="f1")
        await year.days(made, 4)  # to Tuesday, 6 January
        (text,) = [words(one) for one in year.told() if "La semana" in words(one)]
    for sign in ("1 incidente", "SEV3 1", "7 min de media (objetivo: menos de 5 min ✗)", "Siguen abiertos:* 1",
                 "Tareas vencidas:* 1", "Alertar de la memoria", "Secretos por rotar:* 1"):  # fmt: skip
        assert sign in text, text
