"""What comes from AWS: databases, snapshots, objects, and what its mistakes mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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

from bot.domain.errors import BotError, Refused, Unavailable
from bot.integrations.failures import http_error, invalid_response

SERVICE = "AWS"
TAG = "tamv-bot"  # whose step made a thing
MOST_SHOWN = 200
SLOW_DOWN = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException"}
)


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
