"""The README's way in, to the letter: its commands in an empty folder, then its words in Slack, and an alert."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Channel
from tests.architecture.tree import ROOT
from tests.end_to_end.test_command_line import SCOPES
from tests.harness import alerts
from tests.harness.command_line import environment
from tests.teams.test_acme import ACME, HOME, furnish

MINUTES = 10
POLL_SECONDS = 0.2
DECLARED = "/incident declare, then its channel"


@dataclass
class WayIn:
    """What came of it: each line of the README with the seconds that it took, and what was printed."""

    seconds: dict[str, float] = field(default_factory=dict)
    said: str = ""
    channels: list[Channel] = field(default_factory=list)


def commands(readme: str = "README.md") -> list[str]:
    """The lines of its first block of commands about a team of one's own, without comments."""
    return [line.partition(" #")[0].strip() for line in _section(readme).split("```")[1].splitlines()[1:]]


def typed(readme: str = "README.md") -> str:
    """What it says to type in Slack."""
    found = re.search(r"`(/incident declare [^`]+)`", _section(readme))
    assert found, f"{readme} says what to type first"
    return found[1]


def _section(readme: str) -> str:
    title = {"README.md": "## Run it for your team", "README.es.md": "## Úsalo con tu equipo"}[readme]
    return (ROOT / readme).read_text("utf-8").split(title)[1].split("\n## ")[0]


async def first_incidents(folder: Path, given: Mapping[str, str], *, installs: bool) -> WayIn:
    """Go the README's way in `folder`, for a team that the shipped example knows nothing of, with a sandbox around it.

    `given` is the environment of the commands; the first of them is left out unless it `installs`. AssertionError if a
    command fails, TimeoutError if it takes more than ten minutes.
    """
    way = WayIn()
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    sandbox.slack.scopes = set(SCOPES)
    async with sandbox.serving() as url, deadline(MINUTES * 60):
        await furnish(url, sandbox)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"), "utf-8")
        settings = sandbox_settings(
            url, sandbox, f"sqlite:///{folder}/bot.db", "en", kubeconfig=str(kubeconfig), port=free_port(),
            slack_app_token=sandbox.slack.credentials.app_token,
        )  # fmt: skip
        env = environment(settings) | {"TEAM_DIR": "", "INCIDENT_CHANNEL": "", **given}
        *before, serve = commands()
        for line in before:
            if line.startswith("export "):  # the tokens are there already, as PROMETHEUS_URL and the like are
                env |= dict(word.split("=") for word in shlex.split(line)[1:] if word.startswith("TEAM_DIR="))
            elif installs or not line.startswith("pip install"):
                way.seconds[line] = await _run(way, line, env, folder)
        await _serve(way, serve, env, folder, sandbox)
    return way


async def _start(line: str, env: Mapping[str, str], folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "bash", "-c", line, cwd=folder, env=dict(env), start_new_session=True,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def _run(way: WayIn, line: str, env: Mapping[str, str], folder: Path) -> float:
    while True:
        began = time.monotonic()
        process = await _start(line, env, folder)
        said = (await process.communicate())[0].decode()
        if "doctor" not in line or "no answer" not in said:  # within its time limits, on a busy machine
            break
    way.said += said
    assert process.returncode == 0, f"{line}\n{way.said}"
    return time.monotonic() - began


async def _serve(way: WayIn, line: str, env: Mapping[str, str], folder: Path, sandbox: Sandbox) -> None:
    """Start the bot and see it open an incident for a person, and another for Alertmanager."""
    began = time.monotonic()
    process = await _start(f"exec {line}", env, folder)
    bot = f"http://127.0.0.1:{env['PORT']}"
    output = asyncio.create_task(process.communicate())
    try:
        async with aiohttp.ClientSession() as http:
            while process.returncode is None and not await _ready(http, bot):  # noqa: ASYNC110 - two programs meet here
                await asyncio.sleep(POLL_SECONDS)
            way.seconds[line] = time.monotonic() - began
            if process.returncode is None:
                began = time.monotonic()
                await Person(sandbox.slack, "priya").run(typed(), HOME)
                await _opened(way, process, sandbox)
                way.seconds[DECLARED] = time.monotonic() - began
            if process.returncode is None:
                alert = alerts.alert(alertname="LedgerLatency", service="ledger-db", severity="critical")
                async with http.post(bot + alerts.PATH, data=alerts.notification(alert), headers=alerts.BEARER) as told:
                    assert told.status == 202, await told.text()
                await _opened(way, process, sandbox)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        way.said += (await output)[0].decode()
    assert process.returncode == 0, way.said


async def _ready(http: aiohttp.ClientSession, bot: str) -> bool:
    try:
        async with http.get(f"{bot}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _opened(way: WayIn, process: asyncio.subprocess.Process, sandbox: Sandbox) -> None:
    """Wait until the bot has opened one more incident's channel and pinned the card there, or has ended."""
    known = {channel.id for channel in way.channels}
    while process.returncode is None:
        new = [one for one in sandbox.slack.channels.values() if one.name.startswith("inc-") and one.id not in known]
        if new and new[0].pins:
            way.channels.append(new[0])
            return
        await asyncio.sleep(POLL_SECONDS)
