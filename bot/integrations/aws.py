"""AWS by boto3: RDS databases and their snapshots, S3 objects."""

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
TAG = "tamv-bot"  # tag with the key of the step that created the resource
LISTED_LIMIT = 200
THROTTLING_CODES = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException"}
)

T = TypeVar("T")
PART_SIZE = 16 * 1024 * 1024  # bytes; with S3's limit of 10,000 parts an object may have 156 GiB
DELETE_BATCH = 1000  # objects: S3's limit for one request
GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Database:
    """An RDS instance. `status` is RDS's word; `made_by` is the key of the bot's step that created it, if any.

    `restorable_until` is the newest point in time that can be restored (`LatestRestorableTime`). `retention_days` is 0
    while automated backups are off; the windows are RDS's words, in UTC.
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
    retention_days: int = 0
    backup_window: str = ""
    maintenance_window: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a database; `percent` is its progress, `automated` ones are RDS's daily backups."""

    name: str
    database: str
    status: str
    percent: int
    at: datetime | None
    made_by: str | None
    automated: bool = False


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in S3; `size` in bytes."""

    name: str
    size: int
    modified: datetime


def read_database(rds: Any, name: str) -> Database | None:
    with ignore_errors("DBInstanceNotFound", "DBInstanceNotFoundFault"):
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
            creator_key(raw),
            int(raw.get("BackupRetentionPeriod") or 0),
            str(raw.get("PreferredBackupWindow") or ""),
            str(raw.get("PreferredMaintenanceWindow") or ""),
        )
    return None


def read_snapshot(rds: Any, name: str) -> Snapshot | None:
    with ignore_errors("DBSnapshotNotFound", "DBSnapshotNotFoundFault"):
        return parse_snapshot(rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0])
    return None


def parse_snapshot(raw: dict[str, Any]) -> Snapshot:
    return Snapshot(
        raw["DBSnapshotIdentifier"],
        raw["DBInstanceIdentifier"],
        raw["Status"],
        int(raw.get("PercentProgress", 100)),
        raw.get("SnapshotCreateTime"),
        creator_key(raw),
        raw.get("SnapshotType") == "automated",
    )


def _newest(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    dated = [(snapshot.at, snapshot) for snapshot in snapshots if snapshot.status == "available" and snapshot.at]
    return max(dated, key=lambda pair: pair[0])[1] if dated else None


def creator_key(raw: dict[str, Any]) -> str | None:
    return next((str(tag["Value"]) for tag in raw.get("TagList") or () if tag["Key"] == TAG), None)


def format_list(objects: Sequence[StoredObject]) -> str:
    """Return one line per object.

    Beyond LISTED_LIMIT only the first ones, and a digest over all names, so that an approval covers exactly these.
    """
    lines = [f"- {item.name}  {item.size}  {item.modified:%Y-%m-%d %H:%M}" for item in objects[:LISTED_LIMIT]]
    if len(objects) > LISTED_LIMIT:
        digest = hashlib.sha256("\n".join(item.name for item in objects).encode()).hexdigest()[:12]
        lines.append(f"- … {len(objects) - LISTED_LIMIT} (sha256 {digest})")
    return "\n".join(lines)


@contextmanager
def ignore_errors(*codes: str) -> Iterator[None]:
    """Suppress ClientErrors with these codes: the resource does not exist."""
    try:
        yield
    except ClientError as error:
        if error_code(error) not in codes:
            raise


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translate_errors(what: str, *, writes: bool) -> Iterator[None]:
    """Translate boto3's errors into Refused and Unavailable; `what` names the attempted call."""
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
    """Return the error of a rejected call.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/CommonErrors.html
    """
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 400)
    why = f"{error_code(error)}: {error.response.get('Error', {}).get('Message', '')}"
    retry_after = 5.0 if error_code(error) in THROTTLING_CODES else None
    return http_error(SERVICE, what, status, why, retry_after=retry_after, writes=writes)


class Call(Protocol):
    """Makes a blocking call in a thread, with a deadline and translated errors."""

    async def __call__(self, what: str, action: Callable[[], T], *, writes: bool = False) -> T: ...


@dataclass(frozen=True, slots=True)
class UploadedObject:
    """An object's length in bytes and the SHA-256 of its content in hex."""

    size: int
    sha256: str


