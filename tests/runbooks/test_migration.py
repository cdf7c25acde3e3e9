"""A migration's five steps, each a gate that is refused and passed; the backfill in batches; and the way back."""

from __future__ import annotations

import asyncio

from bot.domain.run import Run, RunState, StepState
from sandbox.deadline import deadline
from sandbox.kubernetes.containers import Behaviour
from sandbox.kubernetes.resources.batch import JOB
from tests.harness.play import FAST, Play, story

ADD = ("ALTER TABLE users ADD COLUMN email_verified_v2 boolean DEFAULT NULL;",)
DROP = ("ALTER TABLE users DROP COLUMN email_verified;", "ALTER TABLE users DROP COLUMN verification_token;")
RENAME = ("ALTER TABLE users RENAME COLUMN email_verified_v2 TO email_verified;",)
DOWN = ("ALTER TABLE users DROP COLUMN email_verified_v2;", "DELETE FROM public.pgmigrations WHERE name='17';")


def plan(stage: Play, tag: str, *lines: str) -> None:
    stage.cluster.behaviours.set(f"*/tamv-core:{tag} *migrate:up*", Behaviour(start=1, run=3, log=lines))


async def test_a_migration_goes_through_its_gates_in_order(stage: Play) -> None:
    plan(stage, "v2.5.0", "### MIGRATION 17 (UP) ###", *ADD, "INSERT INTO public.pgmigrations VALUES (17);")
    early = await stage.play("database-migration migration=email step=backfill tag=v2.5.0", approvers=("bruno",))
    assert (early.state, early.step("gate").error) == (RunState.FAILED, "migration_step_missing"), story(early)
    done = await stage.play("database-migration migration=email step=add tag=v2.5.0", approvers=("bruno",))
    assert done.state is RunState.SUCCEEDED, story(done)
    where = [job["metadata"]["namespace"] for job in stage.cluster.store.all(JOB) if "migrate-" in str(job["metadata"])]
    assert where.count("tamv-staging") >= 2 and where.count("tamv-prod") == 1
    staging, production = done.step("staging-tests").ended_at, done.step("migrate").began_at
    assert staging and production and staging < production
    again = await stage.play("database-migration migration=email step=dual-write tag=v2.5.0", approvers=("bruno",))
    assert again.state is RunState.SUCCEEDED, story(again)
    assert stage.versions("tamv-core") == {"v2.5.0"}


async def test_a_destructive_change_mixed_with_others_reaches_no_database(stage: Play) -> None:
    plan(stage, "v2.5.0", *ADD, *DROP)
    done = await stage.play("database-migration migration=email step=add tag=v2.5.0", approvers=("bruno",))
    assert done.step("review").error == "migration_mixed", story(done)
    assert done.step("staging-migrate").state is StepState.PENDING


async def test_tests_that_fail_in_staging_keep_it_out_of_production(stage: Play) -> None:
    plan(stage, "v2.5.0", *ADD)
    failing = Behaviour(start=1, run=3, exit_code=1, log=("1 failing",))
    stage.cluster.behaviours.set("*/tamv-core:v2.5.0 *test:migration", failing)
    done = await stage.play("database-migration migration=email step=add tag=v2.5.0", approvers=("bruno",))
    assert done.step("staging-tests").error == "job_failed", story(done)
    assert done.step("migrate").state is StepState.PENDING
    assert started_jobs(stage, "tamv-prod") == []


async def test_a_run_that_is_cancelled_takes_its_job_with_it(stage: Play) -> None:
    stage.cluster.behaviours.set("*/tamv-core:v2.5.0 *", Behaviour(start=1, run=10_000_000))
    run = await stage.start("database-migration migration=email step=add tag=v2.5.0")
    await stage.reached(run, "plan", StepState.PERFORMING)
    async with deadline(20):
        while not stage.cluster.store.all(JOB, "tamv-staging"):  # noqa: ASYNC110 - the cluster is another program
            await asyncio.sleep(0.02)
    await stage.answer(f"/runbook cancel {run.id}")
    done = await stage.ended(run)
    assert done.state is RunState.CANCELLED, story(done)
    assert started_jobs(stage, "tamv-staging") == []


async def test_a_single_job_that_is_cancelled_is_deleted_though_nothing_is_undone(stage: Play) -> None:
    stage.cluster.behaviours.set("*", Behaviour(start=1, run=10_000_000))
    run = await stage.start_ops("kubernetes.run_job manifest=jobs/migrate.yaml environment=staging")
    async with deadline(20):
        while not started_jobs(stage, "tamv-staging"):  # noqa: ASYNC110 - the cluster is another program
            await asyncio.sleep(0.02)
    await stage.answer(f"/runbook cancel {run.id}")
    done = await stage.ended(run)
    assert done.state is RunState.CANCELLED, story(done)
    assert started_jobs(stage, "tamv-staging") == []


def started_jobs(stage: Play, namespace: str) -> list[str]:
    """The jobs that a run has started; those of the cluster's CronJobs come by the time of day."""
    names = [job["metadata"]["name"] for job in stage.cluster.store.all(JOB, namespace)]
    return [name for name in names if not name.startswith("db-maintenance-")]


async def migrate(stage: Play, step: str, tag: str) -> Run:
    return await stage.play(f"database-migration migration=email step={step} tag={tag}", approvers=("bruno",))


