"""The wheel has all that it needs: it runs from an empty folder, without the checkout."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
import yaml

from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from tests.architecture.tree import ROOT, files
from tests.end_to_end.test_command_line import SCOPES
from tests.harness.command_line import environment
from tests.teams.test_acme import ACME, furnish

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


@pytest.mark.timeout(LONG)
async def test_the_readmes_way_in_is_true_to_the_letter(installed: Path, tmp_path: Path) -> None:
    """Its commands, one after the other, in an empty folder; only the tokens are filled in."""
    text = (ROOT / "README.md").read_text("utf-8").split("## Run it for your team")[1].split("```")[1]
    commands = [line for line in text.splitlines()[1:] if not line.startswith("export")]
    assert len(commands) == 5 and commands[0].startswith("pip install "), "five commands, as it says below them"
    lines = [line for line in text.splitlines() if line.startswith(("tamv-bot", "export"))]
    assert [line.split()[1] for line in lines if line.startswith("tamv-bot")] == ["init", "manifest", "doctor", "serve"]
    program = tmp_path / "bin" / "tamv-bot"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bot "$@"\n', "utf-8")
    program.chmod(0o755)
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    sandbox.slack.scopes = set(SCOPES)
    async with sandbox.serving() as url:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"), "utf-8")
        await furnish(url, sandbox)
        settings = sandbox_settings(url, sandbox, f"sqlite:///{tmp_path}/bot.db", "en", kubeconfig=str(kubeconfig))
        env = environment(settings) | {
            "TEAM_DIR": "",
            "INCIDENT_CHANNEL": "",
            "PYTHONPATH": str(installed),
            "PORT": str(free_port()),
        }
        env["PATH"] = f"{program.parent}:{env['PATH']}"
        team_dir = next(line for line in lines if line.startswith("export")).split()[1]
        script = "\n".join(["set -e", *(team_dir.join(("export ", "")) if line.startswith("export") else line
                                        for line in lines)])  # fmt: skip
        script = script.replace("tamv-bot serve", "exec tamv-bot serve")
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, cwd=tmp_path, env=env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with deadline(90), aiohttp.ClientSession() as http:
                while process.returncode is None and not await _ready(http, env["PORT"]):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
                assert time.monotonic() - began < TEN_MINUTES
        finally:
            if process.returncode is None:
                process.terminate()
            said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert "✗" not in said and "acme: " in said
    assert (
        yaml.safe_load((tmp_path / "app.yaml").read_text("utf-8"))["display_information"]["name"]
        == "Acme Pay Incidents"
    )


async def _ready(http: aiohttp.ClientSession, port: str) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.timeout(LONG)
def test_the_demo_is_played_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    played = run(installed, tmp_path, "demo", "--auto", "--lang", "en")
    assert played.returncode == 0, played.stdout + played.stderr
    out = tmp_path / "out"
    assert (out / "summary.json").is_file() and list(out.glob("INC-*.md")) and list((out / "charts").glob("*.png"))
