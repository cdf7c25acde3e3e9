"""docs/first-run.md, command by command: from an empty folder to a run that somebody else has approved."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bot.store.database import Database
from bot.store.store import Store
from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.company import load_company
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from tests.architecture.tree import ROOT
from tests.crash.outside import until
from tests.end_to_end.test_command_line import SCOPES
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.teams.test_acme import ACME, furnish

GUIDE = (ROOT / "docs/first-run.md").read_text("utf-8")
CHANNEL = "incidents"
LEFT_OUT = ("AWS_", "VAULT_", "TEMPO_", "HEALTH_", "ALERTMANAGER_")  # of which the guide does not speak
TESTED = ["succeeds", "restart is rejected", "look fails", "restart fails", "kill -9"]


def commands() -> list[str]:
    """The shell lines of the guide; those that install something or export what is secret are not for a test."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(("python3 -m venv", "export "))]


def name_who_responds(team_file: Path) -> None:
    """Put the people of the guide into the file, where it says that there are none."""
    (people,) = re.findall(r"```yaml\n(people:\n.*?)```", GUIDE, re.DOTALL)
    text = team_file.read_text("utf-8")
    assert "\npeople: []\n" in text
    team_file.write_text(text.replace("\npeople: []\n", f"\n{people}"), "utf-8")


class Terminal:
    """Runs the guide's commands in a folder. What was exported is there from the line on that exports it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self.env = folder, env

    async def run(self, line: str) -> Ran:
        if line.startswith("tamv-bot "):
            words, _, output = line.partition(" > ")
            ran = await tamv_bot(*shlex.split(words)[1:], env=self.env, cwd=self._folder, seconds=400)
            if output:
                (self._folder / output).write_text(ran.out)
            return ran
        done = subprocess.run(line, shell=True, cwd=self._folder, capture_output=True, text=True)  # noqa: S602
        return Ran(done.returncode, done.stdout, done.stderr)


def lines(output: str) -> Iterator[tuple[str, str]]:
    """Each case of `runbook test`, with its mark."""
    yield from re.findall(r"^([✓✗-]) restart: (.*?)(?:\s+[\d.]+ s)?$", output, re.MULTILINE)


@pytest.mark.timeout(600)
async def test_the_guide_leads_to_an_approved_run(tmp_path: Path) -> None:
    company = load_company(ACME / "company.yaml")
    sandbox = Sandbox(replace(company, channels=(replace(company.channels[0], name=CHANNEL),)))
    sandbox.slack.scopes = set(SCOPES)
    sandbox.slack.bot_url = f"http://127.0.0.1:{(port := free_port())}"
    async with sandbox.serving() as url:
        (tmp_path / "kubeconfig").write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        await furnish(url, sandbox)
        database = f"sqlite:///{tmp_path}/bot.db"
        everything = environment(
            sandbox_settings(url, sandbox, database, "en", kubeconfig=str(tmp_path / "kubeconfig"), port=port)
        ) | {"TEAM_DIR": "", "LOCALE": "en", "INCIDENT_CHANNEL": "", "SLACK_APP_TOKEN": ""}
        everything = {name: value for name, value in everything.items() if not name.startswith(LEFT_OUT)}
        without_slack = {name: value for name, value in everything.items() if not name.startswith("SLACK_")}
        terminal, left = Terminal(tmp_path, without_slack), commands()
        for line in left[: left.index("tamv-bot serve --team acme")]:
            if "doctor" in line:
                terminal.env = everything  # exported in the line before
            ran = await terminal.run(line)
            while "doctor" in line and "no answer" in ran.out:  # within its time limits, on a busy machine
                ran = await terminal.run(line)
            assert ran.code == 0, f"{line}\n{ran.out}{ran.err}"
            if "init" in line:
                name_who_responds(tmp_path / "acme" / "team.yaml")
            if "runbook test" in line:
                assert list(lines(ran.out)) == [("✓", case) for case in TESTED], ran.out
                assert max(map(len, ran.out.splitlines())) <= 80
            if "--dry-run" in line:
                assert "checkout" in ran.out and not sandbox.slack.calls
        assert yaml.safe_load((tmp_path / "app.yaml").read_text())["display_information"]
        serve = shlex.split(left[-1])[1:]
        with (tmp_path / "log").open("w") as log, subprocess.Popen(
            [sys.executable, "-m", "bot", *serve], cwd=tmp_path, env=everything | {"PYTHONPATH": str(ROOT)},
            stdout=log, stderr=log,
        ) as bot:  # fmt: skip
            try:
                await approved(sandbox, Store(Database(database), "test"))
            finally:
                bot.terminate()
                assert bot.wait(30) == 0, (tmp_path / "log").read_text()


async def approved(sandbox: Sandbox, store: Store) -> None:
    """Priya types the guide's command, Tom approves, and the service is restarted."""
    slack, (line,) = sandbox.slack, re.findall(r"```text\n(.*?)\n```", GUIDE)

    async def answered() -> str | None:
        reply = await Person(slack, "priya").run(line, CHANNEL)
        return "" if reply.error else "ok"

    await until(answered, 60, "the bot to answer")

    def card() -> tuple[object, str] | None:
        found = [(message, element["value"]) for message in slack.channel(CHANNEL).messages.values()
                 for _, element in message.elements() if element["action_id"] == "approve"]  # fmt: skip
        return found[0] if found else None

    message, value = await slack.wait_for(card, 60)
    await Person(slack, "tom").press(message, "approve", value)  # type: ignore[arg-type]

    run_id, step, _ = value.split("|")

    async def restarted() -> bool:
        return (await store.runs.get(run_id)).step(step).result is not None

    sandbox.clock.speed = 20
    await until(restarted, 60, "the restart")  # then it watches the metrics for minutes
    approval = await store.runs.approval(run_id, step)
    assert approval and [one.person for one in approval.decisions] == ["U0TOMBK002"]
