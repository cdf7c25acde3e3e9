"""A time is of the place of who types it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bot.domain.times import format_span, parse_time, parse_zone

MADRID, MEXICO = ZoneInfo("Europe/Madrid"), ZoneInfo("America/Mexico_City")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "zone", "now", "meant"),
    [
        ("20:40", MADRID, utc(2026, 1, 7, 19, 57), utc(2026, 1, 7, 19, 40)),
        ("20:40", UTC, utc(2026, 1, 7, 19, 57), utc(2026, 1, 6, 20, 40)),
        ("23:50", MADRID, utc(2026, 1, 7, 23, 10), utc(2026, 1, 7, 22, 50)),
        ("23:50", MEXICO, utc(2026, 1, 7, 7, 0), utc(2026, 1, 7, 5, 50)),
        ("2026-01-07T20:40", MADRID, utc(2026, 1, 7, 19, 57), utc(2026, 1, 7, 19, 40)),
        ("2026-01-07T20:40Z", MADRID, utc(2026, 1, 7, 22, 0), utc(2026, 1, 7, 20, 40)),
        ("2026-01-07", MADRID, utc(2026, 1, 7, 22, 0), utc(2026, 1, 6, 23, 0)),
        # The night in which the clock is turned back has 02:30 twice: the last one is meant, once it has come.
        ("02:30", MADRID, utc(2026, 10, 25, 1, 45), utc(2026, 10, 25, 1, 30)),
        ("02:30", MADRID, utc(2026, 10, 25, 0, 45), utc(2026, 10, 25, 0, 30)),
    ],
)  # fmt: skip
def test_a_time_is_of_the_place_of_who_types_it(text: str, zone: ZoneInfo, now: datetime, meant: datetime) -> None:
    assert parse_time(text, now, None, zone) == meant


def test_what_was_understood_says_which_zone_it_is() -> None:
    span = (utc(2026, 1, 7, 19, 40), utc(2026, 1, 7, 19, 50))
    assert format_span(*span, MADRID) == "2026-01-07 20:40 → 20:50 CET (19:40 → 19:50 UTC)"
    assert format_span(*span, UTC) == "2026-01-07 19:40 → 19:50 UTC"


@pytest.mark.parametrize("name", ["", None, "Nowhere/Atlantis", "../../etc/passwd", "/etc/localtime", "x" * 400])
def test_a_zone_that_is_not_there_is_none(name: str | None) -> None:
    assert parse_zone(name) is None
