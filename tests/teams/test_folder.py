"""A team's folder: what may be left out, what is a mistake and where, and reloading it while the bot runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput
from bot.domain.incident import Severity
from bot.messages.translations import translations_of
from bot.services.team_folder import TeamFolder
from bot.settings import WrongSettings, load_settings, load_team_settings
from bot.team import load_team, policy_of
from demo.environment import demo_environment
from sandbox.company import load_company
from sandbox.server import Sandbox
from tests.teams.test_acme import ACME

LEAST = "organisation: Acme\nteams: {Ops: {}}\nseverities: {SEV2: {title: Bad}}\n"


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "team.yaml").write_text(text, "utf-8")
    return folder / "team.yaml"


def test_an_organisation_a_team_and_a_severity_are_enough(tmp_path: Path) -> None:
    team = load_team(written(tmp_path, LEAST))
    assert team.followups.owner == "Ops"
    assert team.targets.mttr is None and not team.services and not team.boards
    assert {team.nearest_severity(level) for level in Severity} == {Severity.SEV2}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("default_service: web\n", "team.yaml:4:1: default_service: no service `web`"),
        ("services: {web: {owners: [Opps]}}\n", "services.web.owners.0: no team `Opps`; did you mean `Ops`?"),
        ("services:\n  web:\n    board: main\n", "team.yaml:6:5: services.web.board: no board `main`"),
        ("boards: {main: {title: Main, queries: [latency]}}\n", "boards.main.queries.0: no query `latency`"),
        ("followups: {owner: Nobody}\n", "followups.owner: no team `Nobody`"),
        ("languages: [klingon]\n", "languages.0: no language `klingon`"),
        ("servces: {}\n", "team.yaml:4:1: servces"),
        ("commands: {incident: page}\n", "two commands are called page"),
        ("policy: {limits: {replicas: many}}\n", "policy.limits.replicas"),
    ],
)
def test_a_name_that_stands_for_nothing_is_a_mistake_with_its_place(more: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as wrong:
        load_team(written(tmp_path, LEAST + more))
    lines = wrong.value.facts["lines"]
    assert isinstance(lines, list) and any(said in line for line in lines), lines


def test_paths_are_relative_to_the_folder(tmp_path: Path) -> None:
    team = load_team(written(tmp_path / "acme", LEAST))
    assert team.runbooks == tmp_path / "acme" / "runbooks"
    assert team.path(team.manifests) == tmp_path / "acme" / "manifests"


def test_the_folder_says_language_and_channel_and_the_environment_overrides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TEAM_DIR", "BOT_CONFIG", "LOCALE", "INCIDENT_CHANNEL"):
        monkeypatch.delenv(name, raising=False)
    tokens: dict[str, Any] = {"slack_bot_token": "xoxb-1", "slack_signing_secret": "s"}
    monkeypatch.setenv("TEAM_DIR", str(ACME))
    settings = load_settings(**tokens)
    assert (settings.locale, settings.incident_channel) == ("en", "#acme-incidents")
    monkeypatch.setenv("LOCALE", "es")
    monkeypatch.setenv("INCIDENT_CHANNEL", "#war-room")
    settings = load_settings(**tokens)
    assert (settings.locale, settings.incident_channel) == ("es", "#war-room")
    monkeypatch.setenv("BOT_CONFIG", str(ACME / "team.yaml"))
    assert load_team_settings().team_folder == ACME
    monkeypatch.setenv("BOT_CONFIG", str(written(tmp_path, LEAST)))
    with pytest.raises(WrongSettings) as wrong:
        load_team_settings()
    assert "set one of them" in wrong.value.lines[0]


def test_a_team_words_a_text_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "templates" / "en" / "messages").mkdir(parents=True)
    (tmp_path / "templates" / "en" / "labels.yaml").write_text("nobody: no soul\n", "utf-8")
    words = translations_of(load_team(written(tmp_path, LEAST + "languages: [en]\n")), "en")
    assert list(words) == ["en"]
    assert words["en"].label("nobody") == "no soul"
    assert words["en"].label("unknown") == "unknown"


async def test_a_changed_folder_is_used_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    shutil.copytree(ACME, folder)
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", locale="en", team_dir=folder) as made:
        reloading = TeamFolder(made.bot, folder / "team.yaml")
        text = (folder / "team.yaml").read_text("utf-8")
        written(folder, text.replace("organisation: Acme Pay", "organisation: Acme Bank"))
        shutil.copy(folder / "runbooks/slow-ledger.yaml", folder / "runbooks/second.yaml")
        assert not await reloading.reload(), "its name differs from its file's"
        assert made.bot.deps.team.organisation == "Acme Pay"
        second = (folder / "runbooks/second.yaml").read_text("utf-8").replace("name: slow-ledger", "name: second")
        (folder / "runbooks/second.yaml").write_text(second, "utf-8")
        assert await reloading.reload()
        assert made.bot.deps.team.organisation == "Acme Bank"
        assert set(made.bot.runs.library.runbooks) == {"slow-ledger", "second"}


async def test_a_role_is_given_by_a_user_group(tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    shutil.copytree(ACME, folder)
    text = (folder / "team.yaml").read_text("utf-8")
    people = text[text.index("people:") : text.index("severities:")]
    written(folder, text.replace(people, "roles: {responder: {usergroup: S0PAYMENTS}}\n"))
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", locale="en", team_dir=folder) as made:
        assert policy_of(made.bot.deps.team).roles["responder"] == {"U0PRIYA001", "U0TOMBK002"}
