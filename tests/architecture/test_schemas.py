"""The published schemas are those that the code makes, and say what the code says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bot.schemas import MODELS, render
from tests.architecture.tree import ROOT

RUNBOOKS = sorted((ROOT / "teams/tamv/runbooks").glob("*.yaml"))


def _team() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    return loaded


def _published(name: str) -> str:
    return (ROOT / f"teams/{name}.schema.json").read_text("utf-8")


def _mistakes(given: dict[str, Any], name: str = "team") -> list[str]:
    schema = json.loads(_published(name))
    Draft202012Validator.check_schema(schema)
    return [mistake.message for mistake in Draft202012Validator(schema).iter_errors(given)]


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_is_current(name: str) -> None:
    assert _published(name) == render(name), "run `make schema`"


def test_the_teams_file_fits() -> None:
    assert _mistakes(_team()) == []


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_runbook_fits(path: Path) -> None:
    assert _mistakes(yaml.safe_load(path.read_text("utf-8")), "runbook") == []


def test_a_runbook_with_a_wrong_word_does_not_fit() -> None:
    book = yaml.safe_load(RUNBOOKS[0].read_text("utf-8"))
    book["steps"][0]["timeout"] = "PT10M"
    book["steps"][0]["use"] = "kubernetes.scale"
    assert len(_mistakes(book, "runbook")) == 2


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        (("targets", "mttr"), "PT10M"),
        (("targets", "mttr"), "ten minutes"),
        (("queries", "latency_p95", "direction"), "up"),
        (("severities", "SEV5"), {"title": {"es": "a", "en": "b"}}),
        (("services", "xr-engine", "namespace"), "tamv-prod"),
    ],
)
def test_what_the_bot_refuses_does_not_fit(where: tuple[str, ...], wrong: object) -> None:
    team = copy.deepcopy(_team())
    inner = team
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = wrong
    assert _mistakes(team)
