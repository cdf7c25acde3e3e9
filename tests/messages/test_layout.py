"""Words beside each other, and how much of a value's axis is shown."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from bot.domain.snapshot import Direction, MetricResult, Series
from bot.messages.plot import runs, side_by_side, worst_first, y_range

AT = datetime(2026, 1, 7, 2, tzinfo=UTC)


def series(*values: float, label: str = "") -> Series:
    points = tuple((AT + timedelta(seconds=60 * index), value) for index, value in enumerate(values))
    return Series("q", 60, points, label)


def test_words_with_room_stand_where_they_are_wanted() -> None:
    assert side_by_side([100, 300, 500], [80, 80, 80], 20, 0, 1000) == [100, 300, 500]


def test_words_at_one_place_spread_to_both_sides_of_it() -> None:
    assert side_by_side([100, 100, 100], [80, 80, 80], 20, 0, 1000) == [0, 100, 200]
    assert side_by_side([900, 900], [80, 80], 20, 0, 1000) == [820, 920]


@pytest.mark.parametrize("seed", range(50))
def test_words_never_overlap_and_never_leave_the_picture(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - places, no secret
    widths = [chance.uniform(20, 200) for _ in range(chance.randint(1, 5))]
    wanted = sorted(chance.uniform(-100, 1300) for _ in widths)
    begins = side_by_side(wanted, widths, 22, 16, 1184)
    assert begins[0] >= 16
    assert begins[-1] + widths[-1] <= 1184 + 1e-6
    for (begin, width), (following, _) in pairwise(zip(begins, widths, strict=True)):
        assert following >= begin + width + 22 - 1e-6


@pytest.mark.parametrize(
    ("threshold", "values", "low", "high"),
    [
        (500, (300, 400), (-20, 0), (500, 600)),
        (65, (70, 80), (50, 65), (80, 90)),  # all of it far from 0: the axis does not begin there
        (None, (99.9, 99.95), (99.8, 99.9), (99.95, 100)),
        (None, (-5, 5), (-8, -5), (5, 8)),
        (0, (0, 0), (-0.1, 0), (1, 1.2)),
        (2, (), (-0.1, 0), (2, 2.4)),
    ],
)
def test_the_threshold_is_in_sight_and_so_is_zero_when_it_is_near(
    threshold: float | None, values: tuple[float, ...], low: tuple[float, float], high: tuple[float, float]
) -> None:
    found = y_range(MetricResult("q", {}, threshold=threshold), [series(*values)])
    assert low[0] <= found[0] <= low[1]
    assert high[0] <= found[1] <= high[1]
    assert found[0] < found[1]


def test_points_are_one_stretch_until_more_than_a_step_is_missing() -> None:
    whole = series(1, 2, 3, 4, 5)
    holed = Series("q", 60, whole.points[:2] + whole.points[3:])
    assert [len(run) for run in runs(whole)] == [5]
    assert [len(run) for run in runs(holed)] == [2, 2]
    assert list(runs(series())) == []


def test_the_figures_own_line_comes_first_and_then_the_worst() -> None:
    lines = [series(1, label="a"), series(9, label="b"), series(5, label="c")]
    above = MetricResult("q", {}, threshold=1, direction=Direction.ABOVE, label="a")
    below = MetricResult("q", {}, threshold=1, direction=Direction.BELOW, label="b")
    assert [one.label for one in worst_first(lines, above)] == ["a", "b", "c"]
    assert [one.label for one in worst_first(lines, below)] == ["b", "a", "c"]
