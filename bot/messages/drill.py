"""Drills as messages: the scenarios, and the marks of one."""

from __future__ import annotations

from collections.abc import Sequence

from slack_sdk.models.blocks import Block

from bot.domain.drill import PREFIX, Mark, Score
from bot.domain.incident import Incident
from bot.domain.runbook import Runbook
from bot.messages.blocks import context, section
from bot.messages.message import Message
from bot.messages.words import Translations


def scenarios(books: Sequence[Runbook], words: Translations) -> Message:
    """What can be drilled, a line each."""
    if not books:
        return Message.of(words.render_block("drill", "no_scenarios"))
    title = words.render_block("drill", "scenarios")
    lines = [
        words.render_block("drill", "scenario", name=book.name.removeprefix(PREFIX), title=words.pick(book.title))
        for book in books
    ]
    return Message(title, [section(title), section("\n".join(lines))])


def scorecard(seen: Score, incident: Incident, words: Translations) -> Message:
    """The marks of a drill against the team's targets."""
    title = words.render_block("drill", "score", incident=incident, seen=seen)
    blocks: list[Block] = [section(title), section("\n".join(_lines(seen, words)))]
    blocks.append(context(words.render_block("drill", "about_score", seen=seen)))
    return Message(title, blocks)


def summary(seen: Score, words: Translations) -> str:
    """The same in plain lines, for the timeline and the report."""
    return "\n".join([words.render_block("drill", "result"), *_lines(seen, words)])


def _lines(seen: Score, words: Translations) -> list[str]:
    lines = [words.render_block("drill", "mark", mark=mark, sign=_sign(mark)) for mark in seen.marks]
    if seen.did_not_hold:
        lines.append(words.render_block("drill", "did_not_hold", steps=seen.did_not_hold))
    return lines


def _sign(mark: Mark) -> str:
    return {True: "✅", False: "❌", None: "▫️"}[mark.met]
