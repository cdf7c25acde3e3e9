"""Who may import whom: the contracts of pyproject.toml hold, and what they cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from importlinter.cli import lint_imports

from tests.architecture.tree import ROOT, python, syntax


def test_the_contracts_of_the_layers_hold(capsys: pytest.CaptureFixture[str]) -> None:
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert not broken, capsys.readouterr().out


@pytest.mark.parametrize("folder", ["bot/messages/", "handlers/"])
def test_only_slacks_models_are_used_where_messages_are_drawn(folder: str) -> None:
    """import-linter knows whole packages only; a client in a message would be seen by nobody else."""
    wrong = [
        f"{name}: {module}"
        for name in python("bot", "handlers")
        if name.startswith(folder)
        for module in _imported(name)
        if module.split(".")[0] == "slack_sdk" and not module.startswith(("slack_sdk.models", "slack_sdk.signature"))
    ]
    assert not wrong


def test_the_bot_in_production_does_without_its_sandbox() -> None:
    """The image has no sandbox: only `tamv-bot demo` may ask for it, when it is called."""
    asked = "import sys, bot.command_line; print([name for name in sys.modules if name.startswith('sandbox')])"
    seen = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "[]"


def test_modules_are_made_of_definitions_alone() -> None:
    """Nothing is done at import: no client, no connection, no read of the environment."""
    doing = [
        f"{name}:{node.lineno}"
        for name in python("bot", "handlers", "sandbox")
        if "migrations/" not in name
        for node in syntax(name).body
        if _acts(node)
    ]
    assert not doing


def _acts(statement: ast.stmt) -> bool:
    """Whether it does more than define, import or document."""
    match statement:
        case ast.For() | ast.While():
            return True
        case ast.With(body=body):  # an import may have to be kept quiet
            return not all(isinstance(inner, ast.Import | ast.ImportFrom) or _silences(inner) for inner in body)
        case ast.Expr(value=ast.Constant()):
            return False
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="model_rebuild" | "add_typer"))):
            return False  # pydantic's way to tie a model to one below it, typer's to make a group of commands
        case ast.Expr():
            return True
    return False


def _silences(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("warnings.simplefilter(")


def _imported(name: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(syntax(name)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found
