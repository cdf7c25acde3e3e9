"""A runbook as a Mermaid flowchart: https://mermaid.js.org/syntax/flowchart.html"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bot.domain.runbook import STANDARD, Runbook, Step

LONGEST = 60


def mermaid(runbook: Runbook, of: Callable[[Mapping[Any, str]], str]) -> str:
    """The steps in their order, what each depends on, who is asked, which figures must hold; `of` picks a language."""
    lines = ["flowchart TD", f'    begin(["{_text(runbook.name)}"])']
    last, label = "begin", ""
    open_ends: list[str] = []  # conditions that did not hold: they go on to the next step

    def towards(node: str) -> Iterator[str]:
        yield f"    {last} -->{label} {node}"
        yield from (f"    {end} -->|no| {node}" for end in open_ends)

    for number, step in enumerate(runbook.steps):
        node = f"s{number}"
        if step.if_:
            lines.append(f'    if{number}{{"{_text(step.if_.strip().strip("{}").strip())}"}}')
            lines += towards(f"if{number}")
            open_ends, last, label = [], f"if{number}", "|yes|"
        lines.append(f'    {node}["{_told(step, of)}"]')
        lines += towards(node)
        open_ends, last, label = ([f"if{number}"] if step.if_ else []), node, ""
    lines.append('    finish(["✓"])')
    lines += towards("finish")
    if runbook.on_failure != "stop":
        other = runbook.on_failure if isinstance(runbook.on_failure, str) else runbook.on_failure.name
        shown = f"↩ {other}" if other in STANDARD else f"➡ {_text(other)}"
        lines += [f'    failure[["{shown}"]]', "    begin -. ✗ .-> failure"]
    return "\n".join(lines) + "\n"


def _told(step: Step, of: Callable[[Mapping[Any, str]], str]) -> str:
    parts = [_text(of(step.title)) if step.title else _text(step.id), _text(step.uses)]
    if step.approval:
        parts.append(f"✋ {step.approval.count or 1} × {_text(step.approval.role or 'responder')}")
    if step.verify:
        parts.append(f"📈 {_text(step.verify.board)}")
    if step.keep:
        parts.append("🔒")
    return "<br/>".join(parts)


def _text(text: str) -> str:
    """Text that Mermaid takes as it is, whatever it holds."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return short.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
