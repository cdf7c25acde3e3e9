"""Blue-green on plain Kubernetes: shown, done, gone on with after a crash, undone, and refused where it cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.blue_green import Color, Colors
from bot.domain.errors import BotError
from bot.integrations.kubernetes.kubernetes import Kubernetes
from sandbox.kubernetes.resources.basic import SERVICE
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.server import Sandbox
from sandbox.world.services import NAMESPACE
from tests.harness.actor import Actor, in_cluster, parts

CORE, OLD, NEW = "tamv-core", "v2.4.0", "v2.5.0"


@dataclass
class World:
    sandbox: Sandbox
    actor: Actor
    kubernetes: Kubernetes

    async def do(self, verb: str, key: str, **given: Any) -> Any:
        """Rehearse and perform, as a run does."""
        await self.actor.rehearse(f"bluegreen.{verb}", key, service=CORE, **given)
        return await self.actor.perform(f"bluegreen.{verb}", key, service=CORE, **given)

    async def refused(self, verb: str, **given: Any) -> str:
        with pytest.raises(BotError) as refused:
            await self.actor.rehearse(f"bluegreen.{verb}", service=CORE, **given)
        return refused.value.key

    async def colors(self) -> Colors:
        return (await self.kubernetes.second_colors.read(CORE, NAMESPACE)).colors

    def versions(self) -> set[str]:
        """The versions of the pods that the Service sends traffic to."""
        world = self.sandbox.world
        return {pod.template.version for pod in world.pods(CORE) if pod.is_ready(world.at)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        made = parts(tmp_path, sandbox.clock, kubernetes=kubernetes)
        plain = made.team.services[CORE].model_copy(update={"chart": None})
        team = made.team.model_copy(update={"services": {**made.team.services, CORE: plain}})
        yield World(sandbox, Actor(replace(made, team=team)), kubernetes)


async def test_a_second_colour_is_started_switched_to_and_becomes_the_only_one(world: World) -> None:
    effects, shown = await world.actor.rehearse("bluegreen.start", service=CORE, tag=NEW)
    assert [effect.key for effect in effects] == ["kubernetes.create_second"]
    assert NEW in effects[0].diff and await world.colors() == Colors(OLD)
    done = await world.do("start", "R-1/start", tag=NEW)
    assert (done, done.after, world.versions()) == (shown, Colors(OLD, NEW), {OLD})
    checked = await world.actor.perform("bluegreen.check", service=CORE)
    assert {row["request"] for row in checked.rows} == {"ready", "health"}
    effects, _ = await world.actor.rehearse("bluegreen.switch", service=CORE)
    assert [effect.key for effect in effects] == ["kubernetes.switch_service"]
    await world.do("switch", "R-1/switch")
    assert (await world.colors(), world.versions()) == (Colors(OLD, NEW, Color.SECOND), {NEW})
    effects, _ = await world.actor.rehearse("bluegreen.finish", service=CORE)
    assert [effect.key for effect in effects] == [
        "kubernetes.set_tag", "kubernetes.switch_service", "kubernetes.delete_second",
    ]  # fmt: skip
    await world.do("finish", "R-1/finish")
    assert (await world.colors(), world.versions()) == (Colors(NEW), {NEW})


async def test_each_step_is_undone_and_what_serves_is_there_all_the_time(world: World) -> None:
    done = [await world.do(verb, f"R-1/{verb}", **given) for verb, given in STEPS]
    await world.actor.undo("bluegreen.finish", done[2])
    assert (await world.colors(), world.versions()) == (Colors(OLD, NEW, Color.SECOND), {NEW})
    await world.actor.undo("bluegreen.switch", done[1])
    assert (await world.colors(), world.versions()) == (Colors(OLD, NEW), {OLD})
    await world.actor.undo("bluegreen.start", done[0])
    await world.actor.undo("bluegreen.start", done[0])
    assert (await world.colors(), world.versions()) == (Colors(OLD), {OLD})


STEPS: list[tuple[str, dict[str, str]]] = [("start", {"tag": NEW}), ("switch", {}), ("finish", {})]


async def test_who_was_cut_off_goes_on_and_does_nothing_twice(world: World) -> None:
    await world.do("start", "R-1/start", tag=NEW)
    again = await world.actor.perform("bluegreen.start", "R-1/start", service=CORE, tag=NEW)
    assert again.after == await world.colors()
    await world.do("switch", "R-1/switch")
    await world.actor.rehearse("bluegreen.finish", "R-1/finish", service=CORE)
    pair = await world.kubernetes.second_colors.read(CORE, NAMESPACE)
    await world.kubernetes.second_colors.set_tag(CORE, NAMESPACE, NEW, pair)  # and then the bot was killed
    await world.actor.perform("bluegreen.finish", "R-1/finish", service=CORE)
    await world.actor.perform("bluegreen.finish", "R-1/finish", service=CORE)
    assert await world.colors() == Colors(NEW)


async def test_what_somebody_else_has_changed_is_left_alone(world: World) -> None:
    done = await world.do("start", "R-1/start", tag=NEW)
    await world.actor.rehearse("bluegreen.switch", "R-1/switch", service=CORE)
    pair = await world.kubernetes.second_colors.read(CORE, NAMESPACE)
    await world.kubernetes.second_colors.set_tag(CORE, NAMESPACE, "v9", pair)
    for verb, undo in (("switch", False), ("start", True)):
        with pytest.raises(BotError) as refused:
            if undo:
                await world.actor.undo(f"bluegreen.{verb}", done)
            else:
                await world.actor.perform(f"bluegreen.{verb}", f"R-1/{verb}", service=CORE)
        assert refused.value.key == "changed_since"


async def test_what_cannot_be_is_refused_before_anything_is_done(world: World) -> None:
    assert await world.refused("start", tag=OLD) == "color_live"
    assert await world.refused("switch") == "no_second_color"
    assert await world.refused("finish") == "no_second_color"
    assert await world.refused("check") == "no_second_color"
    await world.do("start", "R-1/start", tag=NEW)
    assert await world.refused("start", tag="v9") == "second_color_up"
    assert await world.refused("finish") == "second_color_not_live"
    await world.do("switch", "R-1/switch")
    assert await world.refused("switch") == "color_live"
    store, writer = world.sandbox.kubernetes.store, world.sandbox.kubernetes.cluster.writer
    writer.create(SERVICE, {"metadata": {"name": "also", "namespace": NAMESPACE}, "spec": {"selector": {"app": CORE}}})
    assert await world.refused("switch") == "not_one_service"
    assert store.get(DEPLOYMENT, NAMESPACE, f"{CORE}-green") is not None


async def test_a_second_colour_that_is_not_ready_gets_no_traffic(world: World) -> None:
    await world.do("start", "R-1/start", tag=NEW)
    await world.kubernetes.workloads.set_node_selector(f"{CORE}-green", NAMESPACE, {"node-type": "nowhere"})
    await world.kubernetes.workloads.scale(f"{CORE}-green", NAMESPACE, 6, 4)
    assert await world.refused("check") == await world.refused("switch") == "second_color_ill"
    assert world.versions() == {OLD}
