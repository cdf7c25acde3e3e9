"""The documentation as a site: it builds, its links lead somewhere, nothing of it is fetched from elsewhere, and the
code takes what it shows as an example.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from typer.main import get_command

from bot.actions.catalogue import ACTIONS
from bot.command_line import cli
from bot.runbooks.check import check, load
from bot.team import load_team
from tests.architecture.test_documents import _commands
from tests.architecture.tree import ROOT

HOW_TO = sorted((ROOT / "docs/how-to").glob("*.md"))
TEAM: dict[str, Any] = {
    "organisation": "Acme",
    "teams": {"Ops": {}},
    "severities": {"SEV2": {"title": "Bad"}},
    "services": {"checkout": {"namespaces": {"production": "shop"}}},
    "people": [{"name": "Ada", "slack": "U0ADA", "roles": ["responder"]}],
}
FETCHED = re.compile(
    r"<(?:script|img|iframe)[^>]+src=\"https?://|<link[^>]+href=\"https?://[^\"]+\.css|@import url\(http"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(build, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    for name in ("tour", "tour.es", "first-run", "first-run.es", "how-to/upgrade", "security", "reference/team-file"):
        assert (site / name / "index.html").is_file(), name
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    assert not [page for page in pages if FETCHED.search(page.read_text("utf-8"))]


def test_the_reference_names_every_command(site: Path) -> None:
    text = (site / "reference/command-line/index.html").read_text("utf-8")

    def names(prefix: str, command: Any) -> list[str]:
        below = getattr(command, "commands", None)
        return [prefix] if below is None else [n for part, one in below.items() for n in names(f"{prefix} {part}", one)]

    known = names("tamv-bot", get_command(cli))
    assert len(known) > 20 and not [name for name in known if f">{name}<" not in text]


def blocks(path: Path, kind: str) -> list[str]:
    return [re.sub(r"^ {4}", "", text, flags=re.MULTILINE) if text.startswith("    ") else text
            for text in re.findall(rf"```{kind}\n(.*?)\n *```", path.read_text("utf-8"), re.DOTALL)]  # fmt: skip


@pytest.mark.parametrize("page", HOW_TO, ids=lambda path: path.stem)
def test_what_a_how_to_shows_is_taken_by_the_code(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        example = yaml.safe_load(text)
        match text.splitlines()[0]:
            case "# team.yaml":
                (tmp_path / "team.yaml").write_text(yaml.safe_dump(TEAM | example), "utf-8")
                load_team(tmp_path / "team.yaml")
            case "# alertmanager.yaml":
                assert example["receivers"][0]["webhook_configs"][0]["url"].endswith("/webhooks/alertmanager")
            case first:
                name = first.removeprefix("# runbooks/")
                assert name != first, f"{page.name}: say what this is"
                (tmp_path / name).write_text(text, "utf-8")
                (tmp_path / "team.yaml").write_text(yaml.safe_dump(TEAM), "utf-8")
                team = load_team(tmp_path / "team.yaml")
                assert check(tmp_path / name, load(tmp_path / name), ACTIONS, team) == []
    for text in blocks(page, "sh"):
        for line in text.splitlines():
            if line.startswith("tamv-bot "):
                command, words = cast(Any, get_command(cli)), line.split()[1:]
                while hasattr(command, "commands"):
                    command = command.commands[words.pop(0)]
                known = {option for param in command.params for option in param.opts} | {"--team"}
                assert {word for word in words if word.startswith("--")} <= known, line


def test_the_tutorial_has_the_same_commands_in_both_languages() -> None:
    english, spanish = ((ROOT / f"docs/first-run{end}.md").read_text("utf-8") for end in ("", ".es"))
    assert _commands(english) == _commands(spanish)
    assert re.findall(r"```(?:yaml|text)\n(.*?)```", english, re.DOTALL) == re.findall(
        r"```(?:yaml|text)\n(.*?)```", spanish, re.DOTALL
    )


def test_the_tour_has_the_same_pictures_in_both_languages() -> None:
    english, spanish = ((ROOT / f"docs/tour{end}.md").read_text("utf-8") for end in ("", ".es"))
    pictures = [re.findall(r"\(images/([\w-]+)\.png\)", text) for text in (english, spanish)]
    assert pictures[0] and [name.replace("-en", "-es") for name in pictures[0]] == pictures[1]
    assert english.count("\n## ") == spanish.count("\n## ")
