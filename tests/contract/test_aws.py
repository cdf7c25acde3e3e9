"""The bot's AWS client (boto3) and `aws.*` against the sandbox's AWS over HTTP, also when it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from bot.actions.aws import Snapshotted
from bot.domain.errors import BadInput, BotError, NotConfigured, NotFound, Refused, Unavailable, WrongState
from bot.integrations.aws import Aws, clients
from bot.messages.results import result_sentence
from bot.messages.translations import load_translations
from sandbox.aws import KEY_ID, REGION, SECRET_KEY
from sandbox.aws.backend import BACKUPS, BUCKET, PREFIX, PRODUCTION, STAGING
from sandbox.aws.backend import Aws as Account
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from tests.harness.actor import Actor, parts

TEMPORARY = "tamv-restore-temp"


@dataclass
class World:
    account: Account
    sandbox: Sandbox
    client: Aws
    actor: Actor
    url: str

    async def do(self, name: str, key: str = "R-1/a", **given: Any) -> Any:
        await self.actor.rehearse(f"aws.{name}", key, **given)
        return await self.actor.perform(f"aws.{name}", key, **given)

    def s3(self) -> Any:
        """An administrator's client."""
        return clients(REGION, self.url, (KEY_ID, SECRET_KEY))("s3")

    async def key(self, name: str, **given: Any) -> str:
        """The key of the mistake that it ends in."""
        with pytest.raises((WrongState, BadInput, NotFound)) as wrong:
            await self.do(name, **given)
        assert "{{" not in self.actor.deps.words.error(wrong.value)
        return wrong.value.key


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    sandbox = Sandbox(clock=Clock(speed=2000))
    async with sandbox.serving() as base:
        url = f"{base}/aws/"
        client = Aws(clients(REGION, url, (KEY_ID, SECRET_KEY), timeout=15), timeout=15)
        yield World(sandbox.aws, sandbox, client, Actor(parts(tmp_path, sandbox.clock, aws=client)), url)


async def test_how_a_database_stands(world: World) -> None:
    found = await world.do("rds_status")
    assert (found.name, found.status, found.multi_az, found.zone) == (PRODUCTION, "available", True, f"{REGION}a")
    assert found.newest_snapshot and found.newest_snapshot.startswith(f"rds:{PRODUCTION}-")
    assert found.restorable_until and found.restorable_until <= world.sandbox.clock.now()
    facts = {"name": "db", "status": "available", "engine": "postgres", "size": "l", "multi_az": True}
    unknown = dict.fromkeys(("zone", "newest_snapshot", "restorable_until"))
    said = result_sentence("aws.rds_status", facts | unknown, world.actor.deps.words)
    assert said == "`db` available · postgres · l · Multi-AZ"
    staging = Actor(world.actor.deps, "staging")
    assert (await staging.perform("aws.rds_status")).name == STAGING
    assert await world.key("rds_status", database="tamv-prod-postgre") == "unknown_database"
    del world.account.rds.databases[PRODUCTION]
    assert await world.key("rds_status") == "no_such_database"


async def test_a_snapshot_is_taken_once_waited_for_and_deleted_by_the_undo(world: World) -> None:
    before = set(world.account.rds.database_snapshots)
    await world.actor.rehearse("aws.rds_snapshot")
    assert set(world.account.rds.database_snapshots) == before
    began = world.sandbox.clock.now()
    done = await world.actor.perform("aws.rds_snapshot")
    assert (done.snapshot, done.status) == (f"{PRODUCTION}-r-1-a", "available")
    assert world.sandbox.clock.now() - began >= timedelta(minutes=4)  # it was `creating` meanwhile
    assert await world.actor.perform("aws.rds_snapshot") == done  # only its record was lost
    assert set(world.account.rds.database_snapshots) == {*before, done.snapshot}
    await world.actor.undo("aws.rds_snapshot", done)
    await world.actor.undo("aws.rds_snapshot", done)
    assert set(world.account.rds.database_snapshots) == before


async def test_a_snapshot_of_somebody_elses_is_not_taken_for_ours(world: World) -> None:
    world.account.rds.create_db_snapshot(PRODUCTION, f"{PRODUCTION}-r-1-a")
    with pytest.raises(Refused) as there:
        await world.do("rds_snapshot")
    assert "DBSnapshotAlreadyExists" in str(there.value.facts["why"])


async def test_a_snapshot_that_fails_or_never_ends_is_a_mistake(world: World) -> None:
    world.account.breaks = "failed"
    assert await world.key("rds_snapshot") == "database_state"
    world.account.stuck = True
    assert await world.key("rds_snapshot", key="R-2/a", within="10m") == "database_slow"


