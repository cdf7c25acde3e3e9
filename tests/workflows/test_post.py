"""A message that may or may not have arrived is looked for where it belongs before it is sent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.errors import Unavailable
from bot.messages.message import Message
from bot.slack_messages import Place, upsert_message
from demo.environment import demo_environment
from sandbox.server import Sandbox


@pytest.mark.parametrize("threaded", [False, True], ids=["channel", "thread"])
async def test_an_answer_that_got_lost_makes_no_second_message(threaded: bool, tmp_path: Path) -> None:
    async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/bot.db", prometheus_url=None) as stage:
        deps, faults = stage.bot.deps, stage.sandbox.faults
        root = await upsert_message(deps, "root", Place("#tamv-incidents"), Message.of("the run"))
        place = Place(root["channel"], root["ts"] if threaded else None)
        faults.add("slack", "drop_after", "*chat.postMessage")
        with pytest.raises(Unavailable):
            await upsert_message(deps, "found", place, Message.of("what it found"))
        again = await upsert_message(deps, "found", place, Message.of("what it found"))
        messages = stage.sandbox.slack.channel("tamv-incidents").messages.values()
        assert [one.ts for one in messages if one.text == "what it found"] == [again["ts"]]
