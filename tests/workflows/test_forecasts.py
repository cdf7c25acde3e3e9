"""Alerts that look ahead, from Prometheus to the channel: told once, edited to their end, silenced where they fail."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from bot.domain.errors import BadInput
from bot.domain.forecast import Forecast, NotEnough, Outcome, Prediction
from bot.domain.incident import Severity
from bot.domain.people import Person
from bot.domain.run import RunState
from bot.domain.snapshot import Snapshot
from bot.messages.calendar import digest
from bot.store.forecasts import Forecasts
from bot.team import load_team
from bot.workflows.calendar import week_before
from bot.workflows.forecasts import look_ahead
from demo.environment import DemoEnvironment, demo_environment
from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.slack.person import Person as Somebody
from sandbox.slack.state import Message
from tests.harness.forecasts import filling, forecasting_team
from tests.harness.scene import TEAM, words

START = datetime(2026, 3, 4, 12, 1, tzinfo=UTC)
FAST = 240.0  # a step of five minutes is more than a second
UNHURRIED = 60.0  # a message is seen before it is edited, on a busy machine, too
ANA = Person("U0ANA00001", "Ana Torres")
PREDICTION = Prediction(
    "xr-engine/disk/20260304T1200Z", "xr-engine", "disk", START, 0.95, START + timedelta(minutes=30), START, told=True
)


class Stage:
    """A bot beside a Prometheus that has a week of a disk's use, and what will come of it."""

    def __init__(self, folder: Path, *, turns: bool = False, speed: float = FAST, start: datetime = START) -> None:
        self.sandbox = Sandbox(clock=Clock(start, speed))
        self._folder = folder
        times, values = filling(start, turns=turns)
        self.sandbox.world.tsdb.series("disk_used", {"instance": "xr"}).extend(times, values)

    @contextlib.asynccontextmanager
    async def running(self, locale: str = "es", metric: str = "disk_used") -> AsyncIterator[DemoEnvironment]:
        database = f"sqlite:///{self._folder}/bot.db"
        team_dir = str(forecasting_team(self._folder, metric))
        async with demo_environment(
            self.sandbox, database, locale=locale, cluster=self._folder, team_dir=team_dir
        ) as made:
            yield made

    async def told_once(self) -> Message:
        """The message about the first thing that is foreseen, once it has its chart."""
        await self.sandbox.slack.wait_for(lambda: bool(self.told()) and bool(self.charts()), 120)
        return self.told()[0]

    def charts(self) -> list[str]:
        """The titles of the pictures in the thread of the message."""
        messages = self.sandbox.slack.channel(TEAM).messages.values()
        in_thread = [one for one in messages if one.thread_ts == self.told()[0].ts]
        return [self.sandbox.slack.files[file].title for one in in_thread for file in one.files]

    def all_words(self) -> list[str]:
        return [words(one) for one in self.sandbox.slack.channel(TEAM).messages.values()]

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
    stage = Stage(tmp_path, speed=UNHURRIED)
    async with stage.running(locale) as made:
        await look_ahead(made.bot.deps)
        await stage.sandbox.slack.wait_for(lambda: bool(stage.told()), 120)
        (message,) = stage.told()
        assert first in words(message)
        told_at = stage.sandbox.clock.now()
        await stage.sandbox.slack.wait_for(lambda: last in words(stage.told()[0]), 180)
        assert (len(stage.told()), len(stage.charts())) == (1, 1)
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert (kept.outcome, kept.told) == (Outcome.CAME, True)
        assert kept.came_at is not None
        assert kept.came_at > told_at
        assert abs(kept.came_at - kept.crosses_at) <= timedelta(minutes=15)


async def test_what_does_not_come_about_is_said_and_counted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turns=True)
    async with stage.running() as made:
        await look_ahead(made.bot.deps)
        await stage.sandbox.slack.wait_for(lambda: bool(stage.told()), 120)
        await stage.sandbox.slack.wait_for(lambda: "No se cumplió" in words(stage.told()[0]), 240)
        assert "me la callo" not in words(stage.told()[0]), "one mistake silences nothing"
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert (kept.outcome, kept.came_at) == (Outcome.DID_NOT, None)


async def _wrong(forecasts: Forecasts, times: int) -> None:
    wrong = replace(PREDICTION, told=False, outcome=Outcome.DID_NOT)
    for number in range(times):
        await forecasts.keep_once(replace(wrong, id=f"{PREDICTION.id}/{number}", at=START - timedelta(days=number + 1)))


