"""kill -9 while a prediction is told, charted and ended: there is one message, one chart and one outcome."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from bot.domain.forecast import HORIZON, LATE, Outcome, Prediction, last_step
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from demo.bot_process import free_port
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.state import Message
from tests.crash.processes import EVENTS, BotProcess, environment
from tests.harness.forecasts import filling, forecasting_team
from tests.harness.scene import TEAM, words

ON_ITS_WAY = 0.6  # seconds: it is done after the bot has been killed, while the next one starts
SOON = 90.0
CALLS = (("slack", "chat.postMessage"), ("prometheus", "*query_range"), ("slack", "chat.update"))


async def test_killed_while_it_watches_a_prediction(database_url: str, tmp_path: Path) -> None:
    upgrade(database_url)
    database = Database(database_url)
    store = Store(database, "test")
    made_at = last_step(datetime.now(UTC)) - HORIZON - LATE  # its hour is over: nothing is left to wait for
    expected = made_at + timedelta(minutes=35)
    id = "xr-engine/disk/1"
    await store.forecasts.keep_once(
        Prediction(id, "xr-engine", "disk", made_at, 0.95, expected, made_at + timedelta(minutes=30), told=True)
    )
    sandbox = Sandbox()
    sandbox.slack.subscriptions = set(EVENTS)
    sandbox.world.tsdb.series("disk_used", {"instance": "xr"}).extend(*filling(made_at))

    def told() -> list[Message]:
        return [one for one in sandbox.slack.channel(TEAM).messages.values() if "🔮" in words(one) and not one.files]

    async with sandbox.serving(free_port()) as url, aiohttp.ClientSession() as session:
        bot = BotProcess(environment(url, database_url, team_dir=str(forecasting_team(tmp_path))), tmp_path)
        try:
            for service, match in CALLS:
                held = sandbox.faults.add(service, "slow", match, seconds=ON_ITS_WAY)
                await bot.started(session)
                async with deadline(SOON):
                    await held.met.wait()
                await asyncio.sleep(ON_ITS_WAY / 4)
                bot.kill()
            await bot.started(session)
            await sandbox.slack.wait_for(lambda: any("Se cumplió" in words(one) for one in told()), SOON)
            kept = await store.forecasts.get(id)
        finally:
            bot.kill()
            await database.close()
    assert bot.killed == len(CALLS) + 1
    assert len(told()) == 1
    assert len(sandbox.slack.files) == 1
    assert kept.outcome is Outcome.CAME
    assert kept.came_at is not None
    assert abs(kept.came_at - expected) <= timedelta(minutes=15)
