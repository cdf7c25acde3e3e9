"""What is due, as one message each, and the weekly digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slack_sdk.models.blocks import Block

from bot.domain.backup import Check
from bot.domain.calendar import Due, DueKind
from bot.domain.followup import FollowUp
from bot.domain.forecast import Score
from bot.domain.incident import Incident
from bot.domain.rotation import Rotation
from bot.domain.statistics import Statistics
from bot.messages.backups import backup_due, backup_sections
from bot.messages.confirm import confirm
from bot.messages.forecast import score_sections
from bot.messages.message import Message, actions, button, section
from bot.messages.translations import Translations

MOST_LINES = 5
MOST_BUTTONS = 3


@dataclass(frozen=True, slots=True)
class LongWait:
    """How long an approval was waited for, and whether anybody gave it."""

    run_id: str
    runbook: str
    took: timedelta
    answered: bool


@dataclass(frozen=True, slots=True)
class Week:
    """The facts of a digest. `rotations` are due, `waits` are the longest first; `rotations_known`: Vault was asked.

    `backups` are all checks of the backups, of those that are well, too. `forecasts` are what came of what was
    foreseen, with the metrics' names in `titles`.
    """

    since: datetime
    until: datetime
    statistics: Statistics
    open: Sequence[Incident] = ()
    overdue: Sequence[FollowUp] = ()
    rotations: Sequence[Rotation] = ()
    rotations_known: bool = True
    waits: Sequence[LongWait] = ()
    backups: Sequence[Check] = ()
    forecasts: Sequence[Score] = ()
    titles: Mapping[str, str] = field(default_factory=dict)


def due_message(due: Due, words: Translations) -> Message:
    """Say what is due, with a button for each runbook (of a drill: each scenario) that does it."""
    text = due_text(due, words)
    name = "start_drill" if due.kind is DueKind.DRILL else "run_due"
    buttons = [
        button(
            words.label(f"buttons.{name}", runbook=runbook),
            f"{name}_{number}" if number else name,
            f"{due.key}|{runbook}",
            confirm=confirm(words, name, runbook=runbook),
        )
        for number, runbook in enumerate(due.runbooks[:MOST_BUTTONS])
    ]
    return Message(text, [section(text), *actions(buttons)])


def due_text(due: Due, words: Translations) -> str:
    """Return what is due in one line."""
    facts: Mapping[str, object] = {
        "title": words.pick(due.title) if due.title else "",
        "at": due.at,
        "runbooks": due.runbooks,
        **{name: _moment(name, fact) for name, fact in due.facts.items()},
    }
    if "check" in due.facts:
        return backup_due(Check.from_json(due.facts["check"]), words)
    return words.render_block("calendar", due.kind.value, **facts)


def _moment(name: str, fact: object) -> object:
    return datetime.fromisoformat(str(fact)) if name in ("begins", "ends", "newest") and fact else fact


def digest(week: Week, words: Translations) -> Message:
    """Show a week: incidents, figures against targets, and what is overdue. A part without content is left out."""
    title = words.render_block("calendar", "digest", week=week)
    stats = week.statistics
    figures = [
        words.render_block("calendar", "figure", which=name, figure=getattr(stats, name), sign=_sign(stats, name))
        for name in ("mtta", "mttr")
        if getattr(stats, name).spread is not None
    ]
    lists: list[tuple[str, list[str]]] = [
        ("open", [words.render_block("calendar", "open_line", incident=one) for one in week.open[:MOST_LINES]]),
        (
            "overdue",
            [words.render_block("calendar", "overdue_line", followup=one) for one in week.overdue[:MOST_LINES]],
        ),
        (
            "rotations",
            [words.render_block("calendar", "rotation_line", rotation=one) for one in week.rotations[:MOST_LINES]],
        ),
        ("waits", [words.render_block("calendar", "wait_line", wait=one) for one in week.waits[:MOST_LINES]]),
    ]
    blocks: list[Block] = [section(title)]
    if figures:
        blocks.append(section("\n".join(figures)))
    for name, lines in lists:
        if lines:
            count = len(getattr(week, name))
            more = [words.render_block("calendar", "more", count=count - MOST_LINES)] if count > MOST_LINES else []
            heading = words.render_block("calendar", f"{name}_title", count=count)
            blocks.append(section("\n".join([heading, *lines, *more])))
    if not week.rotations_known:
        blocks.append(section(words.render_block("calendar", "rotations_unknown")))
    blocks += backup_sections(week.backups, words)
    blocks += score_sections(week.forecasts, week.titles, words)
    return Message(title, blocks)


def _sign(stats: Statistics, name: str) -> str:
    return {True: "✓", False: "✗", None: ""}[getattr(stats, name).met]
