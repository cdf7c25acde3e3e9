"""An alert proposes its runbook; the button shows or begins it, for somebody who may."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bot.domain.run import RunState
from demo.environment import demo_environment
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.world.scenario import load_scenario


async def test_from_the_alert_to_the_rehearsal(tmp_path: Path) -> None:
    sandbox = Sandbox(clock=Clock(speed=120))
    async with demo_environment(sandbox, f"sqlite:///{tmp_path}/bot.db", cluster=tmp_path) as stage:
        slack, runs = sandbox.slack, stage.bot.deps.store.runs
        sandbox.world.play(load_scenario("render-latency"))

        def offered() -> tuple[Any, Any] | None:
            for channel in slack.channels.values():
                for message in channel.messages.values():
                    if any(element["action_id"] == "rehearse_proposed" for _, element in message.elements()):
                        return channel, message
            return None

        channel, message = await slack.wait_for(offered, 30)
        sandbox.clock.speed = 1
        assert "render-latency" in message.all_text()

        def looked() -> Any:
            return next((one for one in channel.messages.values() if "🩺" in one.all_text()), None)

        seen = await slack.wait_for(looked, 30)
        assert seen.thread_ts == channel.pins[0] and seen.ts != seen.thread_ts  # in the card's thread
        read = ("Quién gasta más CPU", "xr-engine-", "Quién gasta más memoria", "Logs de la última hora", "líneas de")
        assert all(sign in seen.all_text() for sign in read)
        assert not await runs.list_by_incident("INC-2026-0001")  # nobody has run anything
        await Person(slack, "emma").join(channel.name)
        await Person(slack, "emma").press(message, "run_proposed", value="INC-2026-0001|render-latency")
        refused = await slack.wait_for(
            lambda: next((one for one in channel.visible_to(Person(slack, "emma").id) if one.ephemeral_to), None), 10
        )
        assert "responders" in refused.all_text()  # in her language, and it says who can
        await Person(slack, "emma").press(message, "rehearse_proposed", value="INC-2026-0001|render-latency")

        async def ended() -> Any:
            found = await runs.list_by_incident("INC-2026-0001")
            return found[0] if found and found[0].state.ended else None

        async with deadline(30):
            while not (run := await ended()):  # noqa: ASYNC110 - the engine ends it
                await asyncio.sleep(0.05)
        assert (run.state, run.dry_run) == (RunState.SUCCEEDED, True)
        scale = run.step("scale")
        assert scale.effects[0].facts["replicas"] == 10 and scale.result is None
        assert await stage.bot.deps.kubernetes.workloads.replicas("xr-engine", "tamv-prod") != 10  # type: ignore[union-attr]
