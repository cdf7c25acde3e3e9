"""What a version has behind it: how staging went, how checks ended, and what of it stops a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.pipeline import Checks, Demand, Staged, Trial, checked, compare_measures, doubts, read_measures, staged

GREEN = ("success", "neutral", "skipped")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def trial(minute: int, went_well: bool | None, smoke_tested: bool = True) -> Trial:
    return Trial(BEGAN + timedelta(minutes=minute), went_well, smoke_tested, f"R-{minute}")


@pytest.mark.parametrize(
    ("trials", "state", "by"),
    [
        ([], Staged.NEVER, None),
        ([trial(1, None)], Staged.NEVER, None),
        ([trial(1, True)], Staged.PASSED, "R-1"),
        ([trial(1, True, smoke_tested=False)], Staged.TRIED, "R-1"),
        ([trial(1, True), trial(2, True, smoke_tested=False)], Staged.PASSED, "R-1"),
        ([trial(2, False), trial(1, True)], Staged.FAILED, "R-2"),
        ([trial(1, False), trial(2, True)], Staged.PASSED, "R-2"),
        ([trial(1, True), trial(2, None)], Staged.PASSED, "R-1"),
    ],
)
def test_the_newest_trial_that_has_ended_counts(trials: list[Trial], state: Staged, by: str | None) -> None:
    found, which = staged(trials)
    assert (found, which and which.by) == (state, by)


@pytest.mark.parametrize(
    ("conclusions", "needed", "state", "names"),
    [
        ({"lint": "success", "docs": "skipped"}, [], Checks.GREEN, []),
        ({}, [], Checks.MISSING, []),
        ({"lint": "success", "docs": "failure"}, [], Checks.RED, ["docs"]),
        ({"lint": "success", "docs": "failure"}, ["lint"], Checks.GREEN, []),
        ({"Lint": "success"}, ["lint", "Trivy"], Checks.MISSING, ["trivy"]),
        ({"lint": None, "trivy": "success"}, ["lint", "trivy"], Checks.RUNNING, ["lint"]),
        ({"lint": None, "trivy": "timed_out"}, ["lint", "trivy"], Checks.RED, ["trivy"]),
    ],
)
def test_every_check_that_is_needed_must_be_green(
    conclusions: Mapping[str, str | None], needed: list[str], state: Checks, names: list[str]
) -> None:
    assert checked(conclusions, needed, GREEN) == (state, names)


@pytest.mark.parametrize(
    ("staging", "checks", "found", "forbidding"),
    [
        ("off", "off", [], []),
        ("warn", "off", ["staging"], []),
        ("warn", "require", ["staging", "checks"], ["checks"]),
        ("require", "warn", ["staging", "checks"], ["staging"]),
    ],
)
def test_the_team_decides_what_is_only_said_and_what_stops(
    staging: Demand, checks: Demand, found: list[str], forbidding: list[str]
) -> None:
    demands: dict[str, Demand] = {"staging": staging, "checks": checks}
    assert doubts(Staged.NEVER, Checks.UNKNOWN, demands) == (found, forbidding)
    assert doubts(Staged.PASSED, Checks.GREEN, demands) == ([], [])


def test_the_last_line_of_measures_counts() -> None:
    assert read_measures(['{"measures": {"a": 1}}', "x", '  {"measures": {"a": 2, "b": 0.5}}', "done"]) == {
        "a": 2,
        "b": 0.5,
    }


@pytest.mark.parametrize(
    ("now", "before", "tolerance", "worse"),
    [
        ({"a": 110}, {"a": 100}, 10, []),
        ({"a": 111}, {"a": 100}, 10, ["a"]),
        ({"a": 1}, {"a": 0}, 50, ["a"]),
        ({"a": -89}, {"a": -100}, 10, ["a"]),
        ({"a": 90}, {"a": 100}, 0, []),
        ({"a": 1e9}, {}, 0, []),
        ({"b": 1}, {"a": 100}, 10, ["a"]),
    ],
)
def test_what_grew_by_more_than_is_borne_or_is_gone_is_worse(
    now: dict[str, float], before: dict[str, float], tolerance: float, worse: list[str]
) -> None:
    assert [one.name for one in compare_measures(now, before, tolerance) if one.worse] == worse
