"""AWS by boto3: databases of RDS, and backups in S3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from bot.domain.errors import Refused, WrongState
from bot.integrations.aws_answers import (
    SERVICE,
    TAG,
    code_of,
    database_of,
    format_list,
    gone,
    snapshot_from,
    snapshot_of,
    translate_errors,
)
from bot.integrations.aws_answers import Database as Database
from bot.integrations.aws_answers import Snapshot as Snapshot
from bot.integrations.aws_answers import StoredObject as StoredObject
from bot.integrations.aws_objects import Objects
from bot.integrations.base import in_thread
from bot.integrations.effects import effect

T = TypeVar("T")

MOST_DELETED = 1000  # in one request of S3
GRACE_SECONDS = 0.5


def clients(
    region: str,
    endpoint_url: str | None = None,
    credentials: tuple[str, str] | None = None,
    timeout: float = 20.0,
) -> Callable[[str], Any]:
    """boto3's clients by name, each made when it is first asked for.

    `credentials` are an access key's id and its secret; without them boto3 finds some by itself.
    """
    config = Config(connect_timeout=timeout / 2, read_timeout=timeout / 2, retries={"total_max_attempts": 1})
    made: dict[str, Any] = {}
    lock = threading.Lock()

    def client(name: str) -> Any:
        with lock:
            if name not in made:
                id, secret = credentials or (None, None)
                session = boto3.session.Session(id, secret, region_name=region)
                made[name] = session.client(name, endpoint_url=endpoint_url, config=config)
            return made[name]

    return client


class Aws:
    """One account in one region. `timeout` in seconds holds for each method as a whole.

    Raises Unavailable, and Refused with AWS's own words.
    """

    def __init__(self, client: Callable[[str], Any], timeout: float = 20.0) -> None:
        self._client = client
        self._timeout = timeout
        self.objects = Objects(client, self._do)

    async def database(self, name: str) -> Database | None:
        """None if there is none."""
        return await self._do("read the database", lambda: database_of(self._client("rds"), name))

    async def snapshot(self, name: str) -> Snapshot | None:
        """None if there is none."""
        return await self._do("read the snapshot", lambda: snapshot_of(self._client("rds"), name))

    async def newest_snapshot(self, database: str) -> Snapshot | None:
        """The newest one that is complete, whoever made it."""

        def look() -> Snapshot | None:
            pages = self._client("rds").get_paginator("describe_db_snapshots").paginate(DBInstanceIdentifier=database)
            snapshots = [snapshot_from(raw) for page in pages for raw in page["DBSnapshots"]]
            dated = [
                (snapshot.at, snapshot) for snapshot in snapshots if snapshot.status == "available" and snapshot.at
            ]
            return max(dated, key=lambda pair: pair[0])[1] if dated else None

        return await self._do("read the snapshots", look)

    @effect("aws.rds_snapshot")
    async def make_snapshot(self, database: str, snapshot: str, key: str) -> None:
        """Begin a snapshot; one of ours with this name is the one that an earlier try began."""

        def make() -> None:
            try:
                self._client("rds").create_db_snapshot(
                    DBInstanceIdentifier=database, DBSnapshotIdentifier=snapshot, Tags=[{"Key": TAG, "Value": key}]
                )
            except ClientError as error:
                there = (
                    snapshot_of(self._client("rds"), snapshot) if code_of(error) == "DBSnapshotAlreadyExists" else None
                )
                if there is None or there.made_by != key:
                    raise

        await self._do("make a snapshot", make, writes=True)

    @effect("aws.delete_snapshot")
    async def delete_snapshot(self, snapshot: str) -> None:
        """Also when it is gone already."""

        def delete() -> None:
            with gone("DBSnapshotNotFound", "DBSnapshotNotFoundFault"):
                self._client("rds").delete_db_snapshot(DBSnapshotIdentifier=snapshot)

        await self._do("delete the snapshot", delete, writes=True)

    @effect("aws.rds_restore")
    async def restore(self, snapshot: str, database: str, like: str, key: str) -> None:
        """Begin a new instance from a snapshot, in the network of the instance `like`. Never over one that is there."""

        def begin() -> None:
            rds = self._client("rds")
            model = rds.describe_db_instances(DBInstanceIdentifier=like)["DBInstances"][0]
            subnets = (model.get("DBSubnetGroup") or {}).get("DBSubnetGroupName")
            try:
                rds.restore_db_instance_from_db_snapshot(
                    DBInstanceIdentifier=database,
                    DBSnapshotIdentifier=snapshot,
                    DBInstanceClass=model["DBInstanceClass"],
                    VpcSecurityGroupIds=[group["VpcSecurityGroupId"] for group in model.get("VpcSecurityGroups") or ()],
                    MultiAZ=False,
                    PubliclyAccessible=False,
                    Tags=[{"Key": TAG, "Value": key}],
                    **({"DBSubnetGroupName": subnets} if subnets else {}),
                )
            except ClientError as error:
                there = database_of(rds, database) if code_of(error).startswith("DBInstanceAlreadyExists") else None
                if there is None or there.made_by != key:
                    raise

        await self._do("restore the snapshot", begin, writes=True)

    @effect("aws.delete_database")
    async def delete_database(self, database: str, key: str) -> None:
        """Delete an instance that this step made, without a last snapshot. WrongState for any other."""

        def delete() -> None:
            there = database_of(self._client("rds"), database)
            if there is None or there.status == "deleting":
                return
            if there.made_by != key:
                raise WrongState("not_made_here", name=database)
            with gone("DBInstanceNotFound", "DBInstanceNotFoundFault"):
                self._client("rds").delete_db_instance(
                    DBInstanceIdentifier=database, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
                )

        await self._do("delete the database", delete, writes=True)

    @effect("aws.rds_protect")
    async def protect(self, database: str) -> None:
        """Let RDS refuse to delete the instance, whoever asks."""

        def protect() -> None:
            self._client("rds").modify_db_instance(
                DBInstanceIdentifier=database, DeletionProtection=True, ApplyImmediately=True
            )

        await self._do("protect the database", protect, writes=True)

    @effect("aws.rds_failover")
    async def fail_over(self, database: str, zone: str) -> None:
        """Let the standby in the other zone take over, if the database still is in `zone`."""

        def reboot() -> None:
            there = database_of(self._client("rds"), database)
            if there and there.zone == zone and there.status == "available":
                self._client("rds").reboot_db_instance(DBInstanceIdentifier=database, ForceFailover=True)

        await self._do("fail over", reboot, writes=True)

    async def stored(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Every object below a prefix, the newest first."""

        def look() -> list[StoredObject]:
            pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            objects = [
                StoredObject(raw["Key"], int(raw["Size"]), raw["LastModified"])
                for page in pages
                for raw in page.get("Contents") or ()
            ]
            return sorted(objects, key=lambda stored_object: (stored_object.modified, stored_object.name), reverse=True)

        return await self._do("list the bucket", look)

    @effect("aws.s3_prune", hidden=("objects",))
    async def prune(
        self,
        bucket: str,
        prefix: str,
        count: int,
        size: int,
        kept: int,
        objects: Sequence[StoredObject],
        dry_run: bool = False,
    ) -> str | None:
        """Delete exactly these objects. In a rehearsal, the list of them."""
        if dry_run:
            return format_list(objects)

        def delete() -> None:
            for start in range(0, len(objects), MOST_DELETED):
                batch = [{"Key": stored_object.name} for stored_object in objects[start : start + MOST_DELETED]]
                answer = self._client("s3").delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                for wrong in answer.get("Errors") or ():
                    raise Refused(
                        "refused", service=SERVICE, what=f"delete {wrong.get('Key')}", why=wrong.get("Message")
                    )

        await self._do("delete from the bucket", delete, writes=True)
        return None

    async def check(self) -> str:
        """Read-only: the credentials are right. Says whose they are."""

        def look() -> str:
            who = self._client("sts").get_caller_identity()
            return f"{who['Arn']} in {self._client('rds').meta.region_name}"

        return await self._do("check", look)

    async def _do(self, what: str, action: Callable[[], T], *, writes: bool = False) -> T:
        def run() -> T:
            with translate_errors(what, writes=writes):
                return action()

        return await in_thread(run, deadline=self._timeout + GRACE_SECONDS, service=SERVICE)
