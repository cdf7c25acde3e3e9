"""Alerts that look ahead, on weeks of data in a real Prometheus: what fills up is told, what does so daily is not."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bot.domain.forecast import Forecast, NotEnough
from bot.workflows.forecasts import look_ahead
from demo.environment import demo_environment
from sandbox.clock import Clock
from sandbox.prometheus.tsdb import Tsdb
from sandbox.server import Sandbox
from tests.harness.forecasts import filling, forecasting_team
from tests.harness.scene import TEAM, words
from tests.real.parts import require
from tests.real.past import past
from tests.real.prometheus import prometheus

START = datetime(2026, 3, 4, 12, 1, tzinfo=UTC)
WEEKS = 3
DAY = 24 * 60  # minutes


@pytest.mark.real("prometheus")
async def test_three_weeks_in_a_real_prometheus_are_looked_ahead_at(tmp_path: Path) -> None:
    require("prometheus")
    times, values = filling(START, days=7 * WEEKS)
    turns = 2 * np.pi * ((times // 60_000) % DAY - 700) / 360  # at 12:00 it climbs by 23 an hour, from 70 on, to 86
    daily = 62 + 24 * np.sin(turns) + np.random.default_rng(2).normal(0, 0.5, len(times))
    has_gaps = (times > times[-1] - 230 * 60_000) & ((times // 60_000) % 20 >= 5)
    tsdb = Tsdb()
    tsdb.series("disk_used", {"instance": "xr"}).extend(times, values)
    tsdb.series("daily", {"instance": "xr"}).extend(times, daily)
    tsdb.series("gappy", {"instance": "xr"}).extend(times[~has_gaps], values[~has_gaps])
    sandbox = Sandbox(clock=Clock(START))
    folder = forecasting_team(tmp_path, others=["daily", "gappy"])
    async with contextlib.AsyncExitStack() as stack:
        real = prometheus(openmetrics=past(tsdb, {"job": "world"}))
        url = await asyncio.to_thread(real.__enter__)
        stack.callback(real.__exit__, None, None, None)
        made = await stack.enter_async_context(
            demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", prometheus_url=url, team_dir=str(folder))
        )
        said = await look_ahead(made.bot.deps)
        disk, usual = said["xr-engine/disk"], said["xr-engine/daily"]
        assert isinstance(disk, Forecast)
        assert disk.is_told
        assert not (isinstance(usual, Forecast) and usual.is_told), "a line alone would cross the threshold"
        assert said["xr-engine/gappy"] is NotEnough.GAPS
        channel = sandbox.slack.channel(TEAM)
        await sandbox.slack.wait_for(lambda: any("🔮" in words(one) for one in channel.messages.values()), 60)
        await sandbox.slack.wait_for(lambda: len(sandbox.slack.files) == 1, 60)
