"""How long something took, in words: short, and never as if a target had been kept that was not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.messages.translations import format_duration

MINUTES = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("seconds", "target", "told"),
    [
        (None, None, "—"),
        (0.4, None, "0 s"),
        (59.6, None, "1 min"),
        (90, None, "1 min 30 s"),
        (620, None, "10 min"),
        (599, MINUTES, "9 min 59 s"),
        (600, MINUTES, "10 min"),
        (620, MINUTES, "10 min 20 s"),
        (661, MINUTES, "11 min"),
        (3620, timedelta(hours=1), "1 h 20 s"),
        (7500, timedelta(hours=1), "2 h 05 min"),
        (200_000, timedelta(hours=1), "2 d 7 h"),
    ],
)
def test_it_has_two_units_and_the_seconds_by_which_a_target_was_missed(
    seconds: float | None, target: timedelta | None, told: str
) -> None:
    assert format_duration(seconds, target) == told
