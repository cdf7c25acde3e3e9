"""`tamv-bot init` writes a folder for what it finds, and the doctor has nothing to say against it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from bot.cli.discovery import environment_of
from bot.team import load_team
from demo.environment import demo_environment, sandbox_settings
from sandbox.company import load_company
from sandbox.server import Sandbox
from tests.architecture.tree import ROOT
from tests.end_to_end.test_command_line import SCOPES
from tests.harness.command_line import environment, tamv_bot
from tests.teams.test_acme import ACME, furnish


def missed(out: str) -> list[str]:
    """What the doctor has against the folder, but for what did not answer in time on a busy machine."""
    return [line for line in out.splitlines() if line.startswith("✗") and not re.search("no answer|no responde", line)]


async def test_a_folder_for_a_team_that_it_has_never_seen(tmp_path: Path) -> None:
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    sandbox.slack.scopes = set(SCOPES)
    database = f"sqlite:///{tmp_path}/bot.db"
    async with demo_environment(sandbox, database, locale="en", cluster=tmp_path) as made:
        await furnish(made.url, sandbox)
        settings = sandbox_settings(made.url, sandbox, database, "en", kubeconfig=str(tmp_path / "kubeconfig"))
        env = environment(settings) | {"TEAM_DIR": "", "LOCALE": "en", "INCIDENT_CHANNEL": ""}
        folder = tmp_path / "team"
        written = await tamv_bot("init", str(folder), "--yes", "--namespace", "pay", env=env)
        assert written.code == 0 and missed(written.out) == [], written
        team = load_team(folder / "team.yaml")
        assert (team.organisation, team.incident_channel, team.languages) == ("Acme Pay", "#acme-incidents", ["en"])
        assert {name: service.runs_as for name, service in team.services.items()} == {
            "ledger-db": ["statefulset/ledger-db"], "checkout": ["checkout"],
        }  # fmt: skip
        assert team.services["checkout"].namespaces == {"production": "pay"}
        assert team.teams["Payments"].usergroup == "S0PAYMENTS"
        assert team.teams["Payments"].github_team == "acme/Payments"
        assert team.teams["Payments"].pagerduty == "Payments primary"
        assert team.roles["responder"].usergroup == "S0PAYMENTS"
        assert "http_server_request_duration_seconds_bucket" in yaml.safe_dump(team.model_dump(mode="json")["queries"])
        validated = await tamv_bot("runbook", "validate", "--team", str(folder), env=env)
        assert validated.code == 0 and "1 runbook" in validated.out, validated
        again = await tamv_bot("init", str(folder), "--yes", env=env)
        assert again.code == 2 and "exists" in again.err


async def test_without_anything_to_look_at_it_writes_a_folder_all_the_same(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "LANG": "en_GB.UTF-8"}
    written = await tamv_bot("init", str(tmp_path / "team"), "--yes", "--name", "Nobody", env=env)
    assert written.code == 0, written
    assert load_team(tmp_path / "team" / "team.yaml").organisation == "Nobody"


def test_the_name_of_a_namespace_says_its_environment() -> None:
    named = {name: environment_of(name) for name in ("pay", "pay-staging", "stg-pay", "dev", "pay-uat", "devices")}
    assert named == {
        "pay": "production", "pay-staging": "staging", "stg-pay": "staging", "dev": "development", "pay-uat": "staging",
        "devices": "production",
    }  # fmt: skip
