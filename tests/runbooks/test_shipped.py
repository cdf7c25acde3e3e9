"""The runbooks that ship: every one is well-formed and fits the actions and the team's file."""

from __future__ import annotations

from bot.actions.catalogue import ACTIONS
from bot.runbooks import Library
from bot.runbooks.document import render
from bot.team import load_team
from tests.architecture.tree import ROOT


def test_all_of_them_are_valid() -> None:
    library = Library.read(ROOT / "teams/tamv/runbooks", ACTIONS, load_team(ROOT / "teams/tamv/team.yaml"))
    assert "render-latency" in library.runbooks
    for book in library.runbooks.values():
        for step in book.steps:
            assert set(step.title) == {"es", "en"}, f"{book.name}.{step.id} has no title in both languages"
        for name, asked in book.inputs.items():
            assert set(asked.description) == {"es", "en"}, f"{book.name}: {name} is not described"


def test_the_alerts_of_the_manual_propose_a_runbook() -> None:
    library = Library.read(ROOT / "teams/tamv/runbooks", ACTIONS, load_team(ROOT / "teams/tamv/team.yaml"))
    for alert in ("HighLatency", "HighErrorRate", "HighGpuUtilization", "LowFrameRate"):
        found = [book.name for book in library.for_alert(alert, {"service": "xr-engine"})]
        assert found[:1] == ["error-rate"] or "render-latency" in found, alert


def test_the_document_is_current() -> None:
    shown = render(ROOT / "teams/tamv/runbooks", ACTIONS)
    assert (ROOT / "docs/runbooks.md").read_text("utf-8") == shown, "run `make runbooks`"
