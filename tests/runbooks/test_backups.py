"""Backups as RDS and S3 have them against the team's file, and a restore that is proven, well and badly."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bot.domain.backup import Aspect, Check
from bot.domain.run import Run, RunState, StepState
from bot.messages.calendar import digest
from bot.messages.message import Message
from bot.messages.translations import load_translations
from bot.store.calendar import BEGAN
from bot.store.tables import calendar
from bot.workflows.calendar import FIRST_DAY, backups, check_calendar, week_before
from sandbox.aws.backend import PRODUCTION, STAGING
from sandbox.deadline import deadline
from sandbox.kubernetes.containers import Behaviour
from sandbox.slack.state import Message as Seen
from tests.harness.play import Play, story
from tests.harness.scene import TEAM, words

RTO = timedelta(minutes=15)


async def checks(stage: Play) -> dict[tuple[str, Aspect], Check]:
    return {(one.of, one.aspect): one for one in await backups(stage.bot.deps)}


async def wrong(stage: Play) -> set[tuple[str, str, str]]:
    found = (await checks(stage)).values()
    return {(one.of, one.aspect.value, str(one.facts["problem"])) for one in found if one.holds is False}


async def look(stage: Play) -> None:
    """Look at the calendar as on its second day, whatever the time of day; the bot looks by itself from then on."""
    deps = stage.bot.deps
    now = deps.clock.now()
    async with deps.store.database.write() as connection:
        earlier = calendar.update().where(calendar.c.key == BEGAN).values(at=now - 2 * FIRST_DAY)
        if not (await connection.execute(earlier)).rowcount:
            await connection.execute(calendar.insert().values(key=BEGAN, at=now - 2 * FIRST_DAY))
    schedules = deps.team.schedules.model_copy(update={"at": deps.team.schedules.at.replace(hour=0, minute=0)})
    deps.use_team(deps.team.model_copy(update={"schedules": schedules}))
    await check_calendar(deps)


def told(stage: Play, sign: str) -> list[Seen]:
    """What the calendar has told of production's database with these words."""
    found = stage.slack.channel(TEAM).messages.values()
    return [one for one in found if sign in words(one) and f"`{PRODUCTION}`" in words(one) and "💾" in words(one)]


def shown(message: Message) -> str:
    return str([block.to_dict() for block in message.blocks])


def temporary(stage: Play) -> list[Any]:
    return [one for name, one in stage.sandbox.aws.rds.databases.items() if name not in (PRODUCTION, STAGING)]


async def gone(stage: Play) -> None:
    """Wait until RDS has no temporary instance any more."""
    async with deadline(30):
        while temporary(stage):
            stage.sandbox.aws.settle()
            await asyncio.sleep(0.02)


async def damaged(stage: Play) -> Run:
    log = ("ERROR index users_pkey damaged",)
    stage.cluster.behaviours.set("*/db-maintenance:*", Behaviour(start=2, run=5, exit_code=1, log=log))
    return await stage.play("prove-backup")


async def test_what_rds_and_s3_say_is_compared_with_the_teams_file(stage: Play) -> None:
    aws = stage.sandbox.aws
    expected = {("database", "kept", "old"), (PRODUCTION, "proof", "never")}
    assert await wrong(stage) == expected, "the sandbox keeps dumps for 45 days, and nobody has proven a restore"
    database = aws.rds.databases[PRODUCTION]
    database.backup_retention_period, database.preferred_backup_window = 7, "13:14-13:44"
    aws.maintenance, database.multi_az = "wed:06:38-wed:07:08", False
    aws.put_backup("empty.dump", 0, stage.sandbox.clock.now())
    assert await wrong(stage) - expected == {
        (PRODUCTION, "retention", "differs"),
        (PRODUCTION, "window", "differs"),
        (PRODUCTION, "maintenance", "differs"),
        (PRODUCTION, "multi_az", "none"),
        ("database", "dump", "empty"),
    }
    looked = await stage.ops("backups", approvers=())
    assert looked.state is RunState.SUCCEEDED and looked.steps[0].result
    assert looked.steps[0].result["wrong"] == len(await wrong(stage))
    text = words(await stage.told(TEAM, "guarda 7 días de copias (pedidos: 30)"))
    for sign in ("sin réplica en otra zona", "está vacío: no es una copia", "nunca se ha probado una restauración"):
        assert sign in text, text


async def test_a_daily_backup_that_is_missed_is_told_once_with_the_runbooks_button(stage: Play) -> None:
    aws = stage.sandbox.aws
    aws.backs_up = None
    for name, snapshot in list(aws.rds.database_snapshots.items()):
        snapshot.created -= timedelta(days=3)
        assert name.startswith("rds:")
    await look(stage)
    sign = "falta la copia diaria de las 03:00-04:00 UTC"

    def offered() -> list[Seen]:
        """The messages with the button; on a Monday the week's digest has the line, too."""
        return [one for one in told(stage, sign) if any(e["action_id"] == "run_due" for _, e in one.elements())]

    message = await stage.see(lambda: next(iter(offered()), None))
    assert any("backup-database" in element["value"] for _, element in message.elements())
    await check_calendar(stage.bot.deps)
    await stage.quiet()
    assert len(offered()) == 1


