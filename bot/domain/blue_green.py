"""Two colours behind one Service: how to get from one state to another without changing what has the traffic.

The first colour is the service's own deployment, the second one stands beside it while a new version takes over. In the
end there is only the first one again, with the new version: what else works on the service finds it where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Color(StrEnum):
    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Colors:
    """The image tags of both, None where there is no second colour, and which one has the traffic."""

    first: str
    second: str | None = None
    live: Color = Color.FIRST

    @property
    def live_tag(self) -> str:
        return self.second if self.live is Color.SECOND and self.second else self.first


@dataclass(frozen=True, slots=True)
class Create:
    """Start the second colour with this tag, and wait until it is ready."""

    tag: str


@dataclass(frozen=True, slots=True)
class Update:
    """Give the first colour, which has no traffic, this tag, and wait until it is ready."""

    tag: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Send the traffic to this colour."""

    to: Color


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the second colour, which has no traffic."""


Move = Create | Update | Switch | Remove


def moves(now: Colors, wanted: Colors) -> list[Move]:
    """Return what leads from one state to the other, in order; nothing is changed while it has the traffic."""
    result: list[Move] = []
    state = now

    def move(one: Move) -> None:
        nonlocal state
        result.append(one)
        state = after(state, one)

    if wanted.first != state.first:
        if state.second is None:
            move(Create(wanted.second or state.first))
        if state.live is Color.FIRST:
            move(Switch(Color.SECOND))
        move(Update(wanted.first))
    if wanted.second != state.second:
        if state.live is Color.SECOND:
            move(Switch(Color.FIRST))
        if state.second is not None:
            move(Remove())
        if wanted.second is not None:
            move(Create(wanted.second))
    if wanted.live is not state.live:
        move(Switch(wanted.live))
    return result


def after(state: Colors, move: Move) -> Colors:
    """Return the state that a move leads to."""
    match move:
        case Create(tag):
            return replace(state, second=tag)
        case Update(tag):
            return replace(state, first=tag)
        case Switch(to):
            return replace(state, live=to)
        case Remove():
            return replace(state, second=None)


def way(now: Colors, wanted: Colors) -> Sequence[Colors]:
    """Return the states from one to the other, both included: where one who was cut off may stand."""
    states = [now]
    for move in moves(now, wanted):
        states.append(after(states[-1], move))
    return states
