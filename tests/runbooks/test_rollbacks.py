"""Staging, the ways back, and the runbooks that only look: each to its end, and each with what stops it."""

from __future__ import annotations

from datetime import timedelta

from bot.domain.run import RunState, StepState
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.world.deployments import Fault, Version
from tests.harness.play import Play, story

CORE, OLD, BEFORE, NEW = "tamv-core", "v2.4.0", "v2.3.1", "v2.5.0"
STAGING = f"/{CORE}.staging.tamv.world/*"


def in_staging(stage: Play) -> str:
    """The tag that staging is to run."""
    deployment = stage.cluster.store.get(DEPLOYMENT, "tamv-staging", CORE)
    assert deployment
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]


def ill(stage: Play, where: str) -> None:
    """This health endpoint answers 503."""
    stage.sandbox.faults.add("health", "status", where, times=None, status=503)


async def test_staging_gets_a_version_without_an_approval(stage: Play) -> None:
    run = await stage.play(f"deploy-staging service={CORE} tag={NEW}", approvers=())
    assert (run.state, run.environment) == (RunState.SUCCEEDED, "staging"), story(run)
    assert (in_staging(stage), stage.versions(CORE)) == (NEW, {OLD})


async def test_what_does_not_answer_in_staging_is_taken_back(stage: Play) -> None:
    ill(stage, STAGING)
    run = await stage.play(f"deploy-staging service={CORE} tag={NEW}", approvers=())
    assert (run.state, run.step("smoke").error) == (RunState.UNDONE, "unhealthy"), story(run)
    assert in_staging(stage) == OLD


async def test_a_runbook_for_staging_runs_nowhere_else(stage: Play) -> None:
    answer = await stage.answer(f"/runbook run deploy-staging service={CORE} tag={NEW} environment=production")
    assert "staging" in answer and await stage.bot.deps.store.runs.list_running() == []


async def test_nobody_gets_round_the_rules_of_production_by_a_run_in_staging(stage: Play) -> None:
    asked = f"/ops helm.rollback {CORE} namespace=tamv-prod environment=staging"
    await stage.person("ana").run(asked)
    store = stage.bot.deps.store.runs
    (run,) = await stage.until(store.list_running)
    await stage.reached(run, "it", StepState.WAITING)
    assert stage.versions(CORE) == {OLD}


async def test_a_fast_rollback_takes_less_than_five_minutes(stage: Play) -> None:
    with stage.slowly(10):
        run = await stage.play(f"rollback-fast service={CORE}")
    assert run.state is RunState.SUCCEEDED, story(run)
    assert stage.versions(CORE) == {BEFORE} and run.step("roll-back").verified is True
    assert run.ended_at and run.ended_at - run.started_at < timedelta(minutes=5)


async def test_a_fast_rollback_that_does_not_help_says_so_and_stays(stage: Play) -> None:
    ill(stage, f"/{CORE}.tamv.world/*")
    run = await stage.play(f"rollback-fast service={CORE}")
    assert (run.state, run.step("health").error) == (RunState.FAILED, "unhealthy"), story(run)
    assert stage.versions(CORE) == {BEFORE}


async def test_a_validated_rollback_tries_the_very_version_in_staging_first(stage: Play) -> None:
    run = await stage.play(f"rollback-validated service={CORE}")
    assert run.state is RunState.SUCCEEDED, story(run)
    assert (in_staging(stage), stage.versions(CORE)) == (BEFORE, {BEFORE})
    watched = run.step("watch").result
    assert watched and watched["seconds"] >= 30 * 60


async def test_what_fails_in_staging_never_reaches_production(stage: Play) -> None:
    ill(stage, STAGING)
    run = await stage.play(f"rollback-validated service={CORE}")
    assert (run.state, run.step("smoke").error) == (RunState.FAILED, "unhealthy"), story(run)
    assert stage.versions(CORE) == {OLD} and run.step("roll-back").state is StepState.PENDING


async def test_errors_that_a_restart_ends_need_no_rollback(stage: Play) -> None:
    run = await stage.play(f"error-rate service={CORE}")
    assert run.state is RunState.SUCCEEDED, story(run)
    assert run.step("restart").verified is True and run.step("roll-back").state is StepState.SKIPPED


async def test_errors_that_a_restart_does_not_end_need_one(stage: Play) -> None:
    stage.world.images[f"{CORE}:{OLD}"] = Version(errors=0.3)
    run = await stage.play(f"error-rate service={CORE}")
    assert run.state is RunState.SUCCEEDED, story(run)
    assert (run.step("restart").verified, run.step("roll-back").verified) == (False, True)
    assert stage.versions(CORE) == {BEFORE}


async def test_errors_of_a_fresh_deployment_are_not_restarted(stage: Play) -> None:
    helm = stage.bot.deps.helm
    assert helm
    with stage.slowly():
        chart = str(stage.bot.deps.team.services[CORE].chart)
        stage.sandbox.clock.speed = 60
        await helm.upgrade(CORE, "tamv-prod", chart, {"image.tag": NEW}, "somebody")
        run = await stage.start(f"error-rate service={CORE}")
        await stage.reached(run, "restart", StepState.SKIPPED)
    async with stage.approving(run, "bruno"):
        run = await stage.ended(run)
    assert (run.state, stage.versions(CORE)) == (RunState.SUCCEEDED, {OLD}), story(run)


async def test_scaled_for_a_peak_and_watched(stage: Play) -> None:
    run = await stage.play(f"scale-for-load service={CORE} replicas=8", approvers=())
    assert run.state is RunState.SUCCEEDED, story(run)
    assert stage.world.deployments[CORE].replicas == 8


async def test_without_a_number_it_is_scaled_to_twice_as_many(stage: Play) -> None:
    run = await stage.play(f"scale-for-load service={CORE}", approvers=())
    assert run.state is RunState.SUCCEEDED, story(run)
    assert stage.world.deployments[CORE].replicas == 8


async def test_more_replicas_that_are_not_enough_stay(stage: Play) -> None:
    stage.world.inject(CORE, "network", Fault(errors=0.2))
    run = await stage.play(f"scale-for-load service={CORE} replicas=8", approvers=())
    assert (run.state, run.step("watch").error) == (RunState.FAILED, "figures_broke"), story(run)
    assert (run.step("scale").verified, stage.world.deployments[CORE].replicas) == (False, 8)


async def test_anybody_may_look_whether_all_is_well(stage: Play) -> None:
    run = await stage.ended(await stage.start("health-check-all", who="emma"))
    assert run.state is RunState.SUCCEEDED, story(run)
    answers = run.step("answers").result
    assert answers and {row["service"] for row in answers["rows"]} == set(stage.bot.deps.team.services)


async def test_what_is_not_well_is_named(stage: Play) -> None:
    ill(stage, f"/{CORE}.tamv.world/*")
    run = await stage.ended(await stage.start("health-check-all", who="emma"))
    assert (run.state, run.step("well").error) == (RunState.FAILED, "condition_failed"), story(run)
    assert run.step("well").facts["why"] == f"✗ {CORE}"


async def test_a_smoke_test_goes_where_it_is_told_to(stage: Play) -> None:
    ill(stage, STAGING)
    there = await stage.ended(await stage.start(f"smoke-test service={CORE} environment=staging", who="emma"))
    assert (there.state, there.step("health").error) == (RunState.FAILED, "unhealthy"), story(there)
    here = await stage.ended(await stage.start(f"smoke-test service={CORE}", who="emma"))
    assert here.state is RunState.SUCCEEDED, story(here)
