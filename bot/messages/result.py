"""What a step that only reads has found: a few lines in the thread, or a file when it is long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.domain.run import StepRun
from bot.messages.blocks import SECTION_LIMIT, section
from bot.messages.message import Message
from bot.messages.words import Translations, escape

LONG = 2500


def result(step: StepRun, title: str, words: Translations) -> tuple[Message, bytes | None] | None:
    """The message, and the whole of it as a text file when it does not fit; None when there is nothing to tell."""
    facts = step.result or {}
    body = _lines(facts)
    if not body:
        return None
    head = words.render_block("result", "head", title=title, count=len(body))
    text = "\n".join(body)
    if len(text) <= LONG:
        shown = escape(text).replace("```", "’’’")
        return Message(head, [section(head), section(f"```{shown}```"[:SECTION_LIMIT])]), None
    return Message.of(head), text.encode()


def result_text(step: StepRun) -> list[str]:
    """All of it as plain lines, for a terminal."""
    return _lines(step.result or {})


def _lines(facts: Mapping[str, Any]) -> list[str]:
    """A table's rows, pods' logs, or plain facts, a line each."""
    if isinstance(facts.get("rows"), list):
        return _table(facts["rows"])
    if isinstance(facts.get("revisions"), list):
        return _table(facts["revisions"])
    if isinstance(facts.get("lines"), Mapping):
        return [f"{pod}  {line}" for pod, lines in facts["lines"].items() for line in lines]
    if isinstance(facts.get("values"), Mapping):
        return [f"{name}  {'?' if value is None else format(value, '.4g')}" for name, value in facts["values"].items()]
    return []


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = [name for name in rows[0] if any(row.get(name) not in (None, "") for row in rows)]
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20:
        return f"{value / 2**20:.0f}Mi"
    return "" if value is None else str(value)