class Objects:
    """Reads and writes S3 objects. At most two parts are in memory; an object is visible only once it is complete."""

    def __init__(self, client: Callable[[str], Any], call: Call, part_size: int = PART_SIZE) -> None:
        self._client = client
        self._call = call
        self._part_size = part_size

    async def made_by(self, bucket: str, name: str) -> str | None:
        """Return the key of the step that wrote the object; "" if none of ours did, None if it does not exist."""

        def fetch() -> str | None:
            with ignore_errors("404", "NoSuchKey", "NotFound"):
                head = self._client("s3").head_object(Bucket=bucket, Key=name)
                return str((head.get("Metadata") or {}).get(TAG, ""))
            return None

        return await self._call("look at the object", fetch)

    async def write(self, bucket: str, name: str, pieces: AsyncIterator[bytes], key: str) -> UploadedObject:
        """Upload the stream. S3 verifies each part by SHA-256, and the complete object is read back and compared.

        An error raised by `pieces` is passed on; after an error or a cancellation nothing is left in the bucket. Raises
        WrongState for an empty stream, and when the object read back differs from what was sent (it is deleted then).
        """
        upload = await self._start(bucket, name, key)
        digest, size = hashlib.sha256(), 0
        parts: list[dict[str, Any]] = []
        try:
            async for part in _parts(pieces, self._part_size):
                size += len(part)
                parts.append(await self._send(upload, part, len(parts) + 1, digest.update))
            if not parts:
                raise WrongState("backup_empty", name=name)
            await self._complete(upload, parts)
        except BaseException:
            with suppress(BotError):
                await asyncio.shield(self._abort(upload))
            raise
        sent = UploadedObject(size, digest.hexdigest())
        if (stored := await self.read(bucket, name)) != sent:
            await self.delete(bucket, name)
            raise WrongState("backup_damaged", name=name, sent=sent.sha256, found=stored.sha256)
        return sent

    async def read(self, bucket: str, name: str) -> UploadedObject:
        """Read a whole object, part by part, and return its length and digest."""
        digest = hashlib.sha256()

        def read_part(start: int) -> int:
            """Digest one part and return the length of the whole object."""
            span = f"bytes={start}-{start + self._part_size - 1}"
            response = self._client("s3").get_object(Bucket=bucket, Key=name, Range=span)
            digest.update(response["Body"].read())
            return int(response["ContentRange"].rpartition("/")[2])

        at, size = 0, 1
        while at < size:
            size = await self._call("read the object", partial(read_part, at))
            at += self._part_size
        return UploadedObject(size, digest.hexdigest())

    async def delete(self, bucket: str, name: str) -> None:
        """Delete an object. Does nothing if it does not exist."""
        await self._call(
            "delete the object", lambda: self._client("s3").delete_object(Bucket=bucket, Key=name), writes=True
        )

    async def _start(self, bucket: str, name: str, key: str) -> dict[str, str]:
        address = {"Bucket": bucket, "Key": name}

        def start() -> str:
            response = self._client("s3").create_multipart_upload(
                **address, ChecksumAlgorithm="SHA256", Metadata={TAG: key}, ContentType="application/octet-stream"
            )
            return str(response["UploadId"])

        return {**address, "UploadId": await self._call("begin the upload", start, writes=True)}

    async def _send(
        self, upload: dict[str, str], part: bytes, number: int, on_part: Callable[[bytes], None]
    ) -> dict[str, Any]:
        def send() -> dict[str, Any]:
            on_part(part)
            checksum = base64.b64encode(hashlib.sha256(part).digest()).decode()
            response = self._client("s3").upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=checksum)
            return {"PartNumber": number, "ETag": response["ETag"], "ChecksumSHA256": checksum}

        return await self._call("write a part", send, writes=True)

    async def _complete(self, upload: dict[str, str], parts: list[dict[str, Any]]) -> None:
        def complete() -> None:
            self._client("s3").complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

        await self._call("complete the upload", complete, writes=True)

    async def _abort(self, upload: dict[str, str]) -> None:
        def abort() -> None:
            with ignore_errors("NoSuchUpload"):
                self._client("s3").abort_multipart_upload(**upload)

        await self._call("abort the upload", abort, writes=True)


