"""A lamp, and a bot in a sandbox that may change it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from demo.environment import DemoEnvironment, demo_environment
from sandbox.server import Sandbox
from tests.harness.lamp import Lamp, registered
from tests.harness.measured import JumpingClock


@pytest.fixture
def lamp() -> Iterator[Lamp]:
    yield from registered()


@pytest.fixture
async def stage(tmp_path: Path, lamp: Lamp) -> AsyncIterator[DemoEnvironment]:
    sandbox = Sandbox(clock=JumpingClock())
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", prometheus_url=None) as made:
        yield made