async def test_the_first_outcome_of_a_prediction_counts(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        forecasts = made.bot.deps.store.forecasts
        came = replace(PREDICTION, outcome=Outcome.CAME, came_at=START)
        await forecasts.keep_once(came)
        await forecasts.end(came.id, Outcome.DID_NOT, None)
        await stage.sandbox.slack.wait_for(lambda: any("Se cumplió" in words(one) for one in stage.told()), 120)
        assert await forecasts.get(came.id) == came


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
        await look_ahead(made.bot.deps)
        await stage.sandbox.slack.wait_for(lambda: any("me la callo" in words(one) for one in stage.told()), 240)


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


async def test_not_now_holds_for_four_hours_and_over_a_restart(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        await look_ahead(made.bot.deps)
        message = await stage.told_once()
        ana = Somebody(stage.sandbox.slack, "ana")
        answer = await (await ana.press(message, "snooze_predicted")).message()
        await stage.sandbox.slack.wait_for(lambda: "ahora no" in words(stage.told()[0]), 60)
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert kept.snoozed_until is not None
        assert timedelta(hours=4) - (kept.snoozed_until - START) < timedelta(minutes=2)
        until = f"<!date^{int(kept.snoozed_until.timestamp())}^"
        assert until in words(stage.told()[0])
        assert until in answer.all_text(), "the answer says until when, too"
        assert "snooze_predicted" not in _buttons(stage.told()[0])
        again, _ = await made.bot.forecasts.snooze(kept.id, by=ANA)  # from an old screen: nothing changes
        assert again == kept
        await made.bot.deps.store.forecasts.end(kept.id, Outcome.DID_NOT, None)
    for hours, told in ((1, False), (5, True)):
        later = Stage(tmp_path, speed=1, start=START + timedelta(hours=hours))
        async with later.running() as made:
            assert isinstance((await look_ahead(made.bot.deps))["xr-engine/disk"], Forecast)
            newest = (await made.bot.deps.store.forecasts.recent("xr-engine", "disk"))[0]
            assert (newest.at > START, newest.told) == (True, told)
            await made.bot.deps.store.forecasts.end(newest.id, Outcome.CAME, newest.crosses_at)


async def test_who_may_change_nothing_silences_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        await look_ahead(made.bot.deps)
        message = await stage.told_once()
        await (emma := Somebody(stage.sandbox.slack, "U0EMMA0005")).join(TEAM)
        said = await (await emma.press(message, "snooze_predicted")).message()
        assert "snooze" not in said.all_text().lower()
        assert "responder" in said.all_text().lower()
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert kept.snoozed_until is None


async def test_what_a_run_has_mended_counts_neither_as_right_nor_as_wrong(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turns=True)
    async with stage.running() as made:
        await look_ahead(made.bot.deps)
        message = await stage.told_once()
        ana = Somebody(stage.sandbox.slack, "ana")
        await ana.press(message, "run_predicted")
        await stage.sandbox.slack.wait_for(lambda: "En marcha contra esto" in words(stage.told()[0]), 240)
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        await made.bot.forecasts.run(kept.id, "more-replicas", by=ANA, channel=None)  # from an old screen
        assert len(await made.bot.deps.store.runs.recent()) == 1, "one run for each prediction"
        await stage.sandbox.slack.wait_for(lambda: "algo se cambió" in words(stage.told()[0]), 240)
        (kept,) = await made.bot.deps.store.forecasts.recent("xr-engine", "disk")
        assert kept.outcome is Outcome.AVERTED
        (run,) = await made.bot.deps.store.runs.recent()
        assert (kept.run, run.state) == (run.id, RunState.SUCCEEDED)


async def test_the_score_stands_in_the_digest_on_the_home_and_in_ops(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        forecasts = made.bot.deps.store.forecasts
        await _wrong(forecasts, 2)
        old = START - timedelta(days=1, hours=3)
        await forecasts.keep_once(replace(PREDICTION, at=old, outcome=Outcome.CAME, came_at=START))
        expected = ["Se cumplió 1 de 3", "Disco de xr-engine: fallaron 2 de 3"]
        week = digest(await week_before(made.bot.deps, START), made.bot.deps.words).plain_text
        ana = Somebody(stage.sandbox.slack, "ana")
        await ana.open_home()
        home = str(ana.home)
        assert [all(sign in text for sign in expected) for text in (week, home)] == [True, True]
        await ana.run("/ops forecasts", TEAM)
        await stage.sandbox.slack.wait_for(lambda: any("se cumplió 1 de 3" in one for one in stage.all_words()), 60)


async def test_a_snapshot_of_now_has_the_forecast_of_what_is_looked_ahead_at(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running() as made:
        snapshots = made.bot.snapshots
        taken = await snapshots.take(await snapshots.ask(None, service="xr-engine", by=ANA))
        (expected,) = (taken.after.ahead[query] for query in taken.after.ahead)
        assert [*taken.after.ahead] == ["disk"], "request_rate has no threshold"
        assert expected[0].low <= expected[0].value <= expected[0].high
        assert Snapshot.from_json(taken.after.to_json()) == taken.after
        week = await snapshots.ask(None, service="xr-engine", window=timedelta(days=7), by=ANA)
        assert (await snapshots.take(week)).after.ahead == {}, "an hour could not be seen"
        other = await snapshots.take(await snapshots.ask(None, service="isabella-ai", by=ANA))
        assert other.after.ahead == {}, "nobody looks ahead at it"


def _buttons(message: Message) -> list[str]:
    return [element["action_id"] for _, element in message.elements()]


async def test_without_data_nothing_is_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path, speed=1)
    async with stage.running(metric="no_such_metric") as made:
        assert await look_ahead(made.bot.deps) == {"xr-engine/disk": NotEnough.NO_DATA}
        assert stage.told() == []


def test_a_service_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    made = forecasting_team(tmp_path) / "team.yaml"
    raw = yaml.safe_load(made.read_text("utf-8")) | {"forecasts": {"services": ["xr-engin"]}}
    made.write_text(yaml.safe_dump(raw), "utf-8")
    with pytest.raises(BadInput) as mistake:
        load_team(made)
    assert "no service `xr-engin`; did you mean `xr-engine`?" in str(mistake.value.facts)
