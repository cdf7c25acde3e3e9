"""From one state of two colours to another: nobody who is served sees a change but the switch."""

from __future__ import annotations

from itertools import product

import pytest

from bot.domain.blue_green import Color, Colors, Create, Remove, Switch, Update, after, moves, way

OLD, NEW, OTHER = "v1", "v2", "v3"
STATES = [
    Colors(first, second, live)
    for first, second, live in product((OLD, NEW), (None, OLD, NEW, OTHER), Color)
    if second is not None or live is Color.FIRST
]


@pytest.mark.parametrize(
    ("now", "wanted", "expected"),
    [
        (Colors(OLD), Colors(OLD, NEW), [Create(NEW)]),
        (Colors(OLD, NEW), Colors(OLD, NEW, Color.SECOND), [Switch(Color.SECOND)]),
        (Colors(OLD, NEW, Color.SECOND), Colors(NEW), [Update(NEW), Switch(Color.FIRST), Remove()]),
        (Colors(NEW), Colors(OLD, NEW, Color.SECOND), [Create(NEW), Switch(Color.SECOND), Update(OLD)]),
        (Colors(OLD, NEW, Color.SECOND), Colors(OLD, NEW), [Switch(Color.FIRST)]),
        (Colors(OLD, NEW), Colors(OLD), [Remove()]),
        (Colors(OLD), Colors(OLD), []),
    ],
)
def test_what_leads_from_one_state_to_the_next(now: Colors, wanted: Colors, expected: list[object]) -> None:
    assert moves(now, wanted) == expected


@pytest.mark.parametrize(("now", "wanted"), product(STATES, STATES))
def test_every_state_is_reached_and_what_has_the_traffic_is_never_changed(now: Colors, wanted: Colors) -> None:
    state = now
    for move in moves(now, wanted):
        match move:
            case Update():
                assert state.live is Color.SECOND
            case Remove():
                assert state.live is Color.FIRST
            case Create():
                assert state.second is None
            case Switch(to):
                assert to is Color.FIRST or state.second is not None
        state = after(state, move)
    assert state == wanted


@pytest.mark.parametrize(("now", "wanted"), product(STATES, STATES))
def test_who_was_cut_off_on_the_way_still_arrives(now: Colors, wanted: Colors) -> None:
    for state in way(now, wanted):
        assert way(state, wanted)[-1] == wanted