async def refused(stage: Play, step: str, tag: str) -> str | None:
    """With what the gate refuses a step; nothing else of it has begun."""
    done = await migrate(stage, step, tag)
    assert {one.state for one in done.steps[1:]} == {StepState.PENDING}, story(done)
    return done.step("gate").error


STEPS = (
    ("add", "v2.5.0"),
    ("dual-write", "v2.6.0"),
    ("backfill", "v2.6.0"),
    ("switch-reads", "v2.7.0"),
    ("drop", "v2.8.0"),
)


async def test_the_five_steps_to_their_end_each_gate_refused_before_and_passed_in_its_turn(stage: Play) -> None:
    plan(stage, "v2.5.0", *ADD)
    plan(stage, "v2.8.0", *DROP, *RENAME)
    assert await refused(stage, "down", "v2.5.0") == "migration_nothing_to_undo"
    for number, (step, tag) in enumerate(STEPS):
        for later, _ in STEPS[number + 1 :][:1]:
            assert await refused(stage, later, "v9.0.0") == "migration_step_missing", (step, later)
        if step == "drop":
            assert await refused(stage, step, "v2.7.0") == "migration_same_release"
        done = await migrate(stage, step, tag)
        assert done.state is RunState.SUCCEEDED, (step, story(done))
        if number:
            assert await refused(stage, "down", tag) == "migration_down_late"
    assert stage.versions("tamv-core") == {"v2.7.0"}, "the code of the last step that deployed"


async def test_a_backfill_goes_on_batch_by_batch_until_all_rows_are_done(stage: Play) -> None:
    stage.sandbox.clock.speed = 20.0  # slow enough for each batch to be seen on a busy machine
    run = await stage.start_ops("kubernetes.run_batches jobs/backfill.yaml tag=v2.6.0 load=database_load")
    await stage.shown(run, "250000 de 1000000 filas")
    stage.sandbox.clock.speed = FAST
    done = await stage.ended(run)
    result = done.step("it").result
    assert done.state is RunState.SUCCEEDED and result, story(done)
    assert (result["jobs"], result["done"], result["total"]) == (4, 1_000_000, 1_000_000)
    assert "1000000 de 1000000 filas en 4 jobs" in await stage.shown(run, "1000000 de 1000000 filas en 4 jobs")


async def test_a_backfill_waits_while_the_database_is_loaded_and_goes_on_afterwards(stage: Play) -> None:
    stage.world.set_load(3, "tamv-core")  # 90 % of the database's processors
    run = await stage.start_ops("kubernetes.run_batches jobs/backfill.yaml tag=v2.6.0 load=database_load")
    await stage.shown(run, "espera: Carga de la base de datos")
    assert started_jobs(stage, "tamv-prod") == []
    stage.world.set_load(1, "tamv-core")
    done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED and (done.step("it").result or {})["paused"] > 0, story(done)


async def test_a_load_that_is_no_query_is_refused_before_anything_is_done(stage: Play) -> None:
    done = await stage.ops("kubernetes.run_batches jobs/backfill.yaml tag=v2.6.0 load=databse_load")
    assert (done.step("it").error, done.step("it").facts["nearest"]) == ("unknown_query", "database_load")
    assert started_jobs(stage, "tamv-prod") == []


async def test_a_backfill_that_does_nothing_any_more_is_said(stage: Play) -> None:
    stage.cluster.behaviours.set("* npm run *migrate:backfill", Behaviour(start=1, run=5, log=("progress 10/900",)))
    done = await stage.ops("kubernetes.run_batches jobs/backfill.yaml tag=v2.6.0")
    assert (done.state, done.step("it").error) == (RunState.UNDONE, "batches_stuck"), story(done)


async def test_a_backfill_that_is_stopped_takes_its_jobs_with_it(stage: Play) -> None:
    stage.cluster.behaviours.set("* npm run *migrate:backfill", Behaviour(start=1, run=10_000_000))
    run = await stage.start_ops("kubernetes.run_batches jobs/backfill.yaml tag=v2.6.0")
    async with deadline(20):
        while not started_jobs(stage, "tamv-prod"):  # noqa: ASYNC110 - the cluster is another program
            await asyncio.sleep(0.02)
    await stage.answer(f"/runbook cancel {run.id}")
    done = await stage.ended(run)
    assert done.state is RunState.CANCELLED, story(done)
    assert started_jobs(stage, "tamv-prod") == []


async def test_what_was_added_is_taken_back_while_nothing_uses_it(stage: Play) -> None:
    plan(stage, "v2.5.0", *ADD)
    down = "### MIGRATION 17 (DOWN) ###"
    stage.cluster.behaviours.set("*/tamv-core:v2.5.0 *migrate:down*", Behaviour(start=1, run=3, log=(down, *DOWN)))
    assert (await migrate(stage, "add", "v2.5.0")).state is RunState.SUCCEEDED
    done = await migrate(stage, "down", "v2.5.0")
    assert done.state is RunState.SUCCEEDED, story(done)
    assert (done.step("review").result or {})["destroys"] == 1, "the tool's own bookkeeping does not count"
    assert any("migrate-down" in name for name in started_jobs(stage, "tamv-prod"))
    assert await refused(stage, "dual-write", "v2.6.0") == "migration_step_missing", "there is nothing to write to"
