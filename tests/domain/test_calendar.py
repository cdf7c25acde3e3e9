"""What is due when: by table, at a clock that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.domain.backup import Aspect, Check, StoredDump, WantedDumps, check_dumps
from bot.domain.calendar import Due, Exercise, Maintenance, Plan, Recurring, due, upcoming
from bot.domain.rotation import Rotation

DAY = timedelta(days=1)
MADRID = ZoneInfo("Europe/Madrid")
EMPTY = Plan(MADRID, time(9))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def madrid(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MADRID)


def keys(plan: Plan, at: str, since: datetime = LONG_AGO) -> list[str]:
    return [thing.key for thing in due(plan, madrid(at).astimezone(UTC), since)]


TASK = replace(EMPTY, tasks=[Recurring("health", {}, date(2026, 1, 5), 28 * DAY)])
DIGEST = replace(EMPTY, digest=0)
WINDOW = Maintenance("rds", {}, madrid("2026-01-04T05:00"), timedelta(hours=1), DAY)
ONCE = replace(EMPTY, maintenance=[WINDOW])
WEEKLY = replace(EMPTY, maintenance=[replace(WINDOW, every=7 * DAY)])


@pytest.mark.parametrize(
    ("plan", "at", "expected"),
    [
        (TASK, "2026-01-04T12:00", []),
        (TASK, "2026-01-05T08:59", []),  # it wakes nobody
        (TASK, "2026-01-05T09:00", ["task/health/2026-01-05"]),
        (TASK, "2026-04-01T10:00", ["task/health/2026-03-30"]),  # of several that were missed the newest
        (DIGEST, "2026-03-02T09:00", ["digest/2026-03-02"]),
        (DIGEST, "2026-03-05T10:00", ["digest/2026-03-02"]),
        (ONCE, "2026-01-02T08:59", []),
        (ONCE, "2026-01-02T09:00", ["maintenance/rds/2026-01-04T05:00"]),  # a day before would be at night
        (ONCE, "2026-01-04T05:59", ["maintenance/rds/2026-01-04T05:00"]),  # even at night, while it is not over
        (ONCE, "2026-01-04T06:00", []),
        (WEEKLY, "2026-01-04T06:00", []),
        (WEEKLY, "2026-07-04T12:00", ["maintenance/rds/2026-07-05T05:00"]),  # in summer at the same hour
    ],
)
def test_what_the_date_says(plan: Plan, at: str, expected: Sequence[str]) -> None:
    assert keys(plan, at) == expected


def test_maintenance_that_comes_soon() -> None:
    def soon(plan: Plan, at: str) -> list[str]:
        return [thing.key for thing in upcoming(plan, madrid(at).astimezone(UTC), 7 * DAY)]

    assert soon(ONCE, "2025-12-27T12:00") == [] and soon(ONCE, "2026-01-04T06:00") == []
    assert soon(ONCE, "2025-12-28T06:00") == soon(ONCE, "2026-01-04T05:30") == ["maintenance/rds/2026-01-04T05:00"]
    assert soon(WEEKLY, "2026-01-04T06:00") == ["maintenance/rds/2026-01-11T05:00"]


def test_what_was_due_before_the_bot_knew_of_it_is_not_told() -> None:
    since = madrid("2026-01-05T09:00")
    assert keys(TASK, "2026-01-06T10:00", since) == [] and keys(DIGEST, "2026-01-06T10:00", since) == []
    assert keys(TASK, "2026-02-02T10:00", since) == ["task/health/2026-02-02"]


def test_a_drill_is_due_in_its_month_until_it_was_held() -> None:
    exercise = Exercise({}, [3, 9], ["db-failover"], last_held=madrid("2025-09-10T10:00"))
    plan = replace(EMPTY, exercises=[exercise])
    assert keys(plan, "2026-02-28T12:00") == []
    assert keys(plan, "2026-03-01T09:00") == keys(plan, "2026-03-31T12:00") == ["drill/db-failover/2026-03"]
    held = replace(plan, exercises=[replace(exercise, last_held=madrid("2026-03-01T00:30"))])
    assert keys(held, "2026-03-31T12:00") == []
    assert keys(held, "2026-09-01T12:00") == ["drill/db-failover/2026-09"]


def test_a_secret_is_due_again_after_it_was_rotated() -> None:
    def written(at: str | None) -> Plan:
        rotation = Rotation("jwt", "production", 30 * DAY, madrid(at) if at else None)
        return replace(EMPTY, rotations=[(rotation, "rotate-secrets")])

    assert keys(written("2026-01-01T10:00"), "2026-01-31T09:59") == []
    (told,) = due(written("2026-01-01T10:00"), madrid("2026-02-20T10:00"), LONG_AGO)
    assert (told.key, told.runbooks) == ("secret/jwt/production/2026-01-31", ("rotate-secrets",))
    assert keys(written("2026-02-20T10:05"), "2026-03-22T10:05") == ["secret/jwt/production/2026-03-22"]
    assert keys(written(None), "2026-03-22T10:05") == [], "nobody knows how old it is"
    assert Due.from_json(told.to_json()) == told


def test_a_backup_that_is_wrong_is_told_once_for_each_occasion() -> None:
    night = madrid("2026-01-02T05:00")

    def newest(at: str | None) -> Plan:
        dumps = [StoredDump(1, madrid(at))] if at else []
        return replace(EMPTY, backups=check_dumps("db", WantedDumps(timedelta(hours=26)), dumps, night))

    assert keys(newest("2026-01-01T03:01"), "2026-01-02T09:00") == []
    assert keys(newest("2026-01-01T03:00"), "2026-01-02T05:00") == []  # at night it waits
    assert keys(newest("2026-01-01T03:00"), "2026-01-02T09:00") == ["backup/db/2026-01-01T03:00:00+01:00"]
    assert keys(newest(None), "2026-01-02T09:00") == ["backup/db/none"]
    plan = replace(EMPTY, backups=[Check("db", Aspect.MULTI_AZ, False, {"problem": "none"}, night, "2026-01", "fix")])
    (told,) = due(plan, madrid("2026-01-02T09:00"), LONG_AGO)
    assert (told.key, told.runbooks) == ("backup/db/multi_az/2026-01", ("fix",))
    assert Due.from_json(told.to_json()) == told
    unknown = replace(plan, backups=[Check("db", Aspect.DATABASE, None)])
    assert keys(unknown, "2026-01-02T09:00") == []


def test_long_names_have_short_keys_that_differ() -> None:
    tasks = [Recurring("a" * 200 + end, {}, date(2026, 1, 5), DAY) for end in "xy"]
    found = keys(replace(EMPTY, tasks=tasks), "2026-01-05T09:00")
    assert len(set(found)) == 2 and all(len(key) <= 90 for key in found)
