"""The house's rules that a machine can see."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import PurePath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import ROOT, files, python, syntax

LINES_LIMIT = 800  # a file is one concept, whole; 100 to 600 lines are normal
PARAMETERS_LIMIT = 6
LONG_SIGNATURES = 10  # actions have the parameters that people type; a few effects record theirs
VAGUE = {"manager", "managers", "util", "utils", "helper", "helpers", "core"}
LOCKS = tuple(name for name in files() if name.startswith("requirements/"))
PICTURES = (".png", ".ico", ".woff2")

# One letter of each stands in brackets, so that this file does not hold what it looks for.
REGISTRIES = re.compile(r"[p]ypi\.org|[p]ythonhosted\.org|[n]pmjs\.(com|org)|--(extra-)?[i]ndex-url")
THIS_MACHINE = re.compile(r"/[w]ork/(main|shared|\.library)|/[r]oot/|/[t]mp/w/|/[h]ome/\w+/")


def test_python_files_are_at_most_800_lines_long() -> None:
    lengths = {name: len((ROOT / name).read_text("utf-8").splitlines()) for name in python()}
    assert not {name: lines for name, lines in lengths.items() if lines > LINES_LIMIT}


def test_fewer_than_ten_functions_have_more_than_six_parameters() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}"
        for name in python("bot", "handlers")
        for node in ast.walk(syntax(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(_parameters(node)) > PARAMETERS_LIMIT
    ]
    assert len(long) < LONG_SIGNATURES, long


def test_every_module_is_named_for_what_it_does() -> None:
    vague = [name for name in python() if VAGUE & {word for part in PurePath(name).parts for word in _words(part)}]
    assert not vague


def test_every_class_and_function_is_named_for_what_it_does() -> None:
    vague = [
        f"{name}:{node.lineno} {node.name}"
        for name in python()
        for node in ast.walk(syntax(name))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and VAGUE & set(_words(node.name))
    ]
    assert not vague


@pytest.mark.parametrize("forbidden", [REGISTRIES, THIS_MACHINE], ids=["registries", "this machine"])
def test_no_file_names_a_registry_or_this_machine(forbidden: re.Pattern[str]) -> None:
    found = [
        f"{name}:{number} {line.strip()[:80]}"
        for name in files()
        if not name.endswith(PICTURES)
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_its_hashes(lock: str) -> None:
    pinned = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text("utf-8"), flags=re.MULTILINE)[1:]
    assert pinned
    assert not [block.splitlines()[0] for block in pinned if "==" not in block or "--hash=sha256:" not in block]


def test_what_runs_is_locked_as_it_is_tested() -> None:
    tested, runs = (dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements" / name).read_text("utf-8"), re.M))
                    for name in ("dev.txt", "run.txt"))  # fmt: skip
    assert runs
    assert {name: version for name, version in runs.items() if tested.get(name) != version} == {}


def test_the_lock_fits_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements/dev.txt").read_text("utf-8"), re.M))
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0")), (
            f"{requirement}: run `make lock`"
        )


def test_no_test_replaces_our_code_by_a_mock() -> None:
    mocked = [
        f"{name}:{node.lineno}"
        for name in python("tests", "benchmarks")
        for node in ast.walk(syntax(name))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[:2] == ["unittest", "mock"])
        or (isinstance(node, ast.Import) and any(alias.name.startswith("unittest.mock") for alias in node.names))
        or (isinstance(node, ast.Name) and node.id in ("MagicMock", "AsyncMock"))
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "monkeypatch.setattr")
    ]
    assert not mocked


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def _words(name: str) -> list[str]:
    """The words of a name, whether `snake_case` or `CamelCase`."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
