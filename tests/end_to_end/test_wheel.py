"""The wheel has all that it needs: it runs from an empty folder, without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, files

LONG = 200


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


@pytest.mark.timeout(LONG)
def test_the_demo_is_played_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    played = run(installed, tmp_path, "demo", "--auto", "--lang", "en")
    assert played.returncode == 0, played.stdout + played.stderr
    out = tmp_path / "out"
    assert (out / "summary.json").is_file() and list(out.glob("INC-*.md")) and list((out / "charts").glob("*.png"))
