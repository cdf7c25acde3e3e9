"""The runbooks of delivery, played to their ends: what goes well, and what goes wrong on the way."""

from __future__ import annotations

from bot.domain.run import RunState, StepState
from sandbox.world.deployments import Version
from tests.harness.play import Play, story

CORE, OLD, NEW = "tamv-core", "v2.4.0", "v2.5.0"
DEPLOY = f"deploy-production service={CORE} tag={NEW}"


def replicas(stage: Play, service: str = CORE) -> int:
    return stage.world.deployments[service].replicas


async def statuses(stage: Play) -> list[str]:
    """Those of the release's revisions since the four of the seed."""
    helm = stage.bot.deps.helm
    assert helm
    return [one.status for one in await helm.history(CORE, "tamv-prod")][4:]


async def test_a_good_version_gets_all_of_the_traffic_step_by_step(stage: Play) -> None:
    run = await stage.play(DEPLOY)
    assert run.state is RunState.SUCCEEDED, story(run)
    assert stage.versions(CORE) == {NEW}
    watched = run.step("watch-10").result
    assert watched and watched["seconds"] >= 15 * 60
    assert [(one["query"], one["verdict"]) for one in watched["beside"]] == [
        ("latency_p95", "alike"), ("error_rate", "alike"),
    ]  # fmt: skip
    assert "el canary, como los demás" in await stage.shown(run, "como los demás")
    assert await statuses(stage) == ["superseded", "superseded", "deployed"]


async def test_when_a_figure_breaks_in_the_canary_it_goes_back_by_itself(stage: Play) -> None:
    stage.world.images[f"{CORE}:{NEW}"] = Version(errors=0.5)
    run = await stage.play(DEPLOY)
    assert (run.state, run.step("watch-10").error) == (RunState.UNDONE, "figures_broke"), story(run)
    assert stage.versions(CORE) == {OLD}
    assert run.step("canary").state is StepState.UNDONE and run.step("half").state is StepState.PENDING


async def test_what_ten_per_cent_can_show_is_found_at_ten_per_cent(stage: Play) -> None:
    stage.world.images[f"{CORE}:{NEW}"] = Version(errors=0.07)  # 1.4 % of all: within the service's limit
    run = await stage.play(DEPLOY)
    assert (run.state, run.step("watch-10").error) == (RunState.UNDONE, "canary_worse"), story(run)
    assert run.step("half").state is StepState.PENDING and stage.versions(CORE) == {OLD}
    said = await stage.shown(run, "van peor que los demás")
    assert "error_rate 7" in said


async def test_a_canary_that_nobody_calls_is_not_promoted(stage: Play) -> None:
    stage.world.set_load(0.002, CORE)
    with stage.slowly(300):  # its end must come before the step's own
        run = await stage.play(DEPLOY)
    assert (run.state, run.step("watch-10").error) == (RunState.UNDONE, "canary_too_quiet"), story(run)
    assert stage.versions(CORE) == {OLD}
    assert "No hay tráfico suficiente" in await stage.shown(run, "hacen falta")


async def test_a_dry_run_waits_for_nothing_and_says_what_it_cannot_foresee(stage: Play) -> None:
    with stage.slowly():
        run = await stage.ended(await stage.start(f"{DEPLOY} --dry-run"))
    assert (run.state, run.step("watch-10").state) == (RunState.SUCCEEDED, StepState.DONE), story(run)
    shown = await stage.shown(run, "✅ *Las cifras aguantan con todo*")
    assert "🔎 *El 10 % para la versión nueva*" in shown
    assert "❔ *El 50 %* — no se puede prever" in shown
    assert stage.versions(CORE) == {OLD}


async def test_in_production_a_canary_is_promoted_only_when_it_was_watched(stage: Play) -> None:
    await stage.ops(f"canary {CORE} {NEW}")
    refused = await stage.ops(f"promote {CORE} weight=50")
    assert (refused.state, refused.step("it").error) == (RunState.FAILED, "canary_not_watched"), story(refused)
    watched = await stage.ops(f"prometheus.watch service={CORE} board=service duration=15m")
    assert watched.state is RunState.SUCCEEDED, story(watched)
    promoted = await stage.ops(f"promote {CORE} weight=50")
    assert promoted.state is RunState.SUCCEEDED, story(promoted)


async def test_what_only_half_of_the_traffic_shows_is_taken_back_in_stages(stage: Play) -> None:
    stage.world.images[f"{CORE}:{NEW}"] = Version()
    run = await stage.start(DEPLOY)
    async with stage.approving(run, "bruno"):
        await stage.reached(run, "half", StepState.DONE)
        stage.world.images[f"{CORE}:{NEW}"] = Version(errors=0.5)
        run = await stage.ended(run)
    assert (run.state, run.step("watch-50").error) == (RunState.UNDONE, "figures_broke"), story(run)
    assert stage.versions(CORE) == {OLD} and replicas(stage) == 4
    assert [run.step(id).state for id in ("canary", "half")] == [StepState.UNDONE] * 2


async def test_a_service_that_does_not_answer_in_the_end_is_taken_back(stage: Play) -> None:
    stage.sandbox.faults.add("health", "status", f"/{CORE}.tamv.world/*", times=None, status=503)
    run = await stage.play(DEPLOY)
    assert (run.state, run.step("health").error) == (RunState.UNDONE, "unhealthy"), story(run)
    assert stage.versions(CORE) == {OLD}


async def test_nothing_is_deployed_when_nobody_approves(stage: Play) -> None:
    run = await stage.ended(await stage.start(DEPLOY))
    assert (run.state, run.step("canary").error) == (RunState.FAILED, "expired"), story(run)
    assert stage.versions(CORE) == {OLD} and await statuses(stage) == []


async def test_a_version_is_needed(stage: Play) -> None:
    answer = await stage.answer(f"/runbook run deploy-production service={CORE}")
    assert "tag" in answer
    assert await stage.bot.deps.store.runs.list_running() == []
