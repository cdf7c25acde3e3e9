"""Alerts that look ahead, from Prometheus to the channel: told once, edited to their end, silenced where they fail."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from bot.domain.errors import BadInput
from bot.domain.forecast import Forecast, NotEnough, Outcome, Prediction
from bot.domain.incident import Severity
from bot.domain.people import Person
from bot.store.forecasts import Forecasts
from bot.team import load_team
from bot.workflows.forecasts import look_ahead
from demo.environment import DemoEnvironment, demo_environment
from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.slack.person import Person as Somebody
from sandbox.slack.state import Message
from tests.harness.scene import TEAM, words

ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 4, 12, 1, tzinfo=UTC)
FAST = 240.0  # a step of five minutes is more than a second
MINUTE = 60_000
ANA = Person("U0ANA00001", "Ana Torres")
PREDICTION = Prediction(
    "xr-engine/disk/20260304T1200Z", "xr-engine", "disk", START, 0.95, START + timedelta(minutes=30), START, told=True
)


def team(folder: Path, metric: str) -> Path:
    """TAMV's team, which looks ahead at one metric of one service."""
    raw = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    raw["queries"]["disk"] = {"title": "Disco", "promql": metric, "unit": "%", "threshold": 90}
    raw["boards"]["render"]["queries"] = ["disk", "request_rate"]
    raw["forecasts"] = {"services": ["xr-engine"]}
    made = folder / "team"
    made.mkdir()
    for name in ("runbooks", "manifests"):
        (made / name).symlink_to(ROOT / "teams/tamv" / name)
    (made / "team.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), "utf-8")
    return made


class Stage:
    """A bot beside a Prometheus that has a week of a disk's use, and what will come of it."""

    def __init__(self, folder: Path, *, turns: bool = False, speed: float = FAST) -> None:
        self.sandbox = Sandbox(clock=Clock(START, speed))
        self._folder = folder
        now = int(START.timestamp() * 1000)
        times = np.arange(now - 8 * 24 * 60 * MINUTE, now + 180 * MINUTE, MINUTE)
        minutes = (times - now) / MINUTE
        values = 50 + np.random.default_rng(1).normal(0, 0.5, len(times))
        values += np.where(minutes > -40, np.minimum((minutes + 40) * 0.65, 28 if turns else 48), 0)
        self.sandbox.world.tsdb.series("disk_used", {"instance": "xr"}).extend(times, values)

    @contextlib.asynccontextmanager
    async def running(self, locale: str = "es", metric: str = "disk_used") -> AsyncIterator[DemoEnvironment]:
        database = f"sqlite:///{self._folder}/bot.db"
        team_dir = str(team(self._folder, metric))
        async with demo_environment(self.sandbox, database, locale=locale, team_dir=team_dir) as made:
            yield made

    def told(self) -> list[Message]:
        messages = self.sandbox.slack.channel(TEAM).messages.values()
        return [one for one in messages if "🔮" in words(one)]


@pytest.mark.parametrize(
    ("locale", "first", "last"),
    [("es", "es probable que esté por encima de 90 %", "Se cumplió"), ("en", "will probably be above 90 %", "It came")],
)
async def test_what_will_be_crossed_is_told_before_and_edited_when_it_came(
    tmp_path: Path, locale: str, first: str, last: str
) -> None:
    stage = Stage(tmp_path)
    async with stage.running(locale) as made:
        await stage.sandbox.slack.wait_for(lambda: bool(stage.told()), 120)
        (message,) = stage.told()
        assert first in words(message)
        told_at = stage.sandbox.clock.now()
        await stage.sandbox.slack.wait_for(lambda: last in words(stage.told()[0]), 60)
        assert len(stage.told()) == 1
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert (kept.outcome, kept.told) == (Outcome.CAME, True)
        assert kept.came_at is not None
        assert kept.came_at > told_at
        assert abs(kept.came_at - kept.crosses_at) <= timedelta(minutes=15)


async def test_what_does_not_come_about_is_said_and_counted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turns=True)
    async with stage.running() as made:
        await stage.sandbox.slack.wait_for(lambda: bool(stage.told()), 120)
        await stage.sandbox.slack.wait_for(lambda: "No se cumplió" in words(stage.told()[0]), 60)
        assert "me la callo" not in words(stage.told()[0]), "one mistake silences nothing"
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert (kept.outcome, kept.came_at) == (Outcome.DID_NOT, None)


async def _wrong(forecasts: Forecasts, times: int) -> None:
    for number in range(times):
        old = replace(PREDICTION, id=f"{PREDICTION.id}/{number}", at=START - timedelta(days=number + 1), told=False)
        await forecasts.keep_once(old)
        await forecasts.end(old.id, Outcome.DID_NOT, None)


async def test_what_was_wrong_too_often_is_kept_but_not_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        forecasts = made.bot.deps.store.forecasts
        await _wrong(forecasts, 2)
        said = await look_ahead(made.bot.deps)
        assert isinstance(said["xr-engine/disk"], Forecast)
        newest = (await forecasts.recent("xr-engine", "disk"))[0]
        assert (newest.outcome, newest.told) == (Outcome.WAITING, False)
        assert await look_ahead(made.bot.deps) == {}, "one prediction of a metric at a time"


async def test_the_mistake_that_silences_a_metric_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turns=True)
    async with stage.running() as made:
        await _wrong(made.bot.deps.store.forecasts, 1)
        await stage.sandbox.slack.wait_for(lambda: any("me la callo" in words(one) for one in stage.told()), 60)


async def test_while_an_incident_of_the_service_is_open_nothing_is_foreseen(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        await made.bot.incidents.declare("Lento", Severity.SEV3, service="xr-engine", by=ANA, idempotency_key="test")
        assert await look_ahead(made.bot.deps) == {}


async def test_the_button_opens_a_form_with_what_is_foreseen(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        await look_ahead(made.bot.deps)
        await stage.sandbox.slack.wait_for(lambda: bool(stage.told()), 120)
        ana = Somebody(stage.sandbox.slack, "U0ANA00001")
        form = await (await ana.press(stage.told()[0], "declare_predicted")).view()
        assert "Disco de xr-engine, cerca de su límite" in str(form.body)


async def test_without_data_nothing_is_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running(metric="no_such_metric") as made:
        assert await look_ahead(made.bot.deps) == {"xr-engine/disk": NotEnough.NO_DATA}
        assert stage.told() == []


def test_a_service_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    made = team(tmp_path, "disk_used") / "team.yaml"
    raw = yaml.safe_load(made.read_text("utf-8")) | {"forecasts": {"services": ["xr-engin"]}}
    made.write_text(yaml.safe_dump(raw), "utf-8")
    with pytest.raises(BadInput) as mistake:
        load_team(made)
    assert "no service `xr-engin`; did you mean `xr-engine`?" in str(mistake.value.facts)
