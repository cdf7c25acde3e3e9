"""Drills as messages: the scenarios, and the marks of one."""

from __future__ import annotations

from collections.abc import Sequence

from slack_sdk.models.blocks import Block

from bot.domain.drill import PREFIX, Mark, Score
from bot.domain.incident import Incident
from bot.domain.runbook import Runbook
from bot.messages.blocks import context, section
from bot.messages.message import Message
from bot.messages.words import Words


def scenarios(books: Sequence[Runbook], words: Words) -> Message:
    """What can be drilled, a line each."""
    if not books:
        return Message.of(words.part("drill", "no_scenarios"))
    title = words.part("drill", "scenarios")
    lines = [
        words.part("drill", "scenario", name=book.name.removeprefix(PREFIX), title=words.of(book.title))
        for book in books
    ]
    return Message(title, [section(title), section("\n".join(lines))])


def scorecard(seen: Score, incident: Incident, words: Words) -> Message:
    """The marks of a drill against the team's targets."""
    title = words.part("drill", "score", incident=incident, seen=seen)
    blocks: list[Block] = [section(title), section("\n".join(_lines(seen, words)))]
    blocks.append(context(words.part("drill", "about_score", seen=seen)))
    return Message(title, blocks)


def summary(seen: Score, words: Words) -> str:
    """The same in plain lines, for the timeline and the report."""
    return "\n".join([words.part("drill", "result"), *_lines(seen, words)])


def _lines(seen: Score, words: Words) -> list[str]:
    lines = [words.part("drill", "mark", mark=mark, sign=_sign(mark)) for mark in seen.marks]
    if seen.did_not_hold:
        lines.append(words.part("drill", "did_not_hold", steps=seen.did_not_hold))
    return lines


def _sign(mark: Mark) -> str:
    return {True: "✅", False: "❌", None: "▫️"}[mark.met]
