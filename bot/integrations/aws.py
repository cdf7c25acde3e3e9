"""What comes from AWS: databases, snapshots, objects, and what its mistakes mean."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from bot.domain.errors import BotError, Refused, Unavailable, WrongState
from bot.integrations.base import http_error, in_thread, invalid_response
from bot.integrations.effects import effect

SERVICE = "AWS"
TAG = "tamv-bot"  # whose step made a thing
MOST_SHOWN = 200
SLOW_DOWN = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException"}
)

T = TypeVar("T")
PART = 16 * 1024 * 1024  # bytes; S3 takes 10,000 parts, so the largest object is 156 GiB
MOST_DELETED = 1000  # in one request of S3
GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Database:
    """An instance of RDS. `status` is in RDS's words; `made_by` is the step that made it, where it was ours.

    `restorable_until` is the newest moment that a point-in-time recovery could bring back (`LatestRestorableTime`).
    """

    name: str
    status: str
    engine: str
    size: str
    multi_az: bool
    zone: str | None
    address: str | None
    restorable_until: datetime | None
    made_by: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`percent` is how far it has come."""

    name: str
    database: str
    status: str
    percent: int
    at: datetime | None
    made_by: str | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in S3; `size` in bytes."""

    name: str
    size: int
    modified: datetime


def database_of(rds: Any, name: str) -> Database | None:
    with gone("DBInstanceNotFound", "DBInstanceNotFoundFault"):
        raw = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
        return Database(
            raw["DBInstanceIdentifier"],
            raw["DBInstanceStatus"],
            f"{raw['Engine']} {raw.get('EngineVersion', '')}".strip(),
            raw["DBInstanceClass"],
            bool(raw.get("MultiAZ")),
            raw.get("AvailabilityZone"),
            (raw.get("Endpoint") or {}).get("Address"),
            raw.get("LatestRestorableTime"),
            maker_of(raw),
        )
    return None


def snapshot_of(rds: Any, name: str) -> Snapshot | None:
    with gone("DBSnapshotNotFound", "DBSnapshotNotFoundFault"):
        return snapshot_from(rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0])
    return None


def snapshot_from(raw: dict[str, Any]) -> Snapshot:
    return Snapshot(
        raw["DBSnapshotIdentifier"],
        raw["DBInstanceIdentifier"],
        raw["Status"],
        int(raw.get("PercentProgress", 100)),
        raw.get("SnapshotCreateTime"),
        maker_of(raw),
    )


def maker_of(raw: dict[str, Any]) -> str | None:
    return next((str(tag["Value"]) for tag in raw.get("TagList") or () if tag["Key"] == TAG), None)


def format_list(objects: Sequence[StoredObject]) -> str:
    """A line each; of very many, the first ones and a digest of all names, so that an approval is for exactly these."""
    lines = [
        f"- {stored_object.name}  {stored_object.size}  {stored_object.modified:%Y-%m-%d %H:%M}"
        for stored_object in objects[:MOST_SHOWN]
    ]
    if len(objects) > MOST_SHOWN:
        digest = hashlib.sha256("\n".join(stored_object.name for stored_object in objects).encode()).hexdigest()[:12]
        lines.append(f"- … {len(objects) - MOST_SHOWN} (sha256 {digest})")
    return "\n".join(lines)


@contextmanager
def gone(*codes: str) -> Iterator[None]:
    """What is not there is no mistake."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in codes:
            raise


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translate_errors(what: str, *, writes: bool) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise refusal(what, error, writes=writes) from error
    except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
        raise Refused("refused", service=SERVICE, what=what, status=401, why=str(error)) from error
    except (HTTPClientError, ConnectionError) as error:
        slow = "Timeout" in type(error).__name__
        uncertain = {"uncertain": True} if writes else {}
        why = type(error).__name__
        raise Unavailable(
            "unreachable", service=SERVICE, what=what, why="timeout" if slow else why, **uncertain
        ) from error
    except (BotoCoreError, ResponseParserError, KeyError, IndexError, TypeError, ValueError) as error:
        raise invalid_response(SERVICE, what, writes=writes) from error


