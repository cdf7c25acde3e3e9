"""`docs/runbooks.md`, written from the runbooks themselves: `make runbooks`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bot.actions.document import cell
from bot.actions.registry import Registry
from bot.domain.runbook import STANDARD, Runbook, Step
from bot.runbooks.library import read

HEAD = """# The runbooks

Written by `make runbooks` from `runbooks/*.yaml`; what each action does stands in [actions.md](actions.md). Before a
step changes anything it is rehearsed, and its card says exactly what it would do; a *disruptive* step waits for a
second person and a *destructive* one for two, in production, unless the team's file says otherwise. ✋ asks for more
than the policy does. 📈 names the board whose figures must hold afterwards. What a step with 🔒 (`keep: true`) has done
stays when the run is undone: a safety copy, evidence.

A step's action is cut off when its `timeout` has passed, and the step has failed, with what follows a failure. It is
counted from where the action begins, not while people are asked or another run has the target, and a restart of the
bot gives it anew: the time that the bot was away is not the action's. Without `timeout` an action may take ten
minutes, and besides as long as it is told to wait by `duration`, `within`, `wait` or `ends`. `verify` ends by its own
`within`. What lets time pass or looks at figures for a time (`duration`, `within`) keeps its deadline over a restart.

`/runbook show NAME` says the same in Slack, `/runbook run NAME --dry-run` shows what would be done now.
"""
MANUAL = """
## What the manual has wrong

The runbooks carry out TAMV's operations manual, but not its mistakes.

| in the manual | what is wrong | what the bot does |
|---|---|---|
| the revision to go back to is the second of `helm history` | the list is sorted from the oldest: that is the second one ever | the newest revision that was good before the present one, never a failed one, a canary's stage, or one that somebody fled from |
| error rate as one rate through another | each series is divided by itself, and a service without errors gives nothing | both sides are summed by service before they are divided |
| `histogram_quantile` over the buckets as they are | a quantile for every pod, of which one is looked at | buckets are summed by `le` first |
| TraceQL with the condition behind a pipe | it does not parse | `{ resource.service.name = "…" && duration > 500ms }` |
| `vault kv put` of one key | the other keys of the secret are gone | a patch of one key, with check-and-set; the version before stays, and undo restores it |
| `pg_dump $DATABASE_URL` | the operator's own shell fills it in | it is filled in inside the pod, and stands on no command line |
| old backups by `aws s3 ls`, `awk` and `xargs rm` | the wrong column is compared with a date, names with blanks break | by `LastModified`, the newest stay whatever their age, and nothing goes after a failed backup |
| `UPDATE … LIMIT 10000` | PostgreSQL has no such thing | batches by key, until none is left |
| an issue assigned to a team | GitHub assigns people | the owner of the team's file, with the team named in the text |
| annotate `force-sync`, then restart | the pods may start with the old secret | the sync is waited for |
| staging goes back to production's revision number | each release counts its own revisions | staging tries the very version that production goes back to |
| scale and roll back at once when the render is slow | nobody knows what helped | one change at a time, each measured; back only when the four figures have not recovered |
"""

LONGEST = 60


def render(folder: Path, actions: Registry) -> str:
    """The whole document: an overview, a part for each runbook, the manual's mistakes. Raises nothing for bad files."""
    books = sorted(read(sorted(folder.glob("*.yaml")))[0].values(), key=lambda runbook: runbook.name)
    overview = ["| runbook | what | proposed for |", "|---|---|---|", *map(_row, books), ""]
    return "\n".join([HEAD, *overview, *(_runbook_section(runbook, actions) for runbook in books)]) + MANUAL


def _row(runbook: Runbook) -> str:
    alerts = ", ".join(dict.fromkeys(f"`{trigger.alert or trigger.query}`" for trigger in runbook.triggers)) or "-"
    return f"| [`{runbook.name}`](#{runbook.name}) | {cell(_english(runbook.title))} | {alerts} |"


def _runbook_section(runbook: Runbook, actions: Registry) -> str:
    failure = runbook.on_failure if isinstance(runbook.on_failure, str) else runbook.on_failure.name
    after = {"undo": "what it did is undone, the last first", "stop": "it stops, and nothing is undone by itself"}
    needed = [f"{name}=…" for name, spec in runbook.inputs.items() if spec.required]
    lines = [
        f"## {runbook.name}\n",
        f"{_english(runbook.description) or _english(runbook.title)}\n",
        f"*{runbook.description.get('es') or runbook.title.get('es', '')}*\n",
        f"- When a step fails: {after[failure] if failure in STANDARD else f'[`{failure}`](#{failure}) goes on'}.",
        f"- `/runbook run {' '.join([runbook.name, *needed])}`\n",
    ]
    if runbook.inputs:
        lines += ["| input | type | without it | |", "|---|---|---|---|", *_inputs(runbook), ""]
    lines += ["| step | action | risk | |", "|---|---|---|---|"]
    lines += [_step(step, actions) for step in runbook.steps]
    lines += ["", f"```mermaid\n{mermaid(runbook, _english)}```\n"]
    return "\n".join(lines)


def _inputs(runbook: Runbook) -> Iterator[str]:
    for name, spec in runbook.inputs.items():
        kind = ", ".join(f"`{option}`" for option in spec.options) or spec.type
        default = "needed" if spec.required else "-" if spec.default is None else f"`{cell(str(spec.default))}`"
        yield f"| `{name}` | {kind} | {default} | {cell(_english(spec.description))} |"


def _step(step: Step, actions: Registry) -> str:
    notes = []
    if step.if_:
        notes.append(f"if `{cell(step.if_.strip().removeprefix('{{').removesuffix('}}').strip())}`")
    if step.approval:
        notes.append(f"✋ {step.approval.count or 1} × {step.approval.role or 'responder'}")
    if step.verify:
        notes.append(f"📈 {step.verify.board}")
    if step.keep:
        notes.append("🔒 stays when the run is undone")
    if step.continue_on_error:
        notes.append("goes on when it fails")
    link = f"[`{step.uses}`](actions.md#{step.uses.replace('.', '')})"
    title = cell(_english(step.title)) or step.id
    return f"| {title} | {link} | {actions.get(step.uses).risk} | {'; '.join(notes)} |"


def _english(text: Mapping[Any, str]) -> str:
    return str(text.get("en") or text.get("es") or "")


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


if __name__ == "__main__":
    from bot.actions.catalogue import ACTIONS

    sys.stdout.write(render(Path("runbooks"), ACTIONS))
