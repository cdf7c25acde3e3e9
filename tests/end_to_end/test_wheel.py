"""The wheel has all that it needs: it runs from an empty folder, without the checkout."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.architecture.tree import ROOT, files
from tests.harness import way_in

LONG = 200
TEN_MINUTES = 600


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel of this checkout is installed, beside the locked requirements."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in files():
        if not name.startswith(("docs/", "tests/", "benchmarks/")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run(build, check=True, timeout=LONG)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", wheel], check=True, timeout=LONG)
    return folder / "site"


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "bot", *command], cwd=folder, env={**kept, "PYTHONPATH": str(installed)},
        capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "--version").stdout.startswith("tamv-bot ")
    where = subprocess.run(
        [sys.executable, "-c", "import bot, sandbox; print(bot.__file__, sandbox.__file__)"],
        cwd=tmp_path, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(ROOT) not in where.stdout


def test_the_example_team_and_its_runbooks_are_in_it(installed: Path, tmp_path: Path) -> None:
    validated = run(installed, tmp_path, "runbook", "validate", "--lang", "en")
    assert validated.returncode == 0, validated.stderr
    assert f"{len(list((ROOT / 'teams/tamv/runbooks').glob('*.yaml')))} runbook" in validated.stdout
    written = run(installed, tmp_path, "manifest", "--url", "https://bot.example.org")
    assert written.returncode == 0 and "https://bot.example.org/slack/events" in written.stdout, written.stderr


@pytest.mark.timeout(TEN_MINUTES)
async def test_the_readmes_way_in_leads_to_the_teams_first_incident(installed: Path, tmp_path: Path) -> None:
    """Its five commands in an empty folder, with only the tokens filled in; then what it says to type in Slack, which
    reaches the bot by Socket Mode, and an alert of another service.
    """
    commands = [line for line in way_in.commands() if not line.startswith("export ")]
    assert [shlex.split(line)[:2] for line in commands] == [
        ["pip", "install"], *(["tamv-bot", name] for name in ("init", "manifest", "doctor", "serve"))
    ], "five commands, as the README says"  # fmt: skip
    program = tmp_path / "bin" / "tamv-bot"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bot "$@"\n', "utf-8")
    program.chmod(0o755)
    env = {"PYTHONPATH": str(installed), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    way = await way_in.first_incidents(tmp_path, env, installs=False)
    assert [line for line in way.said.splitlines() if line.startswith("✗") and "no answer" not in line] == []
    assert "acme: " in way.said
    for channel, service in zip(way.channels, ("checkout", "ledger-db"), strict=True):
        assert service in channel.messages[channel.pins[0]].all_text()
        assert "U0PRIYA001" in channel.members
    manifest = yaml.safe_load((tmp_path / "app.yaml").read_text("utf-8"))
    assert manifest["display_information"]["name"] == "Acme Pay Incidents"
    assert sum(way.seconds.values()) < TEN_MINUTES


def test_both_readmes_have_the_same_way_in() -> None:
    assert way_in.commands("README.es.md") == way_in.commands()
    assert way_in.typed("README.es.md").rpartition(" ")[2] == way_in.typed().rpartition(" ")[2] == "service=checkout"


@pytest.mark.timeout(LONG)
def test_the_demo_is_played_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    played = run(installed, tmp_path, "demo", "--auto", "--lang", "en")
    assert played.returncode == 0, played.stdout + played.stderr
    out = tmp_path / "out"
    assert (out / "summary.json").is_file() and list(out.glob("INC-*.md")) and list((out / "charts").glob("*.png"))
