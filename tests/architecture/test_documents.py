"""What the documents say is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from click import Group
from typer.main import get_command

from bot.command_line import cli
from bot.settings import Settings
from bot.store.tables import metadata
from handlers.sources import SOURCES
from tests.architecture.tree import ROOT, files, python, syntax

DOCUMENTS = [name for name in files() if name.endswith(".md")]

MADE_BY_EXAMPLES = {
    "bot/actions/kubernetes_double.py",
    "tests/actions/test_kubernetes_double.py",
    "bot/causes/cold_cache.py",
    "tests/causes/test_cold_cache.py",
    "handlers/sources/uptime_kuma.py",
    "tests/end_to_end/test_uptime_kuma.py",
    "bot/data",  # in a wheel
}

# Words that the code once had for what the glossary has the field's term for.
PRIVATE_WORDS = {
    "afterglow", "deed", "each", "foreseen", "owe", "owed", "paid", "patience", "patiently", "perform", "rehearsal",
    "rehearse", "stands", "woken",
}  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_into_the_project_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / document).read_text("utf-8"))
    assert not [link for link in links if "://" not in link and not (folder / link).exists()]


def test_every_path_that_a_document_names_exists() -> None:
    """What only examples name is written with `<…>` or made by the example itself."""
    folders = {name.split("/")[0] for name in files() if "/" in name}
    for document in DOCUMENTS:
        text = (ROOT / document).read_text("utf-8")
        named = {name for name in re.findall(r"`([\w.-]+/[\w./-]*)`", text) if name.split("/")[0] in folders}
        missing = {name for name in named if not (ROOT / name).exists()}
        assert missing <= MADE_BY_EXAMPLES, document


def test_the_glossary_is_short_and_names_each_word_once() -> None:
    rows = re.findall(r"^\| ([a-z][^|]*) \|", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE)
    words = [row for row in rows if row != "word"]
    assert len(words) == len(set(words)) < 60


def test_no_name_in_the_code_is_a_private_word() -> None:
    names = {name.strip("_").lower() for path in python("bot", "handlers", "demo") for name in _names(path)}
    assert not names & PRIVATE_WORDS


def test_every_setting_is_documented_and_nothing_else() -> None:
    table = (ROOT / "docs/operating.md").read_text("utf-8").split("## Settings")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name.lower() for cell in first_cells for name in re.findall(r"`([A-Z_]+)`", cell)}
    assert named == set(Settings.model_fields)


def test_it_is_documented_how_long_every_table_is_kept() -> None:
    rows = (ROOT / "docs/operating.md").read_text("utf-8").split("## What is kept")[1].split("\n## ")[0].splitlines()
    first_cells = [line.split("|")[1] for line in rows if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert named == set(metadata.tables)


def test_every_target_that_a_document_names_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        text = (ROOT / document).read_text("utf-8")
        named = re.findall(r"^make ([a-z-]+)", text, re.MULTILINE) + re.findall(r"`make ([a-z-]+)", text)
        assert set(named) <= targets, document


def test_every_command_line_that_a_document_names_is_there() -> None:
    known = set(cast(Group, get_command(cli)).commands)
    for document in DOCUMENTS:
        named = re.findall(r"(?:`|bin/)tamv-bot ([a-z]+)", (ROOT / document).read_text("utf-8"))
        assert set(named) <= known, document


def test_every_address_that_a_document_names_is_served() -> None:
    app = (ROOT / "handlers/app.py").read_text("utf-8")
    served = {*re.findall(r'Route\("(/[a-z/]+)"', app), *(f"/webhooks/{source.name}" for source in SOURCES)}
    assert served
    for document in DOCUMENTS:
        text = (ROOT / document).read_text("utf-8")
        named = re.findall(r"`(?:GET |POST )?(/(?:slack|webhooks)/[a-z]+|/[a-z]+z|/metrics)`", text)
        assert set(named) <= served, document


def _names(path: str) -> Iterator[str]:
    """Yield the names that a module's code gives or uses."""
    for node in ast.walk(syntax(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name


@pytest.mark.parametrize("readme", ["README.md", "README.es.md"])
def test_both_readmes_show_the_same_commands(readme: str) -> None:
    other = {"README.md": "README.es.md", "README.es.md": "README.md"}[readme]
    mine, theirs = (_commands((ROOT / name).read_text("utf-8")) for name in (readme, other))
    assert mine == theirs


def _commands(text: str) -> list[str]:
    """The shell lines of a document, without what is said behind `#`."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("section", "package"),
    [
        ("Add an action", "bot.actions"),
        ("Add a cause", "bot.causes"),
        ("Add a source of webhooks", "handlers.sources"),
    ],
)
def test_what_the_guide_adds_is_one_file_and_one_test(tmp_path: Path, section: str, package: str) -> None:
    """In a process of its own, where it is found beside the others."""
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split(f"## {section}")[1].split("\n## ")[0]
    blocks = re.findall(r"into `(bot|handlers|tests)/\w+/(\w+\.py)`.*?```python\n(.*?)```", guide, re.DOTALL)
    assert [kind for kind, _, _ in blocks] == [package.partition(".")[0], "tests"]
    for kind, name, text in blocks:
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_text(text)
    ours = tmp_path / package.partition(".")[0]
    beside = f"import {package} as package\n\npackage.__path__.append({str(ours)!r})\n"
    (tmp_path / "tests" / "conftest.py").write_text(beside)
    pytest_of_ours = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}"]
    ran = subprocess.run([*pytest_of_ours, tmp_path / "tests"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
