"""Each example of docs/actions.md that is of an incident, typed in a terminal and played to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.examples import OF_AN_INCIDENT, incident_channel
from tests.harness.play import Play, playing
from tests.harness.terminal import does_it_from_a_terminal


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    async with playing(tmp_path_factory.mktemp("incident")) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", OF_AN_INCIDENT)
async def test_every_example_of_an_incident_does_it_from_a_terminal(stage: Play, name: str) -> None:
    incident = await stage.record(await incident_channel(stage))
    await does_it_from_a_terminal(stage, name, "--incident", incident.id)
