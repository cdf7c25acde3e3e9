"""What a team asks of its backups and what they are: a line for each thing, and what to do where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from slack_sdk.models.blocks import Block

from bot.domain.backup import Check
from bot.messages.message import section
from bot.messages.text import as_text
from bot.messages.translations import Translations

MOST_GROUPS = 8  # databases and places of dumps, the worst first
_TIMES = frozenset({"at", "until", "oldest", "failed_at"})


def backup_line(check: Check, words: Translations) -> str:
    """Return `✅ keeps 30 days of backups`: the check with its sign, without what it is of."""
    sign = words.label("backups." + {True: "holds", False: "fails", None: "unknown"}[check.holds])
    return f"{sign} {words.render_block('backups', check.aspect.value, **_facts(check))}"


def backup_due(check: Check, words: Translations) -> str:
    """Return what is wrong with a backup, and what to do."""
    what = words.render_block("backups", check.aspect.value, **_facts(check))
    todo = words.render_block("backups", "todo", aspect=check.aspect.value, runbook=check.runbook, **_facts(check))
    return words.render_block("backups", "due", of=check.of, what=what, todo=todo)


def backup_sections(checks: Sequence[Check], words: Translations) -> list[Block]:
    """Return a section for each database and place of dumps, a line for each check; nothing without checks."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.of, []).append(check)
    order = sorted(groups, key=lambda name: -sum(not check.holds for check in groups[name]))
    shown: list[Block] = [
        section(
            "\n".join(
                [words.render_block("backups", "group", of=name), *(backup_line(one, words) for one in groups[name])]
            )
        )
        for name in order[:MOST_GROUPS]
    ]
    if len(order) > MOST_GROUPS:
        shown.append(section(words.render_block("calendar", "more", count=len(order) - MOST_GROUPS)))
    return [section(words.render_block("backups", "title")), *shown] if shown else []


def backup_table(checks: Sequence[Mapping[str, Any]], words: Translations) -> list[str]:
    """Return the checks (as JSON) as plain lines, each with what it is of."""
    found = [Check.from_json(raw) for raw in checks]
    width = max((len(check.of) for check in found), default=0)
    return [f"{check.of.ljust(width)}  {as_text(backup_line(check, words), {})}" for check in found]


def _facts(check: Check) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(fact) if name in _TIMES and fact else fact for name, fact in check.facts.items()
    }
