"""Which secrets are to be made anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.domain.rotation import Rotation, Rotations

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def rotation(secret: str, every: int, age: float | None) -> Rotation:
    written = None if age is None else NOW - timedelta(days=age)
    return Rotation(secret, "production", timedelta(days=every), written)


def test_the_longest_due_comes_first_and_then_the_next() -> None:
    late, later, just = rotation("late", 30, 31), rotation("later", 90, 200), rotation("just", 30, 30)
    soon, then, nobody = rotation("soon", 30, 29.5), rotation("then", 90, 1), rotation("nobody knows", 90, None)
    seen = Rotations.at(NOW, [then, late, nobody, soon, just, later])
    assert (seen.due, seen.next, seen.unknown) == ([later, late, just], soon, [nobody])


def test_of_two_due_on_the_same_day_nobody_compares_more_than_that() -> None:
    same = [rotation("b", 30, 40), rotation("a", 30, 40)]
    assert Rotations.at(NOW, same).due == same
