"""`docs/actions.md`, written from the registry: `make actions`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from bot.actions.registry import Action, Registry
from bot.domain.times import format_duration as span_as_written

HEAD = """# The actions

Written by `make actions` from `bot/actions/`; each is one function there. A runbook's step uses one by its name
(`uses: kubernetes.scale`), and `/ops` does one alone under the same policy. What a risk needs, and for whom, stands in
the team's file: *read* is for everybody in the channel, *change* for responders, *disruptive* is approved by a second
person, *destructive* by two others. Before anything is changed it is rehearsed, and exactly what was shown is done.
"""
WAITS = {"approval": "somebody's approval, whatever the policy says", "answer": "somebody's answer, by a form"}


def render(actions: Registry) -> str:
    """The whole document: an overview, then a part for each service."""
    services: dict[str, list[Action]] = {}
    for action in actions.all():
        services.setdefault(action.name.partition(".")[0], []).append(action)
    parts = [HEAD, _overview(actions)]
    for service, group in services.items():
        parts.append(f"## {service}\n")
        parts += [_action_section(action) for action in group]
    return "\n".join(parts)


def _overview(actions: Registry) -> str:
    rows = ["| action | what | risk | can be undone |", "|---|---|---|---|"]
    for action in actions.all():
        link = f"[`{action.name}`](#{action.name.replace('.', '')})"
        rows.append(f"| {link} | {cell(action.summary)} | {action.risk} | {'yes' if action.undo else '-'} |")
    return "\n".join(rows) + "\n"


def _action_section(action: Action) -> str:
    lines = [f"### {action.name}\n", f"{action.summary}\n", f"- Risk: {action.risk}"]
    if action.undo:
        lines.append(f"- Undo: {(action.undo.__doc__ or '').strip().partition(chr(10))[0]}")
    if action.target:
        lines.append(f"- One at a time for each `{action.target}`")
    if action.waits_for:
        lines.append(f"- Waits for {WAITS[action.waits_for]}")
    lines.append(f"- Example: `{action.signature.example}`\n")
    rows = list(_parameters(action))
    if rows:
        lines += ["| parameter | type | without it |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _parameters(action: Action) -> Iterator[str]:
    schema = action.parameters.model_json_schema()
    for name, field in action.parameters.model_fields.items():
        described = _resolved(schema["properties"][name], schema)
        default = "needed" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield f"| `{name}` | {cell(_type(described, schema))} | {cell(default)} |"


def _resolved(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for."""
    reference = described.get("$ref")
    return {**schema["$defs"][reference.rpartition("/")[2]], **described} if reference else described


def _type(described: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in described:
        kinds = [_resolved(option, schema) for option in described["anyOf"] if option.get("type") != "null"]
        return " or ".join(_type(option, schema) for option in kinds)
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in described["enum"])
    if described.get("format") == "duration":
        return "time, as `15m`"
    if described.get("format") == "date-time":
        return "moment, as `2026-01-31T02:00:00Z`"
    kind = {"object": "names and values", "array": "list", "boolean": "`true` or `false`", "string": "text"}.get(
        described.get("type", ""), described.get("type", "any")
    )
    low, high = described.get("minimum"), described.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return kind if low is None else f"{kind}, from {low}"


def _default(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, timedelta):
        return f"`{span_as_written(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def cell(text: str) -> str:
    """Text as it stands in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    from bot.actions.catalogue import ACTIONS

    sys.stdout.write(render(ACTIONS))
