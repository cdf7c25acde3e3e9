"""A bot in a sandbox for each test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.scene import Scene, scene


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    """Without Prometheus: quick, and enough for all that is not about figures."""
    async with scene(tmp_path) as made:
        yield made
