"""A new version beside the others: what is certain and relevant is worse, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.canary import found, share, world
from bot.domain.canary import Beside, Comparison, chance_of_each, compare, larger, requests_needed
from bot.domain.snapshot import Direction, MetricDefinition

LATENCY = MetricDefinition("latency_p95", {}, "ms", 500)
ERRORS = MetricDefinition("error_rate", {}, "%", 2)
FRAMES = MetricDefinition("frame_rate", {}, "fps", 60, Direction.BELOW)
EACH = chance_of_each(15, 2)


def judged(metric: MetricDefinition, new: Sequence[float], others: Sequence[float]) -> Beside:
    return compare(metric, new, others, EACH).verdict


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [  # by mannwhitneyu(first, second, alternative="greater", method="asymptotic") of SciPy 1.17.1
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 0.9966923245172357),
        ([6, 7, 8, 9, 10], [1, 2, 3, 4, 5], 0.006092890177672406),
        ([0, 0, 0, 1, 2], [0, 0, 0, 0, 0, 0, 1], 0.16798952352328572),
        ([3.5, 2.25, 9, 4.75, 4.75, 1.5], [2.25, 2.25, 1, 0.5, 3.5, 4.75, 2], 0.07400915363616337),
        ([7.1] * 6, [0.2] * 20, 3.5550248268032546e-07),
        ([5, 5, 5], [5, 5, 5, 5.0001], 0.8758934605050381),
        ([1, 1, 1], [1, 1, 1, 1], 1),
        ([], [1, 2], 1),
    ],
)
def test_the_probability_is_that_of_mann_and_whitney(
    first: Sequence[float], second: Sequence[float], probability: float
) -> None:
    assert larger(first, second) == pytest.approx(probability, rel=1e-9)


def test_what_is_plainly_worse_is_found_on_the_side_that_is_bad() -> None:
    chance = np.random.default_rng(1)
    usual = chance.normal(120, 4, 60).tolist()
    assert judged(LATENCY, [one * 2 for one in usual[:15]], usual) is Beside.WORSE
    assert judged(LATENCY, [one / 2 for one in usual[:15]], usual) is Beside.ALIKE
    frames = chance.normal(88, 2, 60).tolist()
    assert judged(FRAMES, [one / 2 for one in frames[:15]], frames) is Beside.WORSE
    assert judged(FRAMES, [one * 2 for one in frames[:15]], frames) is Beside.ALIKE


def test_a_difference_that_is_certain_but_harmless_is_none() -> None:
    usual = np.random.default_rng(1).normal(120, 1, 60).tolist()
    assert judged(LATENCY, [one * 1.2 for one in usual[:15]], usual) is Beside.ALIKE
    assert judged(ERRORS, [0.15] * 15, [0.0] * 60) is Beside.ALIKE


def test_a_bad_minute_is_a_coincidence() -> None:
    assert judged(ERRORS, [0.2, 30, 0.2, 0.2, 0.2, 0.2, 0.2], [0.2] * 28) is Beside.ALIKE


@pytest.mark.parametrize(("new", "others"), [([], [1.0] * 20), ([50.0] * 4, [1.0] * 20), ([50.0] * 15, [1.0] * 4)])
def test_few_samples_say_nothing(new: list[float], others: list[float]) -> None:
    assert judged(ERRORS, new, others) is Beside.UNKNOWN
    assert compare(ERRORS, [], [], EACH) == Comparison(ERRORS, None, None, 0, Beside.UNKNOWN)


def test_as_many_requests_are_needed_as_would_show_what_the_threshold_forbids() -> None:
    assert requests_needed([LATENCY]) == 100
    assert requests_needed([LATENCY, ERRORS]) == 250


def test_of_two_hundred_good_versions_few_go_back_and_of_as_many_bad_ones_hardly_any_goes_on() -> None:
    assert share(found(world(seed, bad=False)) is not None for seed in range(200)) <= 5
    assert share(found(world(seed, bad=True)) is None for seed in range(200)) <= 2
