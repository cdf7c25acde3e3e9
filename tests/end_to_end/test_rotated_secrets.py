"""Secrets in files are rotated while `tamv-bot serve` runs: one process, before and after."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Credentials
from tests.architecture.tree import ROOT
from tests.crash.outside import until
from tests.harness.command_line import environment

ROTATED = ("SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET")
NEW = Credentials(bot_token="xoxb-the-new-token-of-the-bot", signing_secret="the-new-signing-secret")


async def test_a_bot_goes_on_with_new_secrets_without_a_restart(tmp_path: Path) -> None:
    sandbox, port, log = Sandbox(), free_port(), tmp_path / "log"
    async with sandbox.serving() as url:
        sandbox.slack.bot_url = f"http://127.0.0.1:{port}"
        given = environment(sandbox_settings(url, sandbox, f"sqlite:///{tmp_path}/bot.db", port=port))
        (secrets := tmp_path / "secrets").mkdir()
        for name in ROTATED:
            (secrets / name.lower()).write_text(given.pop(name))
        env = given | {"SECRETS_DIR": str(secrets), "PYTHONPATH": str(ROOT), "LOG_LEVEL": "INFO"}
        command = [sys.executable, "-m", "bot", "serve"]
        with (
            log.open("w") as out,
            subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=out) as bot,
        ):
            try:
                await until(lambda: answered(sandbox), 60, "the bot to answer")
                (secrets / ROTATED[1].lower()).write_text("")  # half of it: refused, with a line
                await until(lambda: says(log, "SLACK_SIGNING_SECRET: is not set"), 40, "the line about the mistake")
                assert await answered(sandbox)
                sandbox.slack.credentials = NEW
                assert not await answered(sandbox)  # signed with what the bot does not know yet
                (secrets / ROTATED[0].lower()).write_text(NEW.bot_token)
                (secrets / ROTATED[1].lower()).write_text(NEW.signing_secret)
                await until(lambda: answered(sandbox), 60, "the bot to know the new secrets")
                await Person(sandbox.slack, "ana").run("/incident declare Render lento sev=SEV3")
                await sandbox.slack.wait_for(
                    lambda: [one for one in sandbox.slack.channels.values() if one.name.startswith("inc-")], 30
                )
                assert bot.poll() is None
            finally:
                bot.terminate()
                assert bot.wait(30) == 0, log.read_text()
    assert not re.search("|".join((*map(re.escape, vars(Credentials()).values()), NEW.bot_token)), log.read_text())


async def answered(sandbox: Sandbox) -> bool | None:
    """Whether the bot takes a command of Ana's for Slack's."""
    reply = await Person(sandbox.slack, "ana").run("/oncall")
    return reply.status == 200 or None


async def says(log: Path, line: str) -> bool | None:
    return line in log.read_text() or None
