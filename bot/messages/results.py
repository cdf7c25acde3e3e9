"""What came of a step, in words and in lines: the answer to who has asked, also when there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jinja2 import UndefinedError
from slack_sdk.models.blocks import Block

from bot.domain.run import StepRun
from bot.messages.amounts import amount
from bot.messages.backups import backup_table
from bot.messages.message import SECTION_LIMIT, Message, fit, section
from bot.messages.translations import Translations, escape, format_duration

RESULT_LIMIT = 2500
TABLES = ("rows", "revisions", "traces")  # facts that are shown under a line with the names of their columns
TOP_ROWS = 6  # with the head of the table
ROW_LIMIT = 300

Facts = Mapping[str, Any]


def sentence(step: StepRun, words: Translations) -> str:
    """Return what came of a step in words; empty if its effects say it all.

    Before there is a result it is what speaks against the version that the step would bring.
    """
    if step.result is None:
        return gate_sentence(step.rehearsed or {}, words)
    said = result_sentence(step.uses, {"parameters": step.parameters or {}, **step.result}, words)
    said = " · ".join(filter(None, (said, gate_sentence(step.result, words))))
    is_same = "before" in step.result and step.result["before"] == step.result.get("after")
    return said or (words.render_block("result", "already") if is_same and not step.effects else "")


def gate_sentence(facts: Facts, words: Translations) -> str:
    """Return what speaks against the version of a step with these facts; empty if nothing does."""
    gate = facts.get("gate")
    return result_sentence("pipeline.gate", gate, words) if gate else ""


def result_sentence(action: str, facts: Facts, words: Translations) -> str:
    """Return an action's result in words; empty if its effects say it all."""
    key = action.replace(".", "_")
    if key not in set(words.render("results")):
        return ""
    try:
        means = {"amount": partial(amount, words=words), "pick": words.pick}
        return words.render_block("results", key, **{"parameters": {}, **means, **facts})
    except UndefinedError:  # kept by an earlier version of the bot, which knew less
        return ""


def message(step: StepRun, title: str, words: Translations) -> tuple[Message, bytes | None] | None:
    """Return a step's lines as a message, and as a text file if they are too long; None without any."""
    body = lines(step, words)
    if not body:
        return None
    is_table = any(isinstance((step.result or {}).get(name), list) for name in TABLES)
    head = words.render_block("result", "head", title=title, count=len(body) - is_table)
    text = "\n".join(body)
    if len(text) <= RESULT_LIMIT:
        shown = escape(text).replace("```", "’’’")
        blocks: list[Block] = [section(head), section(f"```{shown}```"[:SECTION_LIMIT])]
        return Message(head, blocks), None
    return Message.of(head), text.encode()


def looked(title: str, steps: Sequence[tuple[str, StepRun]], words: Translations) -> Message:
    """Return what the first steps of a runbook have seen, each with its title: a sentence, and the top of a table."""
    head = words.render_block("result", "looked", title=title)
    blocks: list[Block] = [section(head)]
    for name, step in steps:
        text = words.render_block("result", "saw", title=name, told=sentence(step, words))
        table = lines(step, words)[:TOP_ROWS] if isinstance((step.result or {}).get("rows"), list) else []
        shown = "\n".join(escape(fit(row, ROW_LIMIT)).replace("```", "’’’") for row in table)
        blocks.append(section(f"{text}\n```{shown}```" if table else text))
    return Message(head, blocks)


def lines(step: StepRun, words: Translations) -> list[str]:
    """Return the rows of a table, log lines or metrics as plain lines; empty if there is none."""
    facts = step.result or {}
    for name in ("rows", "revisions"):
        if isinstance(facts.get(name), list):
            return _table(facts[name], words)
    if isinstance(facts.get("checks"), list):
        return backup_table(facts["checks"], words)
    if isinstance(facts.get("traces"), list):
        return _table([{key: row[key] for key in ("milliseconds", "name", "id")} for row in facts["traces"]], words)
    if isinstance(facts.get("figures"), list):
        return [_figure(figure, words) for figure in facts["figures"]]
    if isinstance(facts.get("lines"), Mapping):
        logs = [f"{pod}  {line}" for pod, texts in facts["lines"].items() for line in texts]
        return [*logs, *(f"{pod}  ({why})" for pod, why in (facts.get("silent") or {}).items())]
    if isinstance(facts.get("lines"), list):
        return [str(line) for line in facts["lines"]]
    return []


def _figure(figure: Facts, words: Translations) -> str:
    """Return `🔴 Latency p95: 943 ms (max. 500 ms)`."""
    unit, threshold = figure["unit"], figure["threshold"]
    limit = f"{words.label('snapshot.limits.' + figure['direction'])} {amount(threshold, unit, words)}"
    icon, title = words.label("snapshot.icons." + figure["verdict"]), words.pick(figure["title"]) or figure["query"]
    return f"{icon} {title}: {amount(figure['value'], unit, words)}" + (f" ({limit})" if threshold is not None else "")


def _table(rows: list[dict[str, Any]], words: Translations) -> list[str]:
    if not rows:
        return []
    names = [name for name in rows[0] if name in MEASURED or any(row.get(name) not in (None, "") for row in rows)]
    cells = [names, *([_cell(name, row.get(name), words) for name in names] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cell(name: str, value: Any, words: Translations) -> str:
    if value is None:
        return words.label("not_measured") if name in MEASURED else ""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if name in _COLUMNS:
        return _COLUMNS[name](value, words)
    return amount(value, "", words) if isinstance(value, int | float) else " ".join(str(value).split())


def _time(value: Any, _: Translations) -> str:
    try:
        return f"{datetime.fromisoformat(str(value)).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return str(value)


MEASURED = ("cpu", "memory")  # the columns in which nothing means that it was not measured
_COLUMNS: Mapping[str, Callable[[Any, Translations], str]] = {
    "age": lambda value, _: format_duration(float(value)),
    "cpu": lambda value, words: amount(float(value), "cores", words),
    "memory": lambda value, words: amount(float(value), "bytes", words),
    "milliseconds": lambda value, words: amount(float(value), "ms", words),
    "revision": lambda value, _: str(value),
    "status": lambda value, _: str(value),
    "at": _time,
    "updated": _time,
}
