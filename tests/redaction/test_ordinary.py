"""Text without secrets is left as it is."""

from __future__ import annotations

from bot.redaction import Redaction
from tests.redaction.ordinary import WORDS, lines


def test_less_than_one_in_a_hundred_ordinary_lines_is_touched() -> None:
    given = list(lines())
    clean = Redaction().lines(given)
    touched = [(line, shown) for line, shown in zip(given, clean, strict=True) if line != shown]
    assert len(given) >= 1000
    assert len(touched) < len(given) / 100, touched


def test_lines_alone_are_judged_as_lines_together() -> None:
    given = list(lines())
    touched = [line for line in given if Redaction().text(line) != line]
    assert len(touched) < len(given) / 100, touched


def test_words_about_secrets_are_no_secrets() -> None:
    touched = [line for line in WORDS if Redaction().text(line) != line]
    assert not touched