async def test_a_snapshot_that_is_being_taken_is_waited_for_by_name_and_deleted_when_it_is_complete(
    world: World,
) -> None:
    world.account.stuck = True  # until it is looked at
    assert await world.key("rds_snapshot", key="R-1/a", within="1m") == "database_slow"
    theirs = f"{PRODUCTION}-r-1-a"
    with pytest.raises(WrongState) as busy:
        await world.actor.rehearse("aws.rds_snapshot", "R-2/a")
    assert (busy.value.key, busy.value.facts["snapshot"], busy.value.facts["state"]) == (
        "database_busy", theirs, "backing-up"
    )  # fmt: skip
    assert await world.key("rds_restore", snapshot=theirs, into=TEMPORARY) == "database_state"
    assert await world.key("rds_failover") == "database_state"
    taken = Snapshotted(PRODUCTION, theirs, "")
    with pytest.raises(WrongState) as creating:
        await world.actor.undo("aws.rds_snapshot", taken)
    assert creating.value.key == "snapshot_creating" and theirs in world.account.rds.database_snapshots
    world.account.stuck = False
    assert (await world.actor.perform("aws.rds_snapshot")).status == "available", "tried again, it goes on with its own"
    await world.actor.undo("aws.rds_snapshot", taken)
    assert theirs not in world.account.rds.database_snapshots


async def test_the_quota_of_snapshots_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_RDS_SNAPSHOT_LIMIT", str(len(world.account.rds.database_snapshots)))
    with pytest.raises(Refused) as full:
        await world.do("rds_snapshot")
    assert full.value.key == "snapshot_quota" and "Service Quotas" in world.actor.deps.words.error(full.value)


async def test_a_restore_goes_into_a_new_instance_and_is_deleted_by_the_undo(world: World) -> None:
    snapshot = (await world.do("rds_status")).newest_snapshot
    effects, _ = await world.actor.rehearse("aws.rds_restore", snapshot=snapshot, into=TEMPORARY)
    assert effects[0].facts == {"snapshot": snapshot, "database": TEMPORARY, "like": PRODUCTION}
    assert TEMPORARY not in world.account.rds.databases
    done = await world.actor.perform("aws.rds_restore", snapshot=snapshot, into=TEMPORARY)
    made = world.account.rds.databases[TEMPORARY]
    assert (made.status, made.db_instance_class) == ("available", "db.r6g.xlarge")
    assert TEMPORARY in done.address
    assert await world.actor.perform("aws.rds_restore", snapshot=snapshot, into=TEMPORARY) == done
    assert await world.key("rds_restore", key="R-2/a", snapshot=snapshot, into=TEMPORARY) == "database_exists"
    await world.actor.undo("aws.rds_restore", done)
    await world.actor.undo("aws.rds_restore", done)
    assert world.account.rds.databases[TEMPORARY].status == "deleting"
    async with deadline(20):
        while await world.client.database(TEMPORARY):  # noqa: ASYNC110 - the world's time goes by
            await asyncio.sleep(0.01)
    assert set(world.account.rds.databases) == {PRODUCTION, STAGING}


async def test_an_instance_that_is_in_use_is_protected_from_its_own_undo(world: World) -> None:
    newest = (await world.do("rds_status")).newest_snapshot
    done = await world.do("rds_restore", snapshot=newest, into=TEMPORARY)
    effects, _ = await world.actor.rehearse("aws.rds_protect", "R-1/b", database=TEMPORARY)
    assert [effect.key for effect in effects] == ["aws.rds_protect"]
    await world.actor.perform("aws.rds_protect", "R-1/b", database=TEMPORARY)
    with pytest.raises(Refused):
        await world.actor.undo("aws.rds_restore", done)
    assert TEMPORARY in world.account.rds.databases
    assert await world.key("rds_protect", key="R-1/c", database="nothing") == "no_such_database"


async def test_nothing_is_restored_over_or_deleted_that_was_there(world: World) -> None:
    snapshot = (await world.do("rds_status")).newest_snapshot
    for into in (PRODUCTION, STAGING):
        assert await world.key("rds_restore", snapshot=snapshot, into=into) == "database_exists"
    for wrong in ("-x", "a--b", "x" * 64, "x_y", ""):
        assert await world.key("rds_restore", snapshot=snapshot, into=wrong) == "wrong_parameter"
    assert await world.key("rds_restore", snapshot="nothing", into=TEMPORARY) == "no_such_snapshot"
    done = await world.do("rds_restore", snapshot=snapshot, into=TEMPORARY)
    world.account.rds.databases[TEMPORARY].tags = []
    with pytest.raises(WrongState) as foreign:
        await world.actor.undo("aws.rds_restore", done)
    assert foreign.value.key == "not_made_here" and TEMPORARY in world.account.rds.databases


