"""What is typed behind `/ops`: which action is meant, and with which parameters."""

from __future__ import annotations

from typing import Any

import pytest

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BadInput
from bot.domain.runbook import Runbook
from bot.runbooks import Library
from bot.services.ops import aliases, find, read, read_runbook
from bot.team import load_team
from tests.architecture.tree import ROOT

TEAM = load_team(ROOT / "teams/tamv/team.yaml")
LIBRARY = Library.read(ROOT / "teams/tamv/runbooks", ACTIONS, TEAM)


@pytest.mark.parametrize(
    ("line", "name", "given"),
    [
        ("scale xr-engine 10", "kubernetes.scale", {"deployment": "xr-engine", "replicas": 10}),
        ("kubernetes.scale xr-engine replicas=10", "kubernetes.scale", {"deployment": "xr-engine", "replicas": 10}),
        ("restart xr-engine", "kubernetes.restart", {"deployment": "xr-engine"}),
        (
            "restart xr-engine -n tamv-prod",
            "kubernetes.restart",
            {"deployment": "xr-engine", "namespace": "tamv-prod"},
        ),
        (
            "logs xr-engine --tail 50 -c web --since=30m",
            "kubernetes.logs",
            {"service": "xr-engine", "since": "PT30M", "tail": 50, "container": "web"},
        ),
        (
            "logs xr-engine since=30m tail=50 pattern='gpu oom'",
            "kubernetes.logs",
            {"service": "xr-engine", "since": "PT30M", "tail": 50, "pattern": "gpu oom"},
        ),
        ("top pods xr-engine memory", "kubernetes.top_pods", {"service": "xr-engine", "by": "memory"}),
        ("top nodes", "kubernetes.top_nodes", {}),
        ("Pods xr-engine", "kubernetes.pods", {"service": "xr-engine"}),
        ("events xr-engine", "kubernetes.events", {"service": "xr-engine"}),
        (
            "describe xr-engine",
            "kubernetes.describe",
            {"kind": "workload", "name": "xr-engine", "service": "xr-engine"},
        ),
        ("describe statefulset/ledger", "kubernetes.describe", {"kind": "statefulset", "name": "ledger"}),
        ("describe node gpu-node-1", "kubernetes.describe", {"kind": "node", "name": "gpu-node-1"}),
        ("rollout xr-engine", "kubernetes.rollout_status", {"deployment": "xr-engine"}),
        ("rollout undo xr-engine", "kubernetes.rollout_undo", {"deployment": "xr-engine"}),
        ("history xr-engine", "helm.history", {"release": "xr-engine"}),
        ("deploy xr-engine 2.1.0", "helm.upgrade", {"release": "xr-engine", "tag": "2.1.0"}),
        (
            "deploy xr-engine 2.1.0 values=a.b=1,c=x",
            "helm.upgrade",
            {"release": "xr-engine", "tag": "2.1.0", "values": {"a.b": "1", "c": "x"}},
        ),
        ("promote xr-engine 50", "helm.promote", {"release": "xr-engine", "weight": 50}),
        ("rollback xr-engine", "helm.rollback", {"release": "xr-engine"}),
        (
            "env xr-engine EXPERIMENTAL_FEATURES=false ADVANCED_RENDERING=false",
            "kubernetes.set_env",
            {
                "deployment": "xr-engine",
                "variables": {"EXPERIMENTAL_FEATURES": "false", "ADVANCED_RENDERING": "false"},
            },
        ),
        (
            "set_node_selector xr-engine node-type=gpu-high-memory namespace=tamv-prod",
            "kubernetes.set_node_selector",
            {"deployment": "xr-engine", "selector": {"node-type": "gpu-high-memory"}, "namespace": "tamv-prod"},
        ),
        ("drain gpu-node-2", "kubernetes.drain", {"node": "gpu-node-2"}),
        ("health", "http.check", {}),
        (
            "flow.ask '¿Cuál?' type=choice options=a,b",
            "flow.ask",
            {"question": "¿Cuál?", "type": "choice", "options": ["a", "b"]},
        ),
    ],
)
def test_a_line_is_an_action_with_its_parameters(line: str, name: str, given: dict[str, Any]) -> None:
    asked = read(line, TEAM, LIBRARY)
    assert (asked.name, asked.given, asked.is_runbook) == (name, given, False)
    ACTIONS.get(name).read(dict(asked.given))  # and it is what the action's own model takes