def refusal(what: str, error: ClientError, *, writes: bool) -> BotError:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/CommonErrors.html"""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 400)
    why = f"{code_of(error)}: {error.response.get('Error', {}).get('Message', '')}"
    retry_after = 5.0 if code_of(error) in SLOW_DOWN else None
    return http_error(SERVICE, what, status, why, retry_after=retry_after, writes=writes)


class Do(Protocol):
    """How a call of the client is made: in a thread, with a deadline, its mistakes named."""

    async def __call__(self, what: str, action: Callable[[], T], *, writes: bool = False) -> T: ...


@dataclass(frozen=True, slots=True)
class UploadedObject:
    """How long an object is in bytes, and the SHA-256 of its content, in hex."""

    size: int
    sha256: str


class Objects:
    """At most two parts are in memory. Nothing is in the bucket before all of it is."""

    def __init__(self, client: Callable[[str], Any], do: Do, part: int = PART) -> None:
        self._client = client
        self._do = do
        self._part = part

    async def made_by(self, bucket: str, name: str) -> str | None:
        """Whose step wrote it; "" when none of ours did, None when it is not there."""

        def look() -> str | None:
            with gone("404", "NoSuchKey", "NotFound"):
                head = self._client("s3").head_object(Bucket=bucket, Key=name)
                return str((head.get("Metadata") or {}).get(TAG, ""))
            return None

        return await self._do("look at the object", look)

    async def write(self, bucket: str, name: str, pieces: AsyncIterator[bytes], key: str) -> UploadedObject:
        """Write what comes. S3 checks each part by its SHA-256, and what then lies there is read back and compared.

        Raises what `pieces` raises; then, as when the task is cancelled, nothing is left. WrongState when nothing
        came, or when what was read back is other than what was sent (it is deleted).
        """
        upload = await self._begin(bucket, name, key)
        digest, size = hashlib.sha256(), 0
        done: list[dict[str, Any]] = []
        try:
            async for part in _parts(pieces, self._part):
                size += len(part)
                done.append(await self._send(upload, part, len(done) + 1, digest.update))
            if not done:
                raise WrongState("backup_empty", name=name)
            await self._complete(upload, done)
        except BaseException:
            with suppress(BotError):
                await asyncio.shield(self._abort(upload))
            raise
        sent = UploadedObject(size, digest.hexdigest())
        if (uploaded_object := await self.read(bucket, name)) != sent:
            await self.delete(bucket, name)
            raise WrongState("backup_damaged", name=name, sent=sent.sha256, found=uploaded_object.sha256)
        return sent

    async def read(self, bucket: str, name: str) -> UploadedObject:
        """Read all of an object, part after part."""
        digest = hashlib.sha256()

        def take(start: int) -> int:
            """Gives the length of the whole."""
            span = f"bytes={start}-{start + self._part - 1}"
            answer = self._client("s3").get_object(Bucket=bucket, Key=name, Range=span)
            digest.update(answer["Body"].read())
            return int(answer["ContentRange"].rpartition("/")[2])

        at, size = 0, 1
        while at < size:
            size = await self._do("read the object", partial(take, at))
            at += self._part
        return UploadedObject(size, digest.hexdigest())

    async def delete(self, bucket: str, name: str) -> None:
        """Also when it is gone already."""
        await self._do(
            "delete the object", lambda: self._client("s3").delete_object(Bucket=bucket, Key=name), writes=True
        )

    async def _begin(self, bucket: str, name: str, key: str) -> dict[str, str]:
        address = {"Bucket": bucket, "Key": name}

        def begin() -> str:
            made = self._client("s3").create_multipart_upload(
                **address, ChecksumAlgorithm="SHA256", Metadata={TAG: key}, ContentType="application/octet-stream"
            )
            return str(made["UploadId"])

        return {**address, "UploadId": await self._do("begin the upload", begin, writes=True)}

    async def _send(
        self, upload: dict[str, str], part: bytes, number: int, count: Callable[[bytes], None]
    ) -> dict[str, Any]:
        def send() -> dict[str, Any]:
            count(part)
            checksum = base64.b64encode(hashlib.sha256(part).digest()).decode()
            made = self._client("s3").upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=checksum)
            return {"PartNumber": number, "ETag": made["ETag"], "ChecksumSHA256": checksum}

        return await self._do("write a part", send, writes=True)

    async def _complete(self, upload: dict[str, str], parts: list[dict[str, Any]]) -> None:
        def complete() -> None:
            self._client("s3").complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

        await self._do("complete the upload", complete, writes=True)

    async def _abort(self, upload: dict[str, str]) -> None:
        def abort() -> None:
            with gone("NoSuchUpload"):
                self._client("s3").abort_multipart_upload(**upload)

        await self._do("abort the upload", abort, writes=True)


async def _parts(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in parts of exactly `size`, the last one shorter."""
    kept = bytearray()
    async for piece in pieces:
        kept += piece
        while len(kept) >= size:
            with memoryview(kept) as view:
                part = bytes(view[:size])
            del kept[:size]
            yield part
    if kept:
        yield bytes(kept)


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
