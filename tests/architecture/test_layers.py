"""Who may import whom: the contracts of pyproject.toml hold, and what they cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter

import grimp
import pytest
from importlinter.cli import lint_imports

from tests.architecture.tree import ROOT, python, syntax

PACKAGES = ("bot", "demo", "handlers", "sandbox")

# Modules that gather others in a list or a facade: a member has one importer by design.
GATHERING = frozenset(
    {
        "bot.actions.catalogue", "bot.causes.catalogue", "bot.command_line",
        "bot.integrations.kubernetes.kubernetes", "bot.services.bot",
        "bot.store.store", "bot.workflows.catalogue", "handlers.slack", "handlers.slack.commands", "handlers.sources",
        "sandbox.server",
    }
)  # fmt: skip

# The other modules with one importer, and why they are not a part of it.
WITH_ONE_IMPORTER = {
    "bot.actions.backups": "what the calendar and the App Home show of AWS, and the actions that prove a restore",
    "bot.actions.canary": "asks Kubernetes which pods are the canary's; the other actions of Prometheus do not",
    "bot.actions.helm": "actions by service; the second colour of a release is an upgrade, too",
    "bot.cli.cluster_checks": "the doctor's look at the cluster",
    "bot.messages.manifest": "the Slack app's manifest with the team's names",
    "bot.actions.document": "generates a document; nothing of it runs in the bot",
    "bot.cli.discovery": "what `init` finds; it only reads",
    "bot.cli.runs": "watches a run to its end; the commands above it only parse",
    "bot.command_line": "python -m bot",
    "bot.domain.manifest": "a pure rule beside what reads the repository",
    "bot.domain.migration": "a pure rule beside its action",
    "bot.messages.followups": "messages are above nothing but the domain",
    "bot.messages.home": "messages are above nothing but the domain",
    "bot.messages.next_step": "messages are above nothing but the domain",
    "bot.messages.on_call": "messages are above nothing but the domain",
    "bot.messages.plot": "matplotlib, in a process of its own",
    "bot.messages.snapshot": "messages are above nothing but the domain",
    "bot.messages.status_page": "messages are above nothing but the domain",
    "bot.messages.statistics": "messages are above nothing but the domain",
    "bot.runbooks.document": "generates a document; nothing of it runs in the bot",
    "bot.waiting": "what has no dependencies, apart from the values that have",
    "bot.workflows.catalogue": "gathers the workflows",
    "bot.workflows.engine.cleanup": "one concept of the engine",
    "bot.workflows.engine.serialization": "closes DBOS's pickle serializer, for security",
    "bot.workflows.engine.assignments": "one concept of the engine",
    "bot.workflows.incidents.handover": "one concept beside the reminders that call it",
    "bot.workflows.incidents.next_step": "one concept beside the events that change it",
    "bot.workflows.runs.measure": "one phase of a run: the metrics before and after",
    "demo.bot_process": "a process that is killed, apart from what kills it",
    "demo.interceptor": "what stands between the bot and the sandbox",
    "demo.runbook_run": "one run, apart from what is right of it",
    "handlers.slack": "gathers Slack's handlers",
    "handlers.sources": "gathers the sources",
    "handlers.status_page": "what the public may see, apart from what the cluster asks",
    "handlers.webhooks": "what all sources share",
    "sandbox.forecast": "what is played before anything is broken; the exercises begin with an incident or a drill",
    "sandbox.console.screen": "state, shapes, backend, api",
    "sandbox.github.code_api": "the API by subject",
    "sandbox.github.issues_api": "the API by subject",
    "sandbox.kubernetes.charts": "Helm's charts of the world, apart from its objects",
    "sandbox.kubernetes.operations": "state, shapes, backend, api",
    "sandbox.kubernetes.protobuf": "an encoding of its own",
    "sandbox.prometheus.operators": "PromQL's operators, a concept of the evaluation",
    "sandbox.slack.conversations_api": "the API by subject",
    "sandbox.slack.messages_api": "the API by subject",
}


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def test_no_module_imports_itself_through_others() -> None:
    """Imports for type checking count."""
    graph = imports()
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


def test_every_module_with_one_importer_has_a_reason() -> None:
    graph = imports()
    importers = {name: graph.find_modules_that_directly_import(name) for name in graph.modules}
    single = {name for name, among in importers.items() if len(among) == 1 and not among & GATHERING}
    assert single == WITH_ONE_IMPORTER.keys()
    assert len(single) < 48


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
        if module.split(".")[0] == "slack_sdk"
        and not module.startswith(("slack_sdk.models", "slack_sdk.signature", "slack_sdk.socket_mode"))
    ]
    assert not wrong


def test_the_bot_in_production_does_without_its_sandbox() -> None:
    """The image has no sandbox: only `tamv-bot demo` and `runbook test` may ask for it, when they are called. Nor is
    OpenTelemetry imported before somebody wants traces."""
    left_out = "('sandbox', 'opentelemetry')"
    asked = f"import sys, bot.command_line; print([name for name in sys.modules if name.startswith({left_out})])"
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
