"""Silences end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from bot.actions.catalogue import ACTIONS
from bot.expected import expectation

SILENCE = ACTIONS.get("alertmanager.silence").parameters


@pytest.mark.parametrize(("typed", "length"), [("1h", timedelta(hours=1)), ("7d", timedelta(days=7))])
def test_a_silence_lasts_a_week_at_most(typed: str, length: timedelta) -> None:
    read = SILENCE.model_validate({"alert": "HighLatency", "duration": typed})
    assert read.model_dump()["duration"] == length


@pytest.mark.parametrize("typed", ["8d", "520w", "3650d"])
def test_a_longer_silence_is_refused_with_how_long_it_may_be(typed: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SILENCE.model_validate({"alert": "HighLatency", "duration": typed})
    assert expectation(refused.value.errors()[0]) == {"kind": "at_most", "limit": "7d"}
