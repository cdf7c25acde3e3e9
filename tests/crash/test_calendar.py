"""kill -9 while the calendar tells what is due: each thing is told once, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import yaml

from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from demo.bot_process import free_port
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.state import Message
from tests.crash.processes import EVENTS, BotProcess, environment
from tests.harness.scene import TEAM, words

ROOT = Path(__file__).parents[2]
TASKS = 6
DELAY = 0.4  # seconds that Slack takes for a message: the kill comes while some are on their way


def team_of(folder: Path) -> Path:
    """TAMV's team, with tasks that are all due today and nothing else."""
    raw = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    today = datetime.now(UTC).date().isoformat()
    task = {"first": today, "every": "1d"}
    tasks = {f"task-{number}": {**task, "title": f"Tarea {number}"} for number in range(TASKS)}
    raw |= {"timezone": "UTC", "secrets": {}, "backups": {}, "schedules": {"at": "00:00", "tasks": tasks}}
    (folder / "runbooks").symlink_to(ROOT / "teams/tamv/runbooks")
    (folder / "manifests").symlink_to(ROOT / "teams/tamv/manifests")
    (folder / "team.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), "utf-8")
    return folder


async def test_killed_while_it_tells_what_is_due(database_url: str, tmp_path: Path) -> None:
    upgrade(database_url)
    database = Database(database_url)
    store = Store(database, "test")
    await store.calendar.began(datetime.now(UTC) - timedelta(days=3))  # this is not its first day
    (tmp_path / "team").mkdir()
    sandbox = Sandbox()
    sandbox.slack.subscriptions = set(EVENTS)

    def told() -> list[Message]:
        return [one for one in sandbox.slack.channel(TEAM).messages.values() if "Tarea" in words(one)]

    async with sandbox.serving(free_port()) as url, aiohttp.ClientSession() as session:
        team = team_of(tmp_path / "team")
        bot = BotProcess(environment(url, database_url, team_dir=str(team)), tmp_path)
        try:
            held = sandbox.faults.add("slack", "slow", "chat.postMessage", seconds=DELAY, times=2)
            await bot.started(session)
            async with deadline(60):
                await held.met.wait()
            await asyncio.sleep(DELAY / 4)
            bot.kill()
            await bot.started(session)
            await sandbox.slack.wait_for(lambda: len(told()) >= TASKS, 60)
            bot.kill()
            await bot.started(session)  # with nothing left to tell: it looks as soon as it leads
            await asyncio.sleep(1)
        finally:
            bot.kill()
            await database.close()
    assert bot.killed == 3
    assert sorted(words(one).partition("Tarea ")[2][0] for one in told()) == [str(number) for number in range(TASKS)]
