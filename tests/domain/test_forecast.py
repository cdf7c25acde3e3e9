"""Forecasts: what is said, what is not, and how a metric is silenced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.forecast import linear, ours, play, world
from bot.domain.forecast import (
    DAY,
    HISTORY,
    LEAST_LEAD,
    STEP,
    Floats,
    Forecast,
    NotEnough,
    Outcome,
    cries_wolf,
    forecast,
    last_step,
    score,
)
from bot.domain.snapshot import Direction, MetricDefinition, Point

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SIZE = HISTORY // STEP
LATENCY = MetricDefinition("latency_p95", {"en": "Latency p95"}, "ms", 500.0)
CAME, NOT, UNKNOWN = Outcome.CAME, Outcome.DID_NOT, Outcome.UNKNOWN


def calm(level: float = 200.0, noise: float = 5.0) -> Floats:
    return level + np.random.default_rng(1).normal(0, noise, SIZE + 1)


def climbing(minutes: int = 60, slope: float = 4.0) -> Floats:
    """Return a metric that has risen by `slope` a minute for so many minutes."""
    values, steps = calm(), minutes // 5
    values[-steps:] += slope * 5 * np.arange(1, steps + 1)
    return values


def points(values: Floats) -> list[Point]:
    return [(NOW - STEP * (SIZE - at), float(value)) for at, value in enumerate(values) if np.isfinite(value)]


def test_a_climb_is_told_with_when_and_how_sure() -> None:
    said = forecast(LATENCY, points(climbing(50)), NOW)
    assert isinstance(said, Forecast)
    assert said.is_told
    assert said.probability >= 0.9
    assert said.crosses_at is not None
    assert said.earliest is not None
    assert NOW + LEAST_LEAD <= said.earliest <= said.crosses_at <= NOW + timedelta(minutes=35)
    assert [one.at for one in said.expected] == [NOW + STEP * step for step in range(1, 13)]
    assert all(one.low <= one.value <= one.high for one in said.expected)


def test_below_is_the_mirror_of_above() -> None:
    above = forecast(LATENCY, points(climbing(50)), NOW)
    mirrored = replace(LATENCY, threshold=-500.0, direction=Direction.BELOW)
    below = forecast(mirrored, points(-climbing(50)), NOW)
    assert isinstance(above, Forecast)
    assert isinstance(below, Forecast)
    assert (below.probability, below.crosses_at, below.earliest) == (
        above.probability,
        above.crosses_at,
        above.earliest,
    )


def _with(values: Floats, spots: slice, value: float) -> Floats:
    values[spots] = value
    return values


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (_with(climbing(), slice(-1, None), np.nan), NotEnough.NO_DATA),
        (_with(climbing(), slice(-7, -3), np.nan), NotEnough.GAPS),
        (_with(climbing(), slice(0, -30), np.nan), NotEnough.LITTLE_HISTORY),
        (_with(calm(), slice(-4, None), 450.0), NotEnough.JUMP),
        (np.full(SIZE + 1, np.nan), NotEnough.NO_DATA),
    ],
)
def test_where_not_enough_is_known_nothing_is_said(values: Floats, why: NotEnough) -> None:
    assert forecast(LATENCY, points(values), NOW) is why


def _tail(kind: str, chance: np.random.Generator) -> Floats:
    """Return the last forty minutes of a metric whose noise has a deviation of 5."""
    noise = chance.normal(0, 5, 9)
    match kind:
        case "flat":
            return 200 + noise
        case "wandering":
            return 200 + np.convolve(chance.normal(0, 5, 10), [0.8, 0.6], "valid")
        case "climb":
            return 200 + noise + 10 * np.arange(9)
        case _:  # a jump of ten times its noise
            return 200 + noise + np.where(np.arange(9) >= chance.integers(2, 7), 50, 0)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("flat", 0, 0.15), ("wandering", 0, 0.3), ("climb", 0, 0.02), ("jump", 0.95, 1)],
)
def test_noise_is_no_jump_and_a_jump_is_one(kind: str, least: float, most: float) -> None:
    chance, values, jumps = np.random.default_rng(7), calm(), 0
    for _ in range(60):
        values[-9:] = _tail(kind, chance)
        jumps += forecast(LATENCY, points(values), NOW) is NotEnough.JUMP
    assert least <= jumps / 60 <= most


def test_a_small_jump_has_a_forecast_and_is_not_told_as_a_trend() -> None:
    values = calm(440, 10)
    values[-9:] = 440 + np.array([-12, 8, -3, 4, -9, 25, 38, 29, 44])
    said = forecast(LATENCY, points(values), NOW)
    assert isinstance(said, Forecast)
    assert not said.has_trend
    assert not said.is_told
    assert replace(said, has_trend=True, probability=0.95, crosses_at=NOW + timedelta(minutes=30)).is_told


def test_without_a_threshold_nothing_can_be_crossed() -> None:
    assert forecast(replace(LATENCY, threshold=None), points(climbing()), NOW) is NotEnough.NO_THRESHOLD


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(calm(), id="calm"),
        pytest.param(np.full(SIZE + 1, 300.0), id="constant"),
        pytest.param(calm(480, 20), id="close to it and noisy"),
        pytest.param(climbing(slope=1), id="slow"),
        pytest.param(climbing(75), id="already beyond"),
        pytest.param(climbing(60, 4.9), id="too soon to be early"),
    ],
)
def test_what_is_not_worth_telling_is_not_told(values: Floats) -> None:
    said = forecast(LATENCY, points(values), NOW)
    assert isinstance(said, Forecast)
    assert not said.is_told


def test_the_usual_rise_of_every_morning_is_known() -> None:
    """A line would cross the threshold; every day has turned there."""
    course = 150 * np.sin(2 * np.pi * (np.arange(SIZE + 1) - SIZE + DAY // 12) / (DAY // 3))
    said = forecast(replace(LATENCY, threshold=380.0), points(calm(noise=2) + course), NOW)
    assert isinstance(said, Forecast)
    assert said.seasonal
    assert not said.is_told


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=SIZE + 1), st.floats(-1e6, 1e6))
def test_whatever_comes_the_answer_is_in_bounds(tail: list[float], threshold: float) -> None:
    values = calm()
    if tail:
        values[-len(tail) :] = tail
    said = forecast(replace(LATENCY, threshold=threshold), points(values), NOW)
    if isinstance(said, Forecast):
        assert 0 <= said.probability < 1
        assert all(one.low <= one.high for one in said.expected)
        assert all(np.isfinite([one.low, one.value, one.high]).all() for one in said.expected)
        assert not (said.is_told and LATENCY.threshold is None)


@pytest.mark.parametrize(
    ("minutes_known", "crossed_after", "outcome"),
    [
        (75, 40, CAME),
        (75, 75, CAME),
        (120, 80, NOT),  # too late to have been foreseen
        (75, None, NOT),
        (40, None, NOT),
        (30, None, UNKNOWN),
        (0, None, UNKNOWN),
    ],
)
def test_a_prediction_is_scored_by_what_came(minutes_known: int, crossed_after: int | None, outcome: Outcome) -> None:
    since = [
        (NOW + timedelta(minutes=at), 600.0 if at == crossed_after else 200.0) for at in range(5, minutes_known + 1, 5)
    ]
    came_at = NOW + timedelta(minutes=crossed_after) if outcome is CAME and crossed_after else None
    assert score(LATENCY, NOW, since) == (outcome, came_at)


@pytest.mark.parametrize(
    ("newest_first", "silenced"),
    [
        ([], False),
        ([NOT], False),
        ([NOT, NOT], True),
        ([NOT, CAME], False),
        ([NOT, CAME, NOT], True),
        ([NOT, CAME, NOT, CAME], False),
        ([CAME, CAME, NOT, NOT], False),
        ([UNKNOWN, NOT, Outcome.WAITING, NOT], True),
        ([CAME] * 6 + [NOT] * 20, False),  # long ago
    ],
)
def test_a_metric_that_cries_wolf_is_silenced_until_it_is_right_again(
    newest_first: list[Outcome], *, silenced: bool
) -> None:
    assert cries_wolf(newest_first) is silenced


def test_looks_are_at_the_steps_of_the_clock() -> None:
    assert last_step(datetime(2026, 3, 4, 12, 4, 59, 999, tzinfo=UTC)) == NOW


def test_on_made_weeks_it_is_wrong_less_often_than_a_line_alone() -> None:
    """One of the benchmark's worlds, of the seeds that it does not report."""
    made = world(4)
    mine, line = play(made, ours(made), silencing=True), play(made, linear(made), silencing=False)
    assert mine.wrong < line.wrong
    assert mine.wrong <= 3  # one a week
    assert mine.foreseen >= mine.climbs // 2
