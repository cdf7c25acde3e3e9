"""How an incident ends is read from its timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.ending import endings
from bot.domain.people import Person
from bot.domain.timeline import Kind, TimelineEvent, is_call

BEGAN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def timeline(*kinds: Kind | tuple[Kind, dict[str, Any]]) -> list[TimelineEvent]:
    """Events a minute apart, numbered from 1."""
    pairs = [one if isinstance(one, tuple) else (one, {}) for one in kinds]
    return [
        TimelineEvent(kind, BEGAN + timedelta(minutes=seq), Person("U1"), facts, seq)
        for seq, (kind, facts) in enumerate(pairs, start=1)
    ]


def test_calm_mitigated_and_resolved_are_one_ending() -> None:
    events = timeline(Kind.DECLARED, Kind.ALERT_RESOLVED, Kind.MITIGATED, Kind.CAUSE_REMAINS, Kind.RESOLVED)
    (ending,) = endings(events)
    assert ending.began == 2 and ending.back is None
    assert (ending.calm, ending.mitigated, ending.remains, ending.resolved) == tuple(events[1:])


def test_while_another_alert_fires_it_is_not_calm() -> None:
    assert endings(timeline(Kind.DECLARED, (Kind.ALERT_RESOLVED, {"firing": 1}))) == []


@pytest.mark.parametrize("comes_back", [Kind.ALERT_FIRING, Kind.REOPENED])
def test_what_comes_back_ends_the_ending_and_the_next_is_new(comes_back: Kind) -> None:
    first, second = endings(timeline(Kind.DECLARED, Kind.MITIGATED, comes_back, Kind.ALERT_RESOLVED, Kind.RESOLVED))
    assert first.back and first.back.kind is comes_back
    assert (second.began, second.back, second.mitigated) == (4, None, None)


def test_a_cause_that_remains_is_no_ending_by_itself() -> None:
    assert endings(timeline(Kind.DECLARED, Kind.CAUSE_REMAINS)) == []


def test_another_alert_is_a_record_until_the_incident_was_mitigated() -> None:
    events = timeline(
        Kind.DECLARED, Kind.ALERT_FIRING, Kind.MITIGATED, Kind.ALERT_FIRING, Kind.REOPENED, Kind.ALERT_FIRING
    )
    assert [is_call(event, events) for event in events if event.kind is Kind.ALERT_FIRING] == [False, True, False]
