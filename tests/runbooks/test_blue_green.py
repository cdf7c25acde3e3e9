"""Blue-green by the chart, played to its end with real helm: switched, watched, and taken back at once."""

from __future__ import annotations

from bot.domain.run import RunState, StepState
from sandbox.kubernetes.resources.basic import SERVICE
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.world.deployments import Version
from tests.harness.play import Play, story

CORE, OLD, NEW = "tamv-core", "v2.4.0", "v2.5.0"
DEPLOY = f"deploy-blue-green service={CORE} tag={NEW}"


def selector(stage: Play) -> dict[str, str]:
    service = stage.cluster.store.get(SERVICE, "tamv-prod", CORE)
    assert service
    return dict(service["spec"]["selector"])


def second(stage: Play) -> object:
    return stage.cluster.store.get(DEPLOYMENT, "tamv-prod", f"{CORE}-green")


async def test_the_new_version_gets_all_of_the_traffic_at_once_and_only_it_is_left(stage: Play) -> None:
    run = await stage.start(DEPLOY)
    async with stage.approving(run, "bruno"):
        started = await stage.reached(run, "start", StepState.DONE)
        assert stage.versions(CORE) == {OLD}, story(started)
        switched = await stage.reached(run, "switch", StepState.DONE)
        assert stage.versions(CORE) == {NEW}, story(switched)
        run = await stage.ended(run)
    assert run.state is RunState.SUCCEEDED, story(run)
    assert stage.versions(CORE) == {NEW}
    assert (selector(stage), second(stage)) == ({"app": CORE}, None)
    back = await stage.ops(f"rollback {CORE}")
    assert (back.state, stage.versions(CORE)) == (RunState.SUCCEEDED, {OLD}), "to what was there before both"


async def test_a_version_that_fails_under_traffic_goes_back_at_once(stage: Play) -> None:
    stage.world.images[f"{CORE}:{NEW}"] = Version(errors=0.08)
    run = await stage.play(DEPLOY)
    assert (run.state, run.step("watch").error) == (RunState.UNDONE, "figures_broke"), story(run)
    assert [run.step(id).state for id in ("start", "switch")] == [StepState.UNDONE] * 2
    assert stage.versions(CORE) == {OLD}
    assert (selector(stage), second(stage)) == ({"app": CORE}, None)


async def test_a_colour_that_is_live_already_is_refused_before_anything_is_done(stage: Play) -> None:
    run = await stage.ended(await stage.start(f"deploy-blue-green service={CORE} tag={OLD}"))
    assert (run.state, run.step("start").error) == (RunState.FAILED, "color_live"), story(run)
    assert second(stage) is None
    assert OLD in await stage.shown(run, "ya sirve")
    switched = await stage.ops(f"bluegreen.switch {CORE}")
    assert switched.step("it").error == "no_second_color", story(switched)
