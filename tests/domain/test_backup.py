"""What is asked of backups against what is found: by table, at a clock that stands still."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.backup import (
    Aspect,
    Check,
    FoundBackups,
    Proof,
    StoredDump,
    WantedBackups,
    WantedDumps,
    check_database,
    check_dumps,
    check_proof,
)
from bot.domain.times import DailyWindow

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NOW = datetime(2026, 3, 10, 9, 2, tzinfo=UTC)
WANTED = WantedBackups(
    retention=30 * DAY,
    window="03:00-04:00",
    maintenance="sun:04:00-sun:05:00",
    multi_az=True,
    rpo=5 * MINUTE,
    rto=15 * MINUTE,
    proven_every=30 * DAY,
    proof="prove-backup",
    backup="backup-database",
)
FOUND = FoundBackups(
    30 * DAY, "03:00-04:00", "sun:04:00-sun:05:00", True, NOW - 2 * MINUTE, NOW.replace(hour=3, minute=5)
)


def wrong(found: FoundBackups | None, wanted: WantedBackups = WANTED, now: datetime = NOW) -> list[tuple[str, str]]:
    return [
        (one.aspect.value, one.facts["problem"])
        for one in check_database("db", wanted, found, now)
        if one.holds is False
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"retention": 7 * DAY}, [("retention", "differs")]),
        ({"retention": 35 * DAY}, [("retention", "differs")]),
        ({"retention": timedelta()}, [("retention", "none")]),
        ({"window": "05:00-05:30"}, [("window", "differs")]),
        ({"maintenance": "mon:04:00-mon:05:00"}, [("maintenance", "differs")]),
        ({"multi_az": False}, [("multi_az", "none")]),
        ({"restorable_until": NOW - 5 * MINUTE}, [("recovery_point", "late")]),
        ({"restorable_until": None}, [("recovery_point", "none")]),
        ({"restorable_until": NOW + MINUTE}, []),  # the clocks differ a little
        ({"daily_at": None}, [("daily", "missing")]),
        ({"daily_at": NOW.replace(hour=3) - DAY}, [("daily", "missing")]),
        ({"daily_at": NOW.replace(hour=7)}, [("daily", "outside")]),
        ({"daily_at": NOW.replace(hour=4, minute=0)}, []),
    ],
)
def test_what_rds_says_is_compared_with_what_is_asked(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert wrong(replace(FOUND, **change)) == expected


def test_a_database_that_is_not_there_and_one_of_which_nothing_is_asked() -> None:
    assert wrong(None) == [("database", "missing")]
    assert check_database("db", WantedBackups(), replace(FOUND, retention=timedelta()), NOW) == []


def test_a_daily_backup_is_missed_only_when_its_time_is_over() -> None:
    yesterday = replace(FOUND, daily_at=NOW.replace(hour=3) - DAY)
    for clock, expected in (("03:30", []), ("04:59", []), ("05:00", [("daily", "missing")])):
        now = NOW.replace(hour=int(clock[:2]), minute=int(clock[3:]))
        assert wrong(replace(yesterday, restorable_until=now), now=now) == expected, clock


def test_a_restorable_time_that_is_a_little_late_is_shown_and_not_told() -> None:
    def since(age: timedelta) -> datetime | None:
        (check,) = check_database("db", WantedBackups(rpo=5 * MINUTE), replace(FOUND, restorable_until=NOW - age), NOW)
        return check.since

    assert since(4 * MINUTE) is None
    assert since(8 * MINUTE) == NOW + 12 * MINUTE
    assert since(20 * MINUTE) == NOW


def dump(days: float, size: int = 1000) -> StoredDump:
    return StoredDump(size, NOW - days * DAY)


@pytest.mark.parametrize(
    ("dumps", "expected"),
    [
        ([dump(0.2), dump(1.2), dump(31)], []),
        ([], [("dump", "none")]),
        ([dump(1.1)], [("dump", "old")]),
        ([dump(0.2, 0), dump(1.2)], [("dump", "empty")]),
        ([dump(0.2, 499), dump(1.2)], [("dump", "shrunk")]),
        ([dump(0.2, 500), dump(1.2)], []),
        ([dump(0.2), dump(1.2, 0)], []),
        ([dump(0.2), dump(32.1)], [("kept", "old")]),
    ],
)
def test_dumps(dumps: list[StoredDump], expected: list[tuple[str, str]]) -> None:
    checks = check_dumps("db", WantedDumps(26 * HOUR, 30 * DAY), dumps, NOW)
    assert [(one.aspect.value, one.facts["problem"]) for one in checks if not one.holds] == expected


@pytest.mark.parametrize(
    ("proof", "problem", "mark"),
    [
        (Proof(), "never", "2026-03"),
        (Proof(NOW - 29 * DAY, 12 * MINUTE), None, ""),
        (Proof(NOW - 30 * DAY, 12 * MINUTE), "due", "2026-03-10"),
        (Proof(NOW - 75 * DAY, 12 * MINUTE), "due", "2026-02-23"),  # and again after another 30 days
        (Proof(NOW - DAY, 15 * MINUTE), "slow", (NOW - DAY).isoformat()),
        (Proof(NOW - 9 * DAY, 12 * MINUTE, NOW - DAY, "integrity"), "failed", (NOW - DAY).isoformat()),
        (Proof(failed_at=NOW - DAY), "failed", (NOW - DAY).isoformat()),
    ],
)
def test_a_proof_of_a_restore(proof: Proof, problem: str | None, mark: str) -> None:
    check = check_proof("db", WANTED, proof, NOW)
    assert check is not None
    assert (check.facts["problem"], check.mark, check.holds) == (problem, mark, problem is None)
    assert check_proof("db", WantedBackups(), proof, NOW) is None


def test_a_check_is_plain_json_and_back() -> None:
    for check in check_database("db", WANTED, replace(FOUND, multi_az=False), NOW):
        assert Check.from_json(check.to_json()) == check
    assert Check.from_json(Check("db", Aspect.DUMP, None).to_json()).holds is None


@pytest.mark.parametrize(
    ("text", "before", "opens"),
    [
        ("03:00-04:00", "2026-03-10T04:00", "2026-03-10T03:00"),
        ("03:00-04:00", "2026-03-10T03:59", "2026-03-09T03:00"),
        ("23:30-00:30", "2026-03-10T00:30", "2026-03-09T23:30"),
        ("23:30-00:30", "2026-03-10T00:29", "2026-03-08T23:30"),
    ],
)
def test_the_last_window_of_a_day(text: str, before: str, opens: str) -> None:
    window = DailyWindow.parse(text)
    begins, ends = window.last(datetime.fromisoformat(before).replace(tzinfo=UTC))
    assert (begins, ends - begins) == (datetime.fromisoformat(opens).replace(tzinfo=UTC), HOUR)
    assert window.contains(begins) and window.contains(ends) and not window.contains(ends + MINUTE)