async def _parts(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the same bytes in parts of exactly `size`; the last one is shorter."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= size:
            with memoryview(buffer) as view:
                part = bytes(view[:size])
            del buffer[:size]
            yield part
    if buffer:
        yield bytes(buffer)


def clients(
    region: str,
    endpoint_url: str | None = None,
    credentials: tuple[str, str] | None = None,
    timeout: float = 20.0,
) -> Callable[[str], Any]:
    """Return a function that returns boto3's client for a service name; each client is created on first use.

    `credentials` are the id and the secret of an access key; without them boto3's default lookup is used.
    """
    config = Config(connect_timeout=timeout / 2, read_timeout=timeout / 2, retries={"total_max_attempts": 1})
    cache: dict[str, Any] = {}
    lock = threading.Lock()

    def client(name: str) -> Any:
        with lock:
            if name not in cache:
                id, secret = credentials or (None, None)
                session = boto3.session.Session(id, secret, region_name=region)
                cache[name] = session.client(name, endpoint_url=endpoint_url, config=config)
            return cache[name]

    return client


class Aws:
    """One account in one region. `timeout` in seconds applies to each method as a whole.

    Methods raise Unavailable, and Refused with AWS's own message.
    """

    def __init__(self, client: Callable[[str], Any], timeout: float = 20.0) -> None:
        self._client = client
        self._timeout = timeout
        self.objects = Objects(client, self._call)

    async def database(self, name: str) -> Database | None:
        """Return the database, or None if it does not exist."""
        return await self._call("read the database", lambda: read_database(self._client("rds"), name))

    async def snapshot(self, name: str) -> Snapshot | None:
        """Return the snapshot, or None if it does not exist."""
        return await self._call("read the snapshot", lambda: read_snapshot(self._client("rds"), name))

    async def snapshot_being_taken(self, database: str) -> Snapshot | None:
        """Return the snapshot of a database that is being created, whoever takes it."""
        snapshots = await self._snapshots(database)
        return next((snapshot for snapshot in snapshots if snapshot.status == "creating"), None)

    async def newest_snapshot(self, database: str) -> Snapshot | None:
        """Return the newest complete snapshot of a database, whoever made it."""
        return _newest(await self._snapshots(database))

    async def newest_automated_snapshot(self, database: str) -> Snapshot | None:
        """Return the newest complete snapshot that RDS has made by itself, as its daily backup."""
        return _newest([snapshot for snapshot in await self._snapshots(database) if snapshot.automated])

    async def _snapshots(self, database: str) -> list[Snapshot]:
        def fetch() -> list[Snapshot]:
            pages = self._client("rds").get_paginator("describe_db_snapshots").paginate(DBInstanceIdentifier=database)
            return [parse_snapshot(raw) for page in pages for raw in page["DBSnapshots"]]

        return await self._call("read the snapshots", fetch)

    @effect("aws.rds_snapshot")
    async def make_snapshot(self, database: str, snapshot: str, key: str) -> None:
        """Start a snapshot. A snapshot of that name made by the same `key` counts as started.

        Raises Refused `snapshot_quota` at the account's limit.
        """

        def make() -> None:
            try:
                self._client("rds").create_db_snapshot(
                    DBInstanceIdentifier=database, DBSnapshotIdentifier=snapshot, Tags=[{"Key": TAG, "Value": key}]
                )
            except ClientError as error:
                if error_code(error) == "SnapshotQuotaExceeded":
                    raise Refused("snapshot_quota", service=SERVICE, database=database) from error
                # While ours is being taken, the database is no longer available for another.
                taken = error_code(error) in ("DBSnapshotAlreadyExists", "InvalidDBInstanceState")
                existing = read_snapshot(self._client("rds"), snapshot) if taken else None
                if existing is None or existing.made_by != key:
                    raise

        await self._call("make a snapshot", make, writes=True)

    @effect("aws.delete_snapshot")
    async def delete_snapshot(self, snapshot: str) -> None:
        """Delete a snapshot. Does nothing if it does not exist. Raises WrongState while it is being created."""

        def delete() -> None:
            existing = read_snapshot(self._client("rds"), snapshot)
            if existing and existing.status == "creating":  # RDS deletes none that is not complete
                raise WrongState("snapshot_creating", name=snapshot, percent=existing.percent)
            with ignore_errors("DBSnapshotNotFound", "DBSnapshotNotFoundFault"):
                self._client("rds").delete_db_snapshot(DBSnapshotIdentifier=snapshot)

        await self._call("delete the snapshot", delete, writes=True)

    @effect("aws.rds_restore")
    async def restore(self, snapshot: str, database: str, like: str, key: str) -> None:
        """Start restoring a snapshot into a new instance, in the network of the instance `like`.

        Never overwrites one.
        """

        def start() -> None:
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
                existing = (
                    read_database(rds, database) if error_code(error).startswith("DBInstanceAlreadyExists") else None
                )
                if existing is None or existing.made_by != key:
                    raise

        await self._call("restore the snapshot", start, writes=True)

    @effect("aws.delete_database")
    async def delete_database(self, database: str, key: str) -> None:
        """Delete an instance created by the same `key`, without a final snapshot. Raises WrongState for any other."""

        def delete() -> None:
            existing = read_database(self._client("rds"), database)
            if existing is None or existing.status == "deleting":
                return
            if existing.made_by != key:
                raise WrongState("not_made_here", name=database)
            with ignore_errors("DBInstanceNotFound", "DBInstanceNotFoundFault"):
                self._client("rds").delete_db_instance(
                    DBInstanceIdentifier=database, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
                )

        await self._call("delete the database", delete, writes=True)

    @effect("aws.rds_protect")
    async def protect(self, database: str) -> None:
        """Enable deletion protection for the instance."""

        def protect() -> None:
            self._client("rds").modify_db_instance(
                DBInstanceIdentifier=database, DeletionProtection=True, ApplyImmediately=True
            )

        await self._call("protect the database", protect, writes=True)

    @effect("aws.rds_failover")
    async def fail_over(self, database: str, zone: str) -> None:
        """Fail over to the standby in the other zone, if the database is still in `zone`."""

        def reboot() -> None:
            instance = read_database(self._client("rds"), database)
            if instance and instance.zone == zone and instance.status == "available":
                self._client("rds").reboot_db_instance(DBInstanceIdentifier=database, ForceFailover=True)

        await self._call("fail over", reboot, writes=True)

    async def list_objects(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Return all objects below a prefix, the newest first."""

        def fetch() -> list[StoredObject]:
            pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            objects = [
                StoredObject(raw["Key"], int(raw["Size"]), raw["LastModified"])
                for page in pages
                for raw in page.get("Contents") or ()
            ]
            return sorted(objects, key=lambda item: (item.modified, item.name), reverse=True)

        return await self._call("list the bucket", fetch)

    async def keeps_versions(self, bucket: str) -> bool | None:
        """Return True if what is deleted from a bucket stays there as an earlier version; None if that may not be read.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
        """

        def fetch() -> bool | None:
            with ignore_errors("AccessDenied"):
                return bool(self._client("s3").get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled")
            return None

        return await self._call("read the bucket's versioning", fetch)

    @effect("aws.s3_prune", hidden=("objects",))
    async def prune(
        self,
        bucket: str,
        prefix: str,
        count: int,
        size: int,
        kept: int,
        versioned: bool | None,
        objects: Sequence[StoredObject],
        dry_run: bool = False,
    ) -> str | None:
        """Delete exactly these objects. In a dry run, return the list of them.

        What S3 refuses holds nothing else up: it is told in the end, by WrongState `objects_kept`.
        """
        if dry_run:
            return format_list(objects)

        def delete() -> None:
            refused: list[dict[str, Any]] = []
            for start in range(0, len(objects), DELETE_BATCH):
                batch = [{"Key": item.name} for item in objects[start : start + DELETE_BATCH]]
                response = self._client("s3").delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                refused += response.get("Errors") or ()
            if refused:
                first = refused[0]
                facts = {"first": first.get("Key"), "why": first.get("Message") or first.get("Code")}
                raise WrongState(
                    "objects_kept", bucket=bucket, count=len(refused), deleted=len(objects) - len(refused), **facts
                )

        await self._call("delete from the bucket", delete, writes=True)
        return None

    async def check(self) -> str:
        """Check the credentials, read-only. Returns whose they are, for the doctor."""

        def fetch() -> str:
            caller = self._client("sts").get_caller_identity()
            return f"{caller['Arn']} in {self._client('rds').meta.region_name}"

        return await self._call("check", fetch)

    async def _call(self, what: str, action: Callable[[], T], *, writes: bool = False) -> T:
        def run() -> T:
            with translate_errors(what, writes=writes):
                return action()

        return await in_thread(run, deadline=self._timeout + GRACE_SECONDS, service=SERVICE)
