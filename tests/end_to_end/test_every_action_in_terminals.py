"""Each example of docs/actions.md that changes or waits for something, typed in a terminal and played to its end.

What only reads needs no story of its own: it is answered in a terminal before Slack is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.examples import IN_TERMINAL, OF_AN_INCIDENT
from tests.harness.play import Play, playing
from tests.harness.terminal import does_it_from_a_terminal


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    async with playing(tmp_path_factory.mktemp("terminal")) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [name for name in IN_TERMINAL if name not in OF_AN_INCIDENT])
async def test_every_example_that_changes_something_does_it_from_a_terminal(stage: Play, name: str) -> None:
    await does_it_from_a_terminal(stage, name)
