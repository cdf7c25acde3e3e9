"""The three figures, worked out by hand and compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.domain.incident import Severity
from bot.domain.statistics import Distribution, Record, Targets, compute

START = datetime(2026, 3, 1, tzinfo=UTC)
TARGETS = Targets(mtta=timedelta(minutes=5), mttr=timedelta(minutes=10), mtbf=timedelta(hours=720))


def minutes(*values: float) -> list[timedelta]:
    return [timedelta(minutes=value) for value in values]


def seconds(*values: float) -> list[float]:
    """Of so many minutes."""
    return [value * 60 for value in values]


def record(
    hours: float, acknowledged: float | None = None, resolved: float | None = None, severity: Severity = Severity.SEV2
) -> Record:
    """An incident that began `hours` after START, with its milestones in minutes after its own start."""
    start = START.timestamp() + hours * 3600
    at = [None if minutes is None else start + minutes * 60 for minutes in (acknowledged, resolved)]
    return Record(severity, start, *at)


def test_mean_median_and_p90() -> None:
    spread = Distribution.of(seconds(4, 2, 100, 1, 3))
    assert spread == Distribution(5, *minutes(22, 3, 61.6))  # p90 lies 0.6 of the way from the 4th to the 5th


def test_one_incident_is_its_own_median_and_p90() -> None:
    assert Distribution.of(seconds(7)) == Distribution(1, *minutes(7, 7, 7))


def test_figures_against_their_targets() -> None:
    records = [record(0, 2, 8), record(800, 4, 20, Severity.SEV1), record(1600, 9, 26)]
    seen = compute(records, TARGETS, since=START, until=START + timedelta(days=90))
    assert (seen.count, seen.by_severity[Severity.SEV1], seen.by_severity[Severity.SEV2]) == (3, 1, 2)
    assert seen.by_severity[Severity.SEV4] == 0
    assert seen.mtta.spread and seen.mtta.spread.mean == timedelta(minutes=5)
    assert seen.mtta.met is False  # the target is below five minutes
    assert seen.mttr.spread and seen.mttr.spread.mean == timedelta(minutes=18)
    assert seen.mttr.met is False
    assert seen.mtbf.spread and seen.mtbf.spread.mean == timedelta(hours=800)
    assert seen.mtbf.met is True


def test_nothing_is_unknown_and_not_zero() -> None:
    seen = compute([], TARGETS, since=START, until=START + timedelta(days=90), previous_start=0.0)
    assert seen.count == 0 and list(seen.months) == []
    assert [figure.spread for figure in (seen.mtta, seen.mttr, seen.mtbf)] == [None] * 3
    assert [figure.met for figure in (seen.mtta, seen.mttr, seen.mtbf)] == [None] * 3


def test_what_is_still_open_is_counted_and_not_measured() -> None:
    seen = compute([record(0, 2, 8), record(1, 3), record(2)], TARGETS, since=START, until=START + timedelta(days=1))
    assert (seen.unacknowledged, seen.unresolved) == (1, 2)
    assert seen.mtta.spread and seen.mtta.spread.count == 2
    assert seen.mttr.spread and seen.mttr.spread.count == 1


def test_one_failure_has_no_time_between_failures() -> None:
    alone = compute([record(0, 1, 2)], TARGETS, since=START, until=START + timedelta(days=90))
    assert alone.mtbf.spread is None and alone.mtbf.met is None


def test_the_incident_before_the_window_begins_its_first_interval() -> None:
    before = (START - timedelta(hours=100)).timestamp()
    seen = compute([record(20)], TARGETS, since=START, until=START + timedelta(days=90), previous_start=before)
    assert seen.mtbf.spread and seen.mtbf.spread.mean == timedelta(hours=120)


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [record(1600, 9, 26), record(0, 2, 8), record(800, 4, 20)]
    until = START + timedelta(days=90)
    assert compute(records, TARGETS, since=START, until=until) == compute(
        records[::-1], TARGETS, since=START, until=until
    )


def test_a_target_that_the_team_has_not_set_is_neither_met_nor_missed() -> None:
    seen = compute([record(0, 2, 8)], Targets(None, None, None), since=START, until=START + timedelta(days=1))
    assert seen.mtta.spread and seen.mtta.met is None


def test_quiet_months_are_told_too() -> None:
    records = [record(0, 1, 5), record(1, 1, 15), record(24 * 70, 1)]
    months = compute(records, TARGETS, since=None, until=START + timedelta(days=90)).months
    assert [(month.first.month, month.count) for month in months] == [(3, 2), (4, 0), (5, 1)]
    assert [month.mttr for month in months] == [timedelta(minutes=10), None, None]
