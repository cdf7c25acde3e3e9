"""The image, built and run: what it holds, and that the bot, its doctor and the whole demo work in it, read-only."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from tests.architecture.tree import ROOT
from tests.end_to_end.test_command_line import SCOPES
from tests.harness.command_line import environment
from tests.real.image import Image, image
from tests.real.parts import require

pytestmark = [pytest.mark.real("image"), pytest.mark.timeout(900)]

SLOW = 90.0  # seconds until it is ready, on a busy machine


@pytest.fixture(scope="module")
def built() -> Iterator[Image]:
    require("image")
    if os.geteuid() != 0:
        pytest.skip("image: only root may build and enter one here")
    with image() as made:
        yield made


def test_it_is_what_the_dockerfile_says(built: Image) -> None:
    assert (built.config["User"], built.config["Cmd"]) == ("10001:10001", ["tamv-bot", "serve"])
    assert built.config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    inside = built.run(
        "sh", "-c", "id -u; touch /opt/x; tamv-bot --version; helm version --short; grep Cap /proc/self/status"
    )
    assert inside.stdout.splitlines()[0] == "10001" and "Read-only file system" in inside.stderr, inside
    assert "tamv-bot " in inside.stdout and re.search(r"^v4\.", inside.stdout, re.MULTILINE), inside
    assert set(re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\s+(\w+)", inside.stdout, re.MULTILINE)) == {"0" * 16}


def test_its_bill_of_materials_names_every_locked_requirement_at_its_version(built: Image) -> None:
    bill = json.loads((built.root / "opt/venv/sbom.cdx.json").read_text("utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "tamv-bot")
    named = {one["purl"] for one in bill["components"]}
    there = built.run(
        "python", "-c", "from importlib.metadata import distributions as d; print(*{x.name for x in d()})"
    )
    packages = {re.sub("[-_.]+", "-", name).lower() for name in there.stdout.split()} - {"tamv-bot"}
    of_python = {purl.removeprefix("pkg:pypi/").partition("@")[::2] for purl in named if purl.startswith("pkg:pypi/")}
    assert {name for name, _ in of_python} == packages and not packages & {"pip", "setuptools"}
    locked = re.findall(
        r"^([a-z0-9-]+)(?:\[\w+\])?==([^ ;\\]+)", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE
    )
    assert of_python <= set(locked)
    assert any(purl.startswith("pkg:deb/debian/libsqlite3") for purl in named)
    assert any(purl.startswith("pkg:golang/helm.sh/helm/") for purl in named)


def test_the_demo_is_played_to_its_end_in_it(built: Image) -> None:
    played = built.run("sh", "-c", "tamv-bot demo --auto --lang en --port 0 && ls out")
    assert played.returncode == 0 and "summary.json" in played.stdout, played


async def test_the_bot_runs_in_it_and_ends_when_it_is_asked_to(built: Image) -> None:
    sandbox = Sandbox()
    sandbox.slack.scopes = set(SCOPES)
    async with sandbox.serving() as url:
        port = free_port()
        settings = sandbox_settings(url, sandbox, "sqlite:////tmp/bot.db", "en", host="127.0.0.1", port=port)
        given = {name: value for name, value in environment(settings).items() if name.isupper() and name not in OURS}
        examined = await asyncio.to_thread(built.run, "tamv-bot", "doctor", "--timeout", "90", **given)
        assert examined.returncode == 0 and "✗" not in examined.stdout, examined
        process = subprocess.Popen(built.command(**given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            async with deadline(SLOW), aiohttp.ClientSession() as http:
                while process.poll() is None and not await _ready(http, port):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            bot = _bot_of(process.pid)
            assert (Path(f"/proc/{bot}/status").read_text().split("Uid:")[1].split()[:4]) == ["10001"] * 4
            os.kill(bot, 15)
            said = (await asyncio.to_thread(process.communicate, timeout=SLOW))[0]
        finally:
            process.kill()
    assert process.returncode == 0, said


OURS = {"PATH", "HOME", "LANG", "COLUMNS", "TEAM_DIR", "HELM"}  # of this machine


def _bot_of(unshare: int) -> int:
    """The process that is the first one in there."""
    return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])


async def _ready(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
