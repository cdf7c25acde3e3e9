"""The environment: a line for each mistake, exit 2, and no secret in any of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.settings import Settings, WrongSettings, load_settings
from demo.environment import FROM_ENVIRONMENT, sandbox_settings
from sandbox.server import Sandbox
from tests.harness.command_line import Ran, run_tamv_bot

RIGHT = {"SLACK_BOT_TOKEN": "xoxb-of-a-test", "SLACK_SIGNING_SECRET": "signing-secret-of-a-test"}
ROOT = Path(__file__).parents[1]

WRONG: list[tuple[dict[str, str], list[str]]] = [
    ({"SLACK_BOT_TOKEN": ""}, ["SLACK_BOT_TOKEN"]),
    ({"SLACK_SIGNING_SECRET": " "}, ["SLACK_SIGNING_SECRET"]),
    ({"PORT": "many"}, ["PORT"]),
    ({"PORT": "70000"}, ["PORT"]),
    ({"LOCALE": "fr"}, ["LOCALE"]),
    ({"DATABASE_URL": "mysql://tamv:hunter2xx@db/tamv"}, ["DATABASE_URL"]),
    ({"SLACK_API_URL": "slack"}, ["SLACK_API_URL"]),
    ({"PROMETHEUS_URL": "ftp://prometheus"}, ["PROMETHEUS_URL"]),
    ({"GITHUB_REPOSITORY": "tamv"}, ["GITHUB_REPOSITORY"]),
    ({"PORT": "x", "LOCALE": "fr", "GITHUB_REPOSITORY": "a/b/c"}, ["GITHUB_REPOSITORY", "LOCALE", "PORT"]),
]


def serve(folder: Path, **environment: str) -> Ran:
    """`tamv-bot serve` as it is started, in an environment that holds nothing else."""
    return run_tamv_bot("serve", env={"PATH": os.environ["PATH"], **environment}, cwd=folder)


def lines_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    monkeypatch.chdir(folder)  # no .env there
    for name in list(os.environ):
        if name.startswith(("SLACK_", "GITHUB_", "PAGERDUTY_", "PROMETHEUS_", "DATABASE_", "LOCALE", "PORT")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings) as wrong:
        load_settings()
    return wrong.value.lines


@pytest.mark.parametrize(("environment", "variables"), WRONG)
def test_each_mistake_has_one_line_that_begins_with_the_variable(
    environment: dict[str, str], variables: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = lines_of(RIGHT | environment, monkeypatch, tmp_path)
    assert sorted(line.partition(":")[0] for line in lines) == variables
    assert all("\n" not in line and len(line.partition(": ")[2]) > 5 for line in lines)
    assert not [line for line in lines if "hunter2xx" in line or "of-a-test" in line]


def test_a_demo_takes_nothing_of_the_real_systems_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sandbox = Sandbox()
    alone = sandbox_settings("http://127.0.0.1:1", sandbox, "sqlite:///demo.db")
    monkeypatch.chdir(tmp_path)
    for name in set(Settings.model_fields) - set(FROM_ENVIRONMENT):
        monkeypatch.setenv(name.upper(), "https://real.example.org/owned")
    Path(".env").write_text("GITHUB_APP_ID=1\nHELM=elsewhere\n")
    assert sandbox_settings("http://127.0.0.1:1", sandbox, "sqlite:///demo.db") == alone
    monkeypatch.setenv("HELM", "/opt/helm")
    assert sandbox_settings("http://127.0.0.1:1", sandbox, "sqlite:///demo.db").helm == "/opt/helm"


def test_serve_says_every_mistake_and_exits_with_2(tmp_path: Path) -> None:
    done = serve(tmp_path, SLACK_BOT_TOKEN="xoxb-of-a-test", PORT="x", DATABASE_URL="mysql://a:hunter2xx@db/tamv")
    assert done.code == 2
    assert done.out == ""
    said = done.err.splitlines()
    assert sorted(line.partition(":")[0] for line in said) == ["DATABASE_URL", "PORT", "SLACK_SIGNING_SECRET"]
    assert "hunter2xx" not in done.err and "of-a-test" not in done.err


@pytest.mark.parametrize(
    ("team_file", "said"),
    [
        (None, "BOT_CONFIG"),
        ("services: [", "YAML"),
        ("services: 7\nbords: {}\n", "services"),
    ],
)
def test_serve_says_what_is_wrong_with_the_teams_file_and_exits_with_2(
    team_file: str | None, said: str, tmp_path: Path
) -> None:
    if team_file is not None:
        (tmp_path / "team.yaml").write_text(team_file, encoding="utf-8")
    done = serve(tmp_path, **RIGHT, BOT_CONFIG="team.yaml", PORT="0")
    assert done.code == 2
    assert said in done.err and "Traceback" not in done.err


def test_serve_says_that_the_database_cannot_be_reached_and_exits_with_2(tmp_path: Path) -> None:
    done = serve(
        tmp_path,
        **RIGHT,
        BOT_CONFIG=str(ROOT / "teams" / "tamv" / "team.yaml"),
        DATABASE_URL="postgresql://tamv:hunter2xx@127.0.0.1:1/tamv",
        PORT="0",
    )
    assert done.code == 2
    assert "Traceback" not in done.err and "hunter2xx" not in done.err


def test_what_is_blank_is_unset_and_lists_are_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        **RIGHT,
        "GITHUB_TOKEN": "",
        "PROMETHEUS_URL": " ",
        "PAGERDUTY_WEBHOOK_SECRETS": "new, old,",
        "DATABASE_URL": "postgres://db/tamv",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.github_token is None and settings.prometheus_url is None
    assert [one.get_secret_value() for one in settings.pagerduty_webhook_secrets] == ["new", "old"]
    assert settings.database_url == "postgresql://db/tamv"
    assert {"new", "old", *RIGHT.values()} <= set(settings.secrets)
    assert "xoxb" not in repr(settings) and "signing-secret" not in repr(settings)