async def test_what_aws_does_not_answer_is_not_known_and_told_to_nobody(stage: Play) -> None:
    stage.sandbox.faults.add("aws", "status", times=None, status=503)
    found = await checks(stage)
    assert {one.of for one in found.values() if one.holds is None} == {PRODUCTION, STAGING, "database"}
    assert await wrong(stage) == {(PRODUCTION, "proof", "never")}
    week = await week_before(stage.bot.deps, stage.bot.deps.clock.now())
    assert "❔ no sé cómo está: AWS no contestó" in shown(digest(week, stage.bot.deps.words))


async def test_a_restore_is_proven_timed_and_its_instance_deleted(stage: Play) -> None:
    stage.sandbox.aws.restore_takes = timedelta(minutes=2)
    with stage.slowly(60):  # a busy machine has 13 seconds of its own until the RTO is over
        done = await stage.play("prove-backup", approvers=())
    assert done.state is RunState.SUCCEEDED, story(done)
    restored, proof = done.step("restore").result, done.step("proof").result
    assert restored and proof and restored["snapshot"].startswith(f"rds:{PRODUCTION}-")
    assert proof["in_time"] is True and timedelta(minutes=2) <= timedelta(seconds=proof["seconds"]) < RTO
    assert temporary(stage) == [], "the run waits until it is gone"
    check = (await checks(stage))[PRODUCTION, Aspect.PROOF]
    assert check.holds is True and check.facts["took"] == proof["seconds"]
    week = await week_before(stage.bot.deps, stage.bot.deps.clock.now())
    assert "✅ restauración probada el" in shown(digest(week, stage.bot.deps.words))
    home = await stage.person("ana").open_home()
    assert "✅ restauración probada el" in str(home.body)


async def test_a_damaged_backup_is_said_its_instance_goes_and_nothing_is_proven(stage: Play) -> None:
    done = await damaged(stage)
    assert (done.state, done.step("integrity").error) == (RunState.UNDONE, "job_failed"), story(done)
    assert done.step("proof").state is StepState.PENDING
    assert all(one.status == "deleting" for one in temporary(stage))
    await gone(stage)
    check = (await checks(stage))[PRODUCTION, Aspect.PROOF]
    assert (check.holds, check.facts["problem"], check.facts["failed_step"]) == (False, "failed", "integrity")
    await look(stage)
    message = await stage.see(lambda: next(iter(told(stage, "No cuenta como probada")), None))
    assert any(e["action_id"] == "run_due" and "prove-backup" in e["value"] for _, e in message.elements())
    await check_calendar(stage.bot.deps)
    await stage.quiet()
    assert len(told(stage, "No cuenta como probada")) == 1


async def test_a_restore_that_takes_longer_than_the_rto_is_proven_and_too_slow(stage: Play) -> None:
    stage.sandbox.aws.restore_takes = timedelta(minutes=22)
    done = await stage.play("prove-backup", approvers=())
    assert done.state is RunState.SUCCEEDED, story(done)
    check = (await checks(stage))[PRODUCTION, Aspect.PROOF]
    assert (check.holds, check.facts["problem"]) == (False, "slow") and check.facts["took"] > RTO.total_seconds()


async def test_a_proof_that_is_stopped_leaves_no_instance(stage: Play) -> None:
    stage.sandbox.aws.restore_takes = timedelta(days=1)
    run = await stage.start("prove-backup")
    await stage.reached(run, "restore", StepState.PERFORMING)
    async with deadline(20):
        while not temporary(stage):  # noqa: ASYNC110 - AWS is another program
            await asyncio.sleep(0.02)
    await stage.answer(f"/runbook cancel {run.id}")
    done = await stage.ended(run)
    assert done.state is RunState.CANCELLED, story(done)
    await gone(stage)
    assert (await checks(stage))[PRODUCTION, Aspect.PROOF].facts["problem"] == "never", "stopped is not failed"


async def test_another_runs_instance_is_not_deleted(stage: Play) -> None:
    run = await stage.start_ops(f"rds_restore_temporary {PRODUCTION}")
    done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    (kept,) = temporary(stage)
    kept.tags = [{"Key": "tamv-bot", "Value": "R-0/restore"}]
    await stage.person("ana").press(await stage.button(done, "undo_run"), "undo_run")
    await stage.quiet()
    assert temporary(stage) == [kept] and kept.status == "available"


@pytest.mark.parametrize("aspect", list(Aspect))
def test_each_check_has_words_in_both_languages(aspect: Aspect) -> None:
    assert all(aspect.value in set(one.render("backups")) for one in load_translations().values())