async def test_the_standby_takes_over_once(world: World) -> None:
    _, foreseen = await world.actor.rehearse("aws.rds_failover")
    assert (foreseen.before, foreseen.zone) == (f"{REGION}a", f"{REGION}a")
    done = await world.actor.perform("aws.rds_failover")
    assert (done.before, done.zone) == (f"{REGION}a", f"{REGION}b")
    assert await world.actor.perform("aws.rds_failover") == done
    assert world.account.rds.databases[PRODUCTION].availability_zone == f"{REGION}b"
    assert await world.key("rds_failover", database=STAGING) == "not_multi_az"


async def test_a_lost_answer_fails_over_no_second_time(world: World) -> None:
    await world.actor.rehearse("aws.rds_failover")
    reading = asyncio.create_task(world.actor.perform("aws.rds_failover"))
    async with deadline(20):
        while world.account.rds.databases[PRODUCTION].status != "rebooting":  # noqa: ASYNC110 - another thread does it
            await asyncio.sleep(0.001)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    done = await world.actor.perform("aws.rds_failover")
    assert done.zone == f"{REGION}b"


async def test_old_backups_go_and_the_newest_stay(world: World) -> None:
    effects, foreseen = await world.actor.rehearse("aws.s3_prune", backups="database")
    (effect,) = effects
    old = effect.facts["count"]
    assert 14 <= old <= 15 and effect.facts["kept"] == BACKUPS - old and "objects" not in effect.facts
    assert effect.diff.count("\n- ") == old - 1 and len(world.account.objects) == BACKUPS
    done = await world.actor.perform("aws.s3_prune", backups="database")
    assert done == foreseen and len(world.account.objects) == done.kept
    again = await world.do("s3_prune", key="R-2/a", backups="database", older_than="30d")
    assert again.deleted <= 1
    everything = await world.do("s3_prune", key="R-3/a", backups="database", older_than="0s")
    assert (everything.kept, len(world.account.objects)) == (7, 7)
    newest = sorted(world.account.objects)[-1]
    assert newest.startswith(f"{PREFIX}tamv_backup_")


async def test_what_is_deleted_from_a_bucket_with_versions_or_a_lock_can_be_brought_back(world: World) -> None:
    s3 = world.s3()
    enabled = {"Status": "Enabled"}
    await asyncio.to_thread(s3.put_bucket_versioning, Bucket=BUCKET, VersioningConfiguration=enabled)
    world.account.put_backup("locked.sql.gz", 9, world.sandbox.clock.now() - timedelta(days=99))
    locked = world.account.objects[f"{PREFIX}locked.sql.gz"]
    locked.lock_mode, locked.lock_until = "COMPLIANCE", "2099-01-01T00:00:00Z"
    version = {"Bucket": BUCKET, "Key": f"{PREFIX}locked.sql.gz", "VersionId": locked.version_id}
    with pytest.raises(ClientError, match="AccessDenied"):
        await asyncio.to_thread(s3.delete_object, **version)  # the version itself stays, whoever asks
    effects, _ = await world.actor.rehearse("aws.s3_prune", backups="database")
    assert effects[0].facts["versioned"] is True and "locked.sql.gz" in effects[0].diff
    done = await world.actor.perform("aws.s3_prune", backups="database")
    for words, told in ((load_translations()["es"], "no se libera espacio"), (load_translations()["en"], "no space")):
        assert told in result_sentence("aws.s3_prune", asdict(done), words)
    versions = await asyncio.to_thread(s3.list_object_versions, Bucket=BUCKET, Prefix=PREFIX)
    assert len(versions["DeleteMarkers"]) == done.deleted and len(versions["Versions"]) == done.deleted + done.kept
    assert (await world.do("s3_prune", key="R-2/a", backups="database")).deleted <= 1, "a marker is no object"


async def test_what_s3_refuses_to_delete_is_said_and_the_rest_goes_on(world: World) -> None:
    names = sorted(world.account.objects)[:2]
    held = [f"arn:aws:s3:::{BUCKET}/{name}" for name in names]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": held}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    await asyncio.to_thread(world.s3().put_bucket_policy, Bucket=BUCKET, Policy=policy)
    effects, _ = await world.actor.rehearse("aws.s3_prune", backups="database")
    with pytest.raises(WrongState) as refused:
        await world.actor.perform("aws.s3_prune", backups="database")
    deleted = effects[0].facts["count"] - 2
    assert refused.value.key == "objects_kept"
    assert refused.value.facts == {
        "bucket": BUCKET, "count": 2, "deleted": deleted, "first": names[1], "why": "Access Denied"
    }  # fmt: skip
    assert sorted(world.account.objects)[:2] == names and len(world.account.objects) == BACKUPS - deleted


