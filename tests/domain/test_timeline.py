"""The chain of the timeline: whoever changes, drops or swaps an event breaks it from there on."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bot.domain import timeline
from bot.domain.people import Person
from bot.domain.timeline import GENESIS, Kind, TimelineEvent

AT = datetime(2026, 1, 7, 2, 10, tzinfo=UTC)
ID = "INC-2026-0001"


def chain(count: int = 4) -> list[TimelineEvent]:
    events: list[TimelineEvent] = []
    for number in range(1, count + 1):
        event = TimelineEvent(Kind.NOTE, AT + timedelta(minutes=number), Person("U1", "Ana"), {"text": f"n{number} ñ"})
        events.append(event.chained(ID, events[-1].hash if events else GENESIS, number))
    return events


def holds(events: list[TimelineEvent], incident: str = ID) -> bool:
    before = GENESIS
    for event in events:
        if event.digest(incident, before) != event.hash:
            return False
        before = event.hash
    return True


def test_events_are_numbered_and_each_carries_the_hash_of_the_one_before() -> None:
    events = chain()
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert len({event.hash for event in events}) == 4 and holds(events)


@pytest.mark.parametrize(
    "forged",
    [
        {"facts": {"text": "otra cosa"}},
        {"facts": {"text": "n2 ñ", "more": None}},
        {"by": Person("U2", "Ana")},
        {"by": Person("U1", "Anna")},
        {"at": AT},
        {"kind": Kind.UPDATE},
        {"seq": 3},
    ],
)
def test_a_changed_event_breaks_the_chain(forged: dict[str, object]) -> None:
    events = chain()
    events[1] = replace(events[1], **forged)  # type: ignore[arg-type]
    assert not holds(events)


def test_a_dropped_swapped_or_foreign_event_breaks_the_chain() -> None:
    events = chain()
    assert not holds(events[:1] + events[2:])
    assert not holds([events[0], events[2], events[1], events[3]])
    assert not holds(events, incident="INC-2026-0002")


def test_the_hash_does_not_hang_on_time_zones_or_the_order_of_facts() -> None:
    at = datetime(2026, 1, 7, 3, 10, tzinfo=timezone(timedelta(hours=1)))
    one = TimelineEvent(Kind.NOTE, AT, Person("U1"), {"a": 1, "b": "ñ"})
    other = TimelineEvent(Kind.NOTE, at, Person("U1"), {"b": "ñ", "a": 1})
    assert one.digest(ID, GENESIS) == other.digest(ID, GENESIS)


def test_nothing_of_it_is_random_or_of_now() -> None:
    source = inspect.getsource(timeline)
    assert "now(" not in source and "random" not in source and "uuid" not in source
