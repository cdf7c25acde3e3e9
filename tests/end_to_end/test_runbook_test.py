"""`tamv-bot runbook test` where something is wrong; where all is well, test_first_run.py plays it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.harness.command_line import Ran, run_tamv_bot
from tests.teams.test_acme import ACME

TOO_FEW = """\
name: too-few
title: Nobody can approve it
steps:
  - id: more
    title: More replicas
    uses: kubernetes.scale
    with: {deployment: checkout, replicas: 3}
    approval: {role: incident_commander, count: 2}
"""
AWAY = """\
name: away
title: A database that the sandbox does not have
steps:
  - {id: look, title: Look, uses: aws.rds_status, with: {database: pay}}
"""


@pytest.fixture
def team(tmp_path: Path) -> Path:
    folder = tmp_path / "team"
    shutil.copytree(ACME, folder)
    (folder / "runbooks" / "too-few.yaml").write_text(TOO_FEW, "utf-8")
    (folder / "runbooks" / "away.yaml").write_text(AWAY, "utf-8")
    return folder


def play(team: Path, *arguments: str) -> Ran:
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return run_tamv_bot("runbook", "test", *arguments, "--team", str(team), env=env, seconds=400)


def test_a_case_that_fails_says_why_and_what_cannot_be_played_is_said(team: Path) -> None:
    tested = play(team, "too-few", "away", "--json")
    assert tested.code == 1, tested
    cases = json.loads(tested.out)["cases"]
    assert [(case["runbook"], case["case"], case["result"]) for case in cases] == [
        ("too-few", "succeeds", "failed"), ("too-few", "fails", "not_played"), ("away", "succeeds", "not_played"),
    ]  # fmt: skip
    assert cases[0]["why"] == ("more needs 2 approvals by incident_commander; besides who runs it, the team has 1.")
    assert "the sandbox has nothing there" in cases[2]["why"]
    assert "✗ too-few: succeeds" in tested.err  # the progress, beside what is for programs


def test_the_shell_completes_the_names_of_runbooks(team: Path) -> None:
    asked = {"_TAMV_BOT_COMPLETE": "complete_bash", "COMP_WORDS": "tamv-bot runbook test s", "COMP_CWORD": "3"}
    env = {"PATH": os.environ["PATH"], "TEAM_DIR": str(team), **asked}
    assert run_tamv_bot(env=env).out.split() == ["slow-ledger"]


def test_bad_input_is_one_clear_line(team: Path) -> None:
    unknown = play(team, "slow-leger")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err == f"No runbook slow-leger in {team}/runbooks; did you mean slow-ledger?\n"
    (team / "runbooks" / "away.yaml").write_text(AWAY.replace("rds_status", "rds_sttus"), "utf-8")
    wrong = play(team)
    assert wrong.code == 2
    assert wrong.err.startswith("away.yaml:4:") and wrong.err.count("\n") == 1
