"""Each example of docs/actions.md, typed by Ana in Slack, approved by others, and played to its end on the sandbox.

One bot and one sandbox, in the order of a story: what one example leaves behind the next one needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.actions.catalogue import ACTIONS
from bot.domain.policy import Risk
from tests.harness.examples import ORDER, SHOWN, came_about, played, prepared
from tests.harness.play import Play, playing
from tests.harness.terminal import typed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    async with playing(tmp_path_factory.mktemp("every")) as made:
        yield made


def test_no_action_is_left_out() -> None:
    assert sorted(ORDER) == [action.name for action in ACTIONS.all()]


def test_what_every_change_shows_in_the_world_is_looked_at() -> None:
    assert sorted(SHOWN) == [action.name for action in ACTIONS.all() if action.risk is not Risk.READ]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ORDER)
async def test_every_example_does_what_it_says_and_says_what_it_did(stage: Play, name: str) -> None:
    action = ACTIONS.get(name)
    line = await prepared(stage, action)
    if action.risk is Risk.READ and not action.waits_for:
        ran = await typed(stage, line)
        assert (ran.code, ran.err) == (0, ""), (line, ran)
        assert ran.out.rstrip().endswith("succeeded") and f"✅ {name} — " in ran.out, ran.out
    run = await played(stage, line, in_incident=name.startswith("pagerduty."))
    await came_about(stage, line, run)