@pytest.mark.parametrize("read_line", ["scale xr-engine 4", "smoke"])
@pytest.mark.parametrize(
    ("typed", "dry"),
    [
        ("", False),
        ("--dry-run", True),
        ("-dry-run", True),
        ("—dry-run", True),
        ("--Dry_Run", True),
        ("dry-run=yes", True),
        ("--dry-run=server", True),
        ("dry_run=TRUE", True),
        ("--dry-run=none", False),
        ("dry-run=no", False),
        ("--dryrun", True),
        ("dry-run", True),
        ("dry-run=maybe", None),
        ("--dry-run=", None),
    ],
)
def test_what_may_be_a_dry_run_never_changes_anything(read_line: str, typed: str, dry: bool | None) -> None:
    line = f"{read_line} environment=staging {typed}"
    if dry is not None:
        assert read(line, TEAM, LIBRARY).dry_run is dry
        return
    with pytest.raises(BadInput) as wrong:
        read(line, TEAM, LIBRARY)
    assert wrong.value.facts["argument"] == "dry-run"


def test_no_word_after_a_runbook_is_ignored() -> None:
    asked = read_runbook("render-latency --service xr-engine -dry-run", LIBRARY)
    assert (asked.name, asked.given, asked.dry_run) == ("render-latency", {"service": "xr-engine"}, True)
    for line in ("render-latency xr-engine", "render-latency service=xr-engine now"):
        with pytest.raises(BadInput) as wrong:
            read_runbook(line, LIBRARY)
        assert wrong.value.key == "too_many_words"


def test_smoke_is_a_runbook_with_its_inputs_in_their_order() -> None:
    inputs = {"service": {"type": "service"}, "within": {}}
    step = {"id": "a", "uses": "http.check"}
    book = {"name": "smoke-test", "title": {"en": "Smoke"}, "inputs": inputs, "steps": [step]}
    library = Library({"smoke-test": Runbook.model_validate(book)})
    asked = read("smoke xr-engine within=2m environment=staging --dry-run", TEAM, library)
    given = {"service": "xr-engine", "within": "2m"}
    assert (asked.name, asked.given, asked.is_runbook) == ("smoke-test", given, True)
    assert (asked.environment, asked.dry_run) == ("staging", True)


@pytest.mark.parametrize(
    ("line", "key", "near"),
    [
        ("scael xr-engine 10", "unknown_verb", "scale"),
        ("dploy xr-engine 2", "unknown_verb", "deploy"),
        ("deploy xr-engine tga=2.1.0", "unknown_option", "tag"),
        ("scale xr-engine", "argument_missing", None),
        ("scale xr-engine ten", "bad_value", None),
        ("env xr-engine", "argument_missing", None),
        ("top dogs", "unknown_verb", "top_pods"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_nearest_right_one(line: str, key: str, near: str | None) -> None:
    with pytest.raises(BadInput) as refused:
        read(line, TEAM, LIBRARY)
    assert refused.value.key == key
    assert near is None or refused.value.facts["nearest"] == near


def test_capital_letters_of_a_phone_are_taken_where_a_name_has_none() -> None:
    asked = read("scale XR-Engine 5", TEAM, LIBRARY)
    assert ACTIONS.get(asked.name).read(dict(asked.given))["deployment"] == "xr-engine"


def test_the_short_words_are_those_that_people_know() -> None:
    known = {"scale", "restart", "logs", "events", "describe", "pods", "rollout", "history", "deploy", "promote"}
    assert known | {"rollback", "env", "drain", "health", "smoke"} <= set(aliases())


@pytest.mark.parametrize("action", ACTIONS.all(), ids=lambda action: action.name)
def test_every_actions_example_names_it_and_has_all_that_it_needs(action: Any) -> None:
    line = action.signature.example.removeprefix("/ops ")
    found, _ = find(line.split())
    assert found.name == action.name
    asked = read(line, TEAM, LIBRARY)
    ACTIONS.get(asked.name).read(dict(asked.given))
