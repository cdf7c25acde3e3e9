"""The runbooks of data and secrets, played to their ends and into their failures."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.run import Run, RunState, StepRef, StepState
from bot.domain.times import DailyWindow
from bot.runbooks import load
from sandbox.aws.backend import BACKUPS, PREFIX, PRODUCTION
from sandbox.kubernetes.containers import Behaviour, Dump
from sandbox.kubernetes.resources.batch import JOB
from tests.architecture.tree import ROOT
from tests.harness.play import Play, playing, story
from tests.harness.scene import words

RESTORED = "tamv-restore-temp"
ADD = ("ALTER TABLE users ADD COLUMN email_verified_v2 boolean DEFAULT NULL;",)
DROP = ("ALTER TABLE users DROP COLUMN email_verified;", "ALTER TABLE users DROP COLUMN verification_token;")


def backups(stage: Play) -> set[str]:
    return {name for name in stage.sandbox.aws.objects if name.startswith(PREFIX)}


# --- backup


async def test_a_backup_is_dumped_snapshotted_and_the_old_ones_go(stage: Play) -> None:
    stage.sandbox.aws.backs_up = None  # no night falls in the middle of it
    before = backups(stage)
    done = await stage.play("backup-database", approvers=("bruno", "carla"))
    assert done.state is RunState.SUCCEEDED, story(done)
    dump, pruned = done.step("dump").result, done.step("prune").result
    assert dump and pruned
    after = backups(stage)
    assert after - before == {dump["name"]} and dump["size"] == Dump().size
    assert len(before - after) == pruned["deleted"] == BACKUPS - 30
    snapshot = done.step("snapshot").result
    assert snapshot and snapshot["snapshot"] in stage.sandbox.aws.rds.database_snapshots


async def test_when_the_dump_breaks_off_nothing_old_is_deleted(stage: Play) -> None:
    before = backups(stage)
    stage.cluster.programs.dump = Dump(fail_at=1024 * 1024)
    done = await stage.play("backup-database")
    assert (done.state, done.step("dump").error) == (RunState.FAILED, "program_failed"), story(done)
    assert done.step("prune").state is StepState.PENDING
    assert backups(stage) == before and stage.sandbox.aws.unfinished == []


# --- restore


@pytest.fixture
async def soon(tmp_path: Path) -> AsyncIterator[Play]:
    """A stage whose maintenance window opens in eight hours: two days of the world would be half a minute of ours."""
    text = (ROOT / "teams/tamv/runbooks" / "restore-database.yaml").read_text("utf-8")
    opens = datetime.now(UTC) + timedelta(hours=8)
    for was, now in (
        ('opens: "02:00"', f'opens: "{opens:%H:%M}"'),
        ('closes: "04:00"', f'closes: "{opens + timedelta(hours=6):%H:%M}"'),
        ("notice: 24h", "notice: 1h"),
    ):
        assert was in text
        text = text.replace(was, now)
    shutil.copytree(ROOT / "teams" / "tamv", tmp_path / "team")
    (tmp_path / "team" / "runbooks" / "restore-database.yaml").write_text(text, "utf-8")
    async with playing(tmp_path) as made:
        yield made


async def to_the_window(stage: Play, run: Run) -> tuple[datetime, datetime]:
    """Hours pass until it is about to open; gives when it opens and closes."""
    known = await stage.reached(run, "window", StepState.PERFORMING)
    plan = known.step("plan").result
    assert plan
    begins, ends = (datetime.fromisoformat(plan[name]) for name in ("begins", "ends"))
    with stage.slowly(3000):
        while stage.sandbox.clock.now() < begins - timedelta(minutes=20):  # noqa: ASYNC110 - time is no event
            await asyncio.sleep(0.05)
    return begins, ends


async def test_a_restored_database_is_checked_announced_and_taken_in_its_window(soon: Play) -> None:
    run = await soon.start("restore-database")
    async with soon.approving(run, "bruno", "diego"):
        begins, ends = await to_the_window(soon, run)
        await soon.reached(run, "switch", StepState.WAITING)
        asked = await soon.bot.deps.store.runs.approval(run.id, "switch")
        assert asked
        await soon.bot.runs.answer(
            StepRef(run.id, "switch", asked.digest), "true", by=run.by, idempotency_key="it is in Vault"
        )
        done = await soon.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    told, opened, agreed = (done.step(name) for name in ("announce", "window", "agree"))
    assert told.ended_at and opened.ended_at and agreed.ended_at and agreed.result
    assert told.ended_at < begins <= opened.ended_at < agreed.ended_at < ends
    assert len(agreed.result["by"]) == 2
    assert words(await soon.told("tamv-avisos", "Mantenimiento", PRODUCTION))
    database = soon.sandbox.aws.rds.databases[RESTORED]
    assert database.deletion_protection, "what production runs on is not deleted by an undo"
    assert soon.cluster.store.all(JOB, "tamv-staging"), "its integrity was looked at"


async def test_once_the_window_is_over_production_is_left_alone(soon: Play) -> None:
    run = await soon.start("restore-database")
    async with soon.approving(run, "bruno", "diego"):
        await to_the_window(soon, run)
    done = await soon.ended(run)
    assert (done.state, done.step("agree").error) == (RunState.FAILED, "expired"), story(done)
    assert done.step("protect").state is StepState.PENDING


async def test_a_damaged_copy_never_comes_near_production(stage: Play) -> None:
    log = ("ERROR index users_pkey damaged",)
    stage.cluster.behaviours.set("*/db-maintenance:*", Behaviour(start=2, run=5, exit_code=1, log=log))
    done = await stage.play("restore-database", approvers=("bruno", "diego"))
    assert (done.state, done.step("integrity").error) == (RunState.FAILED, "job_failed"), story(done)
    assert done.step("announce").state is StepState.PENDING
    made = done.step("snapshot").result
    assert made
    await stage.person("ana").press(await stage.button(done, "undo_run"), "undo_run")
    async with stage.approving(done, "bruno", "diego"):  # it deletes an instance: two others agree
        await stage.reached(done, "restore", StepState.UNDONE)
    await stage.quiet()
    rds = stage.sandbox.aws.rds
    assert rds.databases[RESTORED].status == "deleting"
    assert made["snapshot"] in rds.database_snapshots, "the copy that was taken first stays"
    assert (await stage.known(done)).step("snapshot").state is StepState.DONE


def test_people_are_told_a_day_before_the_window_from_two_to_four() -> None:
    book = load(ROOT / "teams/tamv/runbooks" / "restore-database.yaml")
    plan = next(step for step in book.steps if step.id == "plan").with_
    assert plan == {"opens": "02:00", "closes": "04:00", "notice": "24h"}
    window = DailyWindow(time(2), time(4))
    for now, begins in (("2026-11-24T01:00", 25), ("2026-11-24T02:00", 25), ("2026-11-24T02:01", 26)):
        found, ends = window.next(datetime.fromisoformat(f"{now}+00:00") + timedelta(hours=24))
        assert (found, ends) == (datetime(2026, 11, begins, 2, tzinfo=UTC), datetime(2026, 11, begins, 4, tzinfo=UTC))
    night = DailyWindow(time(23), time(1)).next(datetime(2026, 11, 24, 12, tzinfo=UTC))
    assert night == (datetime(2026, 11, 24, 23, tzinfo=UTC), datetime(2026, 11, 25, 1, tzinfo=UTC))


# --- secrets


def secrets(stage: Play) -> dict[str, Any]:
    found = {path: dict(stage.sandbox.vault.read(path) or {}) for path in ("tamv-prod/auth", "tamv-prod/api")}
    return {f"{path}/{key}": value for path, values in found.items() for key, value in values.items()}


async def test_secrets_are_made_anew_and_the_services_run_with_them(stage: Play) -> None:
    before = secrets(stage)
    done = await stage.play("rotate-secrets")
    assert done.state is RunState.SUCCEEDED, story(done)
    after = secrets(stage)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"tamv-prod/auth/jwt-secret", "tamv-prod/api/api-key"}
    assert done.step("came-up").state is StepState.DONE and done.step("back-jwt").state is StepState.SKIPPED
    told = str(done) + "".join(words(m) for c in stage.slack.channels.values() for m in c.messages.values())
    assert not [value for value in after.values() if value in told]


async def test_secrets_that_a_service_does_not_start_with_are_put_back(stage: Play) -> None:
    before = secrets(stage)
    stage.cluster.behaviours.set("*/tamv-core:*", Behaviour(fault="CrashLoopBackOff"))
    run = await stage.start("rotate-secrets")
    async with stage.approving(run, "bruno", "carla"):
        await stage.reached(run, "sync-core-back", StepState.DONE)
        stage.cluster.behaviours.set("*/tamv-core:*", Behaviour())
        done = await stage.ended(run)
    assert done.state in (RunState.UNDONE, RunState.FAILED), story(done)
    assert done.step("restart-core").error == "rollout_stuck"
    assert secrets(stage) == before
    assert done.step("restart-core-back").state is StepState.DONE
    assert done.step("rotated").error == "condition_failed"


async def test_when_the_second_secret_is_refused_the_first_is_as_before(stage: Play) -> None:
    before = secrets(stage)
    run = await stage.start("rotate-secrets")
    async with stage.approving(run, "bruno", "carla"):
        await stage.reached(run, "jwt", StepState.DONE)
    with stage.slowly():
        card = await stage.button(run)
        await stage.person("bruno").press(card, "reject")
        done = await stage.ended(run)
    assert done.step("api").error == "rejected", story(done)
    assert secrets(stage) == before
