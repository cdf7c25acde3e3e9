"""What a figure says of itself, and two snapshots of each other."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.snapshot import (
    Assessment,
    Change,
    Direction,
    MetricDefinition,
    MetricResult,
    Missing,
    Series,
    Snapshot,
    Trend,
    Verdict,
    assess,
    build_result,
    compare,
    trend,
)

AT = datetime(2026, 1, 7, 2, 14, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATENCY = MetricDefinition("latency_p95", {"es": "Latencia p95", "en": "Latency p95"}, "ms", 500, Direction.ABOVE)
FRAMES = MetricDefinition("frame_rate", {"es": "Cuadros por segundo"}, "fps", 60, Direction.BELOW)
REQUESTS = MetricDefinition("request_rate", {}, "req/s")


def figure(measure: MetricDefinition, value: float | None, normal: float | None = None) -> MetricResult:
    return MetricResult(measure.query, measure.title, measure.unit, measure.threshold, measure.direction, value, normal)


def series(measure: MetricDefinition, *values: float, step: int = 60, label: str = "", until: datetime = AT) -> Series:
    first = until - timedelta(seconds=step * (len(values) - 1))
    points = tuple((first + timedelta(seconds=step * index), value) for index, value in enumerate(values))
    return Series(measure.query, step, points, label)


def snapshot(*figures: MetricResult, at: datetime = AT) -> Snapshot:
    return Snapshot("render", "xr-engine", at, HOUR, at, figures)


@pytest.mark.parametrize(
    ("measure", "value", "verdict"),
    [
        (LATENCY, 500.1, Verdict.BREACH),
        (LATENCY, 500, Verdict.OK),
        (LATENCY, 0, Verdict.OK),
        (FRAMES, 59.9, Verdict.BREACH),
        (FRAMES, 60, Verdict.OK),
        (FRAMES, 0, Verdict.BREACH),
        (FRAMES, None, Verdict.UNKNOWN),
        (REQUESTS, 12, Verdict.NO_THRESHOLD),
        (REQUESTS, None, Verdict.UNKNOWN),
    ],
)
def test_the_verdict_looks_at_the_bad_side_of_the_threshold(
    measure: MetricDefinition, value: float | None, verdict: Verdict
) -> None:
    assert figure(measure, value).verdict is verdict


@pytest.mark.parametrize(
    ("value", "normal", "change"),
    [(410, 100, 310), (50, 100, -50), (100, 100, 0), (-5, -10, 50), (0, 0, 0), (3, 0, None), (None, 3, None),
     (3, None, None)],
)  # fmt: skip
def test_the_change_since_normal_is_known_or_not_claimed(
    value: float | None, normal: float | None, change: float | None
) -> None:
    assert figure(LATENCY, value, normal).change == change


def test_normal_is_the_median_before_the_incident_began_and_not_of_the_whole_window() -> None:
    line = series(LATENCY, 100, 101, 5000, 102, 900, 901, 902, 903, 904)
    found = build_result(LATENCY, [line], AT, calm_until=line.points[4][0])
    assert (found.value, found.normal, found.count) == (904, 101.5, 1)


def test_of_several_series_the_worst_one_counts_with_its_own_normal() -> None:
    lines = [series(FRAMES, 70, 70, 65, label="a"), series(FRAMES, 80, 80, 31, label="b")]
    found = build_result(FRAMES, lines, AT, calm_until=AT)
    assert (found.value, found.normal, found.label, found.count) == (31, 80, "b", 2)
    assert build_result(LATENCY, lines, AT, calm_until=AT).label == "a"


def test_a_line_that_ended_before_the_moment_has_no_value_then() -> None:
    ended = series(LATENCY, 100, 100, 100, until=AT - timedelta(minutes=2))
    found = build_result(LATENCY, [ended], AT, calm_until=AT)
    assert (found.value, found.verdict, found.normal) == (None, Verdict.UNKNOWN, 100)


def test_no_series_is_unknown_and_not_zero() -> None:
    found = build_result(LATENCY, [], AT, calm_until=AT)
    assert (found.value, found.normal, found.change, found.verdict, found.count) == (None, None, None, "unknown", 0)


@pytest.mark.parametrize(
    ("measure", "before", "after", "expected"),
    [
        (LATENCY, 1240, 310, Trend.BETTER),
        (LATENCY, 310, 1240, Trend.WORSE),
        (LATENCY, 505, 495, Trend.BETTER),  # little, but across the threshold
        (LATENCY, 495, 505, Trend.WORSE),
        (LATENCY, 100, 140, Trend.SAME),  # 40 % of itself, 8 % of the threshold
        (LATENCY, 1500, 1400, Trend.SAME),
        (LATENCY, 1500, 1200, Trend.BETTER),
        (LATENCY, 0, 0, Trend.SAME),
        (FRAMES, 40, 50, Trend.BETTER),
        (FRAMES, 50, 40, Trend.WORSE),
        (REQUESTS, 100, 105, Trend.SAME),
        (REQUESTS, 100, 200, Trend.CHANGED),
        (REQUESTS, 0, 1, Trend.CHANGED),
        (LATENCY, None, 100, Trend.UNKNOWN),
        (LATENCY, 100, None, Trend.UNKNOWN),
    ],
)
def test_a_trend_is_judged_by_the_side_that_is_bad(
    measure: MetricDefinition, before: float | None, after: float | None, expected: Trend
) -> None:
    assert trend(figure(measure, before), figure(measure, after)) is expected


@pytest.mark.parametrize(
    ("before", "after", "partly", "expected"),
    [
        (100, 1240, "before", Trend.UNKNOWN),  # perhaps it was as bad all along
        (600, 1240, "before", Trend.UNKNOWN),
        (1240, 600, "after", Trend.UNKNOWN),  # out of bounds, and perhaps no better
        (1240, 100, "after", Trend.UNKNOWN),
        (600, 1240, "after", Trend.WORSE),
        (1240, 100, "before", Trend.BETTER),
    ],
)
def test_incomplete_data_prove_nothing_good(before: float, after: float, partly: str, expected: Trend) -> None:
    pair = {"before": figure(LATENCY, before), "after": figure(LATENCY, after)}
    pair[partly] = replace(pair[partly], incomplete="partial response")
    assert trend(pair["before"], pair["after"]) is expected


def test_only_figures_that_both_snapshots_have_are_compared() -> None:
    before = snapshot(figure(LATENCY, 1240), figure(FRAMES, 35))
    after = snapshot(figure(REQUESTS, 10), figure(FRAMES, 70), figure(LATENCY, 300))
    assert [(one.after.query, one.trend) for one in compare(before, after)] == [
        ("frame_rate", Trend.BETTER),
        ("latency_p95", Trend.BETTER),
    ]


def change(measure: MetricDefinition, before: float | None, after: float | None) -> Change:
    first, second = figure(measure, before), figure(measure, after)
    return Change(first, second, trend(first, second))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([change(LATENCY, 1240, 310), change(FRAMES, 72, 71)], Assessment.HELPED),
        ([change(LATENCY, 1240, 1250), change(FRAMES, 35, 36)], Assessment.NO_EFFECT),
        ([change(LATENCY, 300, 900)], Assessment.WORSE),
        ([change(LATENCY, 1240, 310), change(FRAMES, 72, 35)], Assessment.MIXED),
        ([change(LATENCY, 100, 180)], Assessment.NO_EFFECT),  # within bounds before and after
        ([change(LATENCY, 1240, None)], Assessment.UNKNOWN),
        ([change(LATENCY, 1240, None), change(FRAMES, 35, 72)], Assessment.UNKNOWN),
        ([change(LATENCY, 1240, None), change(FRAMES, 72, 35)], Assessment.WORSE),
        ([change(REQUESTS, 100, 900)], Assessment.NO_EFFECT),
        ([], Assessment.UNKNOWN),
    ],
)
def test_the_effect_says_helped_only_when_what_was_broken_got_better(
    changes: list[Change], expected: Assessment
) -> None:
    assert assess(changes) is expected


def test_a_snapshot_comes_back_from_json_as_it_went() -> None:
    line = series(LATENCY, 300.25, 301, 1240.5)
    whole = Snapshot(
        board="render",
        service="xr-engine",
        at=AT,
        window=HOUR,
        calm_until=AT - timedelta(minutes=20),
        figures=(build_result(LATENCY, [line], AT, AT), figure(FRAMES, None)),
        series=(line, series(FRAMES, label="pod-1")),
        missing=(Missing(REQUESTS, "timed_out", {"service": "Prometheus", "seconds": 5.0}, temporary=True),),
    )
    stored = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert Snapshot.from_json(stored) == whole
    assert [one["verdict"] for one in stored["figures"]] == ["breach", "unknown"]
    assert stored["figures"][0]["change"] == pytest.approx((1240.5 - 300.625) / 300.625 * 100)


def test_it_is_worth_asking_again_only_for_what_may_pass() -> None:
    lasting, passing = Missing(LATENCY, "promql_wrong"), Missing(LATENCY, "timed_out", temporary=True)
    assert not Snapshot("render", None, AT, HOUR, AT, missing=(lasting,)).is_temporarily_incomplete
    assert Snapshot("render", None, AT, HOUR, AT, missing=(lasting, passing)).is_temporarily_incomplete
