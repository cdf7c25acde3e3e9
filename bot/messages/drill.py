"""Messages about drills: the scenarios, and the score of a drill."""

from __future__ import annotations

from collections.abc import Sequence

from slack_sdk.models.blocks import Block

from bot.domain.drill import PREFIX, Mark, Score
from bot.domain.incident import Incident
from bot.domain.runbook import Runbook
from bot.messages.message import Message, context, section
from bot.messages.translations import Translations


def scenarios(runbooks: Sequence[Runbook], words: Translations) -> Message:
    """List the scenarios."""
    if not runbooks:
        return Message.of(words.render_block("drill", "no_scenarios"))
    title = words.render_block("drill", "scenarios")
    lines = [
        words.render_block("drill", "scenario", name=runbook.name.removeprefix(PREFIX), title=words.pick(runbook.title))
        for runbook in runbooks
    ]
    return Message(title, [section(title), section("\n".join(lines))])


def scorecard(score: Score, incident: Incident, words: Translations) -> Message:
    """Show the results of a drill against the team's targets."""
    title = words.render_block("drill", "score", incident=incident, seen=score)
    blocks: list[Block] = [section(title), section("\n".join(_lines(score, words)))]
    blocks.append(context(words.render_block("drill", "about_score", seen=score)))
    return Message(title, blocks)


def summary(score: Score, words: Translations) -> str:
    """Return the results as plain lines, for the timeline and the report."""
    return "\n".join([words.render_block("drill", "result"), *_lines(score, words)])


def _lines(score: Score, words: Translations) -> list[str]:
    before = score.last.marks if score.last else {}
    lines = [
        words.render_block("drill", "mark", mark=mark, sign=_sign(mark), before=before.get(mark.goal))
        for mark in score.marks
    ]
    if score.last:
        day = words.format_time_plain(score.last.at.date())  # it stands in the report, too
        lines.append(words.render_block("drill", "last", last=score.last, day=day))
    if score.did_not_hold:
        lines.append(words.render_block("drill", "did_not_hold", steps=score.did_not_hold))
    return lines


def _sign(mark: Mark) -> str:
    return {True: "✅", False: "❌", None: "▫️"}[mark.met]
