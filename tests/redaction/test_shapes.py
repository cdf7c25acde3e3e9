"""Of a hundred shapes of secrets none comes through."""

from __future__ import annotations

import json

import pytest

from bot.redaction import Redaction
from bot.redaction.shapes import HIDDEN
from tests.redaction.shapes import SHAPES

LONG = 12  # characters; a longer secret must not come through in parts either


def _parts(secret: str) -> list[str]:
    lines = [line for line in secret.splitlines() if line and not line.startswith("-----")]
    return [line[at : at + LONG] for line in lines for at in range(0, max(1, len(line) - LONG + 1), 4)]


def _leaked(clean: str, secret: str, text: str) -> list[str]:
    return [part for part in _parts(secret) if clean.count(part) > text.replace("§", "").count(part)]


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_of_a_secret_comes_through(name: str) -> None:
    text, secret = SHAPES[name]
    clean = Redaction().text(text.replace("§", secret))
    assert HIDDEN in clean
    assert not _leaked(clean, secret, text), clean


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_comes_through_in_a_log_line_or_as_lines(name: str) -> None:
    text, secret = SHAPES[name]
    given = text.replace("§", secret)
    shown = ["\n".join(Redaction().lines(given.splitlines()))]
    if "\n" not in given:
        around = (f"2026-01-07T02:10:33Z ERROR db: {given}", json.dumps({"message": given}), f"`{given}`", f"({given})")
        shown += map(Redaction().text, around)
    for clean in shown:
        assert not _leaked(clean, secret, text), clean


def test_lines_stay_as_many_as_they_were() -> None:
    for text, secret in SHAPES.values():
        given = text.replace("§", secret).splitlines()
        assert len(Redaction().lines(given)) == len(given)


def test_there_are_a_hundred_shapes() -> None:
    assert len(SHAPES) >= 100
