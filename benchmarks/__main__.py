"""`python -m benchmarks`: each bar with what was measured, as a table and as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import (
    acknowledgement,
    backup,
    canary,
    declaring,
    forecast,
    history,
    petshop,
    process,
    recovery,
    runs,
    size,
    snapshots,
    storm,
    tired,
    way_in,
    why,
)
from benchmarks.figures import Figure

# In the order of the table.
MEASUREMENTS: dict[str, Callable[[], Awaitable[list[Figure]]]] = {
    "start": process.start,
    "memory": process.memory,
    "ack": acknowledgement.alone,
    "ack-storm": acknowledgement.in_a_storm,
    "storm": storm.storm,
    "storm-thousand": storm.thousand_groups,
    "declare": declaring.declare,
    "snapshot": snapshots.of_the_sandbox,
    "snapshot-real": snapshots.of_a_real_one,
    "runs": runs.of_sqlite,
    "runs-postgresql": runs.of_postgresql,
    "runs-replicas": runs.of_replicas,
    "demo": process.demo,
    "history": history.history,
    "size": size.of_sqlite,
    "size-postgresql": size.of_postgresql,
    "why": why.causes,
    "petshop": petshop.petshop,
    "canary": canary.canary,
    "backup": backup.backup,
    "forecast": forecast.forecast,
    "tired": tired.tired,
    "recovery": recovery.recovery,
    "way-in": way_in.way_in,
}
COLOUR = {"reached": "green", "missed": "red", "not measured": "yellow", "no bar": "dim"}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Only these: {', '.join(MEASUREMENTS)}.")] = None,
    out: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("bench.json"),
    page: Annotated[Path | None, typer.Option(help="Where they go as Markdown: docs/figures.md.")] = None,
) -> None:
    """Measure, print the table, write the JSON. The exit code says nothing about the bars: nobody tests the time."""
    if unknown := set(names or ()) - set(MEASUREMENTS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    console = Console()
    figures: list[Figure] = []
    for name in names or MEASUREMENTS:
        with console.status(name):
            figures += asyncio.run(_measured(name))
    console.print(table(figures))
    machine = described()
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, load {machine['load']}"
    )
    out.write_text(json.dumps({"machine": machine, "figures": [_json(one) for one in figures]}, indent=2))
    if page:
        page.write_text(markdown(figures, machine, names), "utf-8")


async def _measured(name: str) -> list[Figure]:
    try:
        return await MEASUREMENTS[name]()
    except Exception as problem:  # what breaks must not take the other figures with it
        return [Figure(name, "-", None, "", note=f"{type(problem).__name__}: {problem}")]


def table(figures: Sequence[Figure]) -> Table:
    """The figures as they are printed, each bar said once."""
    shown = Table("", "measured", "at most", "verdict", "note")
    shown.columns[1].justify = shown.columns[2].justify = "right"
    before = ""
    for one in figures:
        if one.bar != before:
            shown.add_section()
            shown.add_row(f"[bold]{one.bar}[/]")
            before = one.bar
        colour = COLOUR[one.verdict]
        measured = "-" if one.value is None else f"{_number(one.value)} {one.unit}"
        limit = "" if one.limit is None else f"{_number(one.limit)} {one.unit}"
        shown.add_row(f"  {one.what}", measured, limit, f"[{colour}]{one.verdict}[/]", one.note)
    return shown


def markdown(figures: Sequence[Figure], machine: Mapping[str, object], names: Sequence[str] | None = None) -> str:
    """The figures as a page of the documentation."""
    lines = [
        "# Figures",
        "",
        f"Written by `{_command(names)}`: everything on one machine, over its loopback interface.",
        "Figures of one run may be compared with each other; of two machines they may not.",
        "",
        f"{machine['at']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']}, load {machine['load']}",
        "",
        "| | measured | at most | verdict | note |",
        "|---|---:|---:|---|---|",
    ]
    before = ""
    for one in figures:
        if one.bar != before:
            lines.append(f"| **{one.bar}** | | | | |")
            before = one.bar
        measured = "-" if one.value is None else f"{_number(one.value)} {one.unit}"
        limit = "" if one.limit is None else f"{_number(one.limit)} {one.unit}"
        lines.append(f"| {one.what} | {measured} | {limit} | {one.verdict} | {one.note} |")
    return "\n".join(lines) + "\n"


def _command(names: Sequence[str] | None) -> str:
    return f"python -m benchmarks {' '.join(names)} --page …" if names else "make bench PAGE=docs/figures.md"


def described() -> dict[str, object]:
    """The machine, without which no figure says anything. `load` is that of the last five minutes."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[1], 1),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _json(figure: Figure) -> dict[str, object]:
    return {**asdict(figure), "verdict": figure.verdict}


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    typer.run(main)
