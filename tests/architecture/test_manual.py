"""docs/manual.md: every line of TAMV's manual has a row, every command of a row parses, every test exists."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.actions.catalogue import ACTIONS
from bot.runbooks.library import Library
from bot.services import ops
from bot.shipped import EXAMPLE_TEAM
from bot.team import load_team
from handlers.slack.commands import COMMANDS
from tests.architecture.tree import ROOT, syntax

MANUAL = Path(os.environ.get("CONTRACTS_DIR") or ROOT.parent / "shared" / "contracts").parent / "tamv-runbook.es.md"
PLUMBING = re.compile(r"^(#!|set -|echo |\.\.\.|TIMESTAMP=|BACKUP_BUCKET=|[{}\]'\"]|done$|EOF$)")
SHELL = {"bash"}
SCHEDULES = ("Backup ", "Maintenance Window", "Multi-AZ", "Point-in-Time", "expr:")


@dataclass(frozen=True)
class Row:
    manual: tuple[str, ...]
    typed: str
    does: str
    test: str


def rows() -> list[Row]:
    """The rows of the tables of docs/manual.md."""
    found = []
    for line in (ROOT / "docs/manual.md").read_text("utf-8").splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            found.append(
                Row(tuple(re.findall(r"`([^`]+)`", cells[0])), cells[1].strip("`"), cells[2], cells[3].strip("`"))
            )
    return found


def statements(text: str) -> Iterator[str]:
    """The manual's shell statements, one line each; scripts, exercises, targets and schedules by their own line."""
    for language, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        if language in SHELL:
            joined = re.sub(r"\\\n\s*", " ", block)
            joined = re.sub(r"-p '\n.*?\n}'", "-p …", joined, flags=re.DOTALL)
            for line in joined.splitlines():
                line = line.strip()
                if line and not line.startswith("#") and not PLUMBING.match(line):
                    yield line
        if language == "promql":
            yield from (line.strip() for line in block.splitlines() if re.match(r"^\s*[a-z].*[\[{(]", line))
        if language == "yaml":
            lines = (line.strip() for line in block.splitlines())
            yield from (line for line in lines if line.startswith(SCHEDULES) or line.startswith("- alert:"))
        if language == "json":
            yield from re.findall(r'"migrate:\w+"', block)
        if language == "sql":
            yield from (line for line in block.splitlines() if re.match(r"^(ALTER|UPDATE|LIMIT)", line))
    yield from re.findall(r"── (\w+\.sh)", text)
    yield from re.findall(r"\*\*[^*]+:\*\* *(?:Target )?[<>].*", text)
    yield from re.findall(r"^\d\. \*\*.*\(\w+/\w+\)", text, re.MULTILINE)
    yield from re.findall(r"https://grafana\S+", text)
    yield from re.findall(r"^- \[ \] (?:Implementar|Automatizar|Mejorar|Expandir).*", text, re.MULTILINE)


def test_every_line_of_the_manual_has_a_row() -> None:
    if not MANUAL.exists():  # it is TAMV's own and not a part of the project; the other tests hold the table without it
        return
    keys = [key for row in rows() for key in row.manual]
    missing = [line for line in statements(MANUAL.read_text("utf-8")) if not any(key in line for key in keys)]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("row", [row for row in rows() if row.typed], ids=lambda row: row.typed)
def test_every_command_of_a_row_is_one(row: Row) -> None:
    team = load_team(EXAMPLE_TEAM / "team.yaml")
    library = Library.read(EXAMPLE_TEAM / "runbooks", ACTIONS, team)
    command, _, rest = row.typed.removeprefix("/").partition(" ")
    if command == "ops":
        ops.read(rest, team, library)
    elif rest.startswith("run "):
        assert library.get(rest.split()[1])
    else:
        shown = {*team.boards, *team.queries} if command == "snapshot" else ()
        assert not rest or any(rest.startswith(word) for word in (*COMMANDS[command].verbs, *shown))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.manual[0])
def test_every_row_names_a_test(row: Row) -> None:
    path, _, name = row.test.partition("::")
    assert (ROOT / path).is_file()
    tests = {node.name for node in ast.walk(syntax(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not name or name in tests