async def test_what_came_of_age_after_the_approval_stays(world: World) -> None:
    _, foreseen = await world.actor.rehearse("aws.s3_prune", backups="database", older_than="10d")
    world.account.put_backup("just-younger.sql.gz", 9, foreseen.cutoff + timedelta(minutes=1))
    world.account.put_backup("with a blank.sql.gz", 9, foreseen.cutoff - timedelta(days=1))
    world.sandbox.clock.speed = 20_000
    await world.sandbox.clock.sleep(600)
    await world.actor.perform("aws.s3_prune", backups="database", older_than="10d")
    assert f"{PREFIX}just-younger.sql.gz" in world.account.objects
    assert f"{PREFIX}with a blank.sql.gz" not in world.account.objects


async def test_nothing_is_deleted_after_a_failed_backup(world: World) -> None:
    assert await world.key("s3_prune", backups="databases") == "unknown_backups"
    world.account.put_backup("empty.sql.gz", 0, world.sandbox.clock.now())
    assert await world.key("s3_prune", backups="database") == "backup_missing"
    for name in sorted(world.account.objects)[-4:]:
        del world.account.objects[name]
    assert await world.key("s3_prune", backups="database") == "backup_missing"
    world.account.objects.clear()
    assert await world.key("s3_prune", backups="database") == "backup_missing"


async def test_each_night_the_sandboxs_team_dumps_its_database(world: World) -> None:
    await world.sandbox.clock.sleep(3 * 86_400)
    effects, _ = await world.actor.rehearse("aws.s3_prune", backups="database", older_than="30d")
    assert len(world.account.objects) == BACKUPS + 3 and 17 <= effects[0].facts["count"] <= 18


async def test_more_than_a_page_is_listed_and_deleted(world: World) -> None:
    now = world.sandbox.clock.now()
    for number in range(1100):
        world.account.put_backup(f"old/{number:04}.gz", 1, now - timedelta(days=400))
    effects, _ = await world.actor.rehearse("aws.s3_prune", backups="database", older_than="365d")
    assert effects[0].facts["count"] == 1100 and "900 (sha256" in effects[0].diff
    await world.actor.perform("aws.s3_prune", backups="database", older_than="365d")
    assert len(world.account.objects) == BACKUPS


async def failure(client: Aws, act: str = "database", *given: Any) -> BotError:
    with pytest.raises(BotError) as found:
        await getattr(client, act)(*(given or (PRODUCTION,)))
    assert SECRET_KEY not in f"{found.value} {found.value.facts}"
    return found.value


async def test_when_aws_fails(world: World, tmp_path: Path) -> None:
    faults = world.sandbox.faults
    for kind, how in (("status", {"status": 500}), ("drop_before", {}), ("nonsense", {"body": "<no"})):
        faults.add("aws", kind, times=None, **how)  # type: ignore[arg-type]
        assert isinstance(await failure(world.client), Unavailable)
        faults.clear()
    throttled = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
    faults.add("aws", "status", times=None, status=400, body=throttled)
    slow_down = await failure(world.client)
    assert isinstance(slow_down, Unavailable) and slow_down.retry_after == 5
    faults.clear()
    faults.add("aws", "hang", times=None)
    hasty = Aws(clients(REGION, world.url, (KEY_ID, SECRET_KEY), timeout=1), timeout=1)
    assert isinstance(await failure(hasty), Unavailable)
    faults.clear()
    faults.add("aws", "drop_after", times=None)
    lost = await failure(world.client, "make_snapshot", PRODUCTION, "x", "R-1/a")
    assert isinstance(lost, Unavailable) and lost.uncertain
    assert isinstance(await failure(Aws(clients(REGION, "http://127.0.0.1:9", ("a", "b"), 2), 2)), Unavailable)
    with pytest.raises(NotConfigured):
        await Actor(parts(tmp_path, Clock())).rehearse("aws.rds_status")


async def test_who_we_are_and_that_nobody_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REGION in await world.client.check()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "nowhere")
    problem = await failure(Aws(clients(REGION, world.url)))
    assert isinstance(problem, Refused) and "credentials" in str(problem.facts["why"])


async def test_what_aws_refuses_is_said_in_its_words() -> None:
    """botocore's own stub, for what moto lets pass."""
    real = boto3.client("rds", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(real) as stub:
        stub.add_client_error("describe_db_instances", "AccessDenied", "User is not authorized", 403)
        stub.add_client_error("describe_db_snapshots", "InternalFailure", "", 500)
        client = Aws(lambda name: real)
        denied = await failure(client)
        assert (type(denied), denied.facts["why"]) == (Refused, "AccessDenied: User is not authorized")
        assert isinstance(await failure(client, "snapshot", "x"), Unavailable)
