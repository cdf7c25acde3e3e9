"""Moments as people type them at three in the morning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import BadInput
from bot.domain.times import parse_time

NOW = datetime(2026, 1, 7, 2, 14, 30, 250_000, tzinfo=UTC)
NAMED = {"declared": NOW - timedelta(minutes=9)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        (" Ahora ", NOW),
        ("-15m", NOW - timedelta(minutes=15)),
        ("-1h30m", NOW - timedelta(hours=1, minutes=30)),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-2d", NOW - timedelta(days=2)),
        ("02:10", datetime(2026, 1, 7, 2, 10, tzinfo=UTC)),
        ("2:10:05", datetime(2026, 1, 7, 2, 10, 5, tzinfo=UTC)),
        ("23:50", datetime(2026, 1, 6, 23, 50, tzinfo=UTC)),  # it was yesterday, not in the evening to come
        ("2026-01-07T02:10", datetime(2026, 1, 7, 2, 10, tzinfo=UTC)),
        ("2026-01-07T02:10Z", datetime(2026, 1, 7, 2, 10, tzinfo=UTC)),
        ("2026-01-06T20:10-06:00", datetime(2026, 1, 7, 2, 10, tzinfo=UTC)),
        ("2026-01-06", datetime(2026, 1, 6, tzinfo=UTC)),
        ("Declared", NAMED["declared"]),
    ],
)
def test_what_people_type_means_one_moment(text: str, expected: datetime) -> None:
    found = parse_time(text, NOW, NAMED)
    assert found == expected
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["", "-", "-m", "15m", "25:00", "02:60", "ayer", "2026-13-01", "mitigated", "-1w",
                                  "-999999999999d", "0001-01-01T00:00+14:00"])  # fmt: skip
def test_anything_else_is_refused_with_the_names_that_would_do(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_time(text, NOW, NAMED)
    assert refused.value.key == "bad_moment"
    assert refused.value.facts["names"] == ["declared"]


def test_a_moment_that_is_still_to_come_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        parse_time("2026-01-07T02:15", NOW)
    assert refused.value.key == "moment_to_come"
