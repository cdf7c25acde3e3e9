"""The account's state. moto keeps it in the process: one account at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client, TestResponse

from sandbox.aws.account import ACCOUNT, REGION
from sandbox.clock import Clock

PRODUCTION, STAGING = "tamv-prod-postgres", "tamv-staging-postgres"
BUCKET, PREFIX = "tamv-backups-prod", "database/"
BACKUPS = 45  # one a day, the newest of this night

SNAPSHOT_TAKES = timedelta(minutes=4)
RESTORE_TAKES = timedelta(minutes=20)
FAILOVER_TAKES = timedelta(seconds=90)

_RESTORABLE = re.compile(rb"(?<=<LatestRestorableTime>)[^<]*")


class Aws:
    """RDS and S3 of one account. What is begun is complete after a time of the world.

    `stuck` keeps what is begun as it is; `breaks` lets it end in that state instead of `available`.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stuck = False
        self.breaks: str | None = None
        self._due: list[tuple[datetime, Callable[[], None]]] = []
        self._client = Client(DomainDispatcherApplication(create_backend_app), use_cookies=False)
        self._client.post("/moto-api/reset", base_url="http://moto")
        self._plant()

    @property
    def rds(self) -> Any:
        return get_backend("rds")[ACCOUNT][REGION]

    @property
    def objects(self) -> Any:
        """The objects of the bucket by their keys."""
        return get_backend("s3")[ACCOUNT]["aws"].buckets[BUCKET].keys

    @property
    def unfinished(self) -> list[str]:
        """The keys of uploads in parts that nobody has completed or given up."""
        return [str(one.key_name) for one in get_backend("s3")[ACCOUNT]["aws"].buckets[BUCKET].multiparts.values()]

    def call(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> TestResponse:
        """An answer of moto's; what is due before it is complete, and what it begins takes its time."""
        self.settle()
        answer = self._client.open(path, method=method, query_string=query, headers=headers, data=body)
        answer.set_data(_RESTORABLE.sub(self._restorable_until().encode(), answer.get_data()))
        if answer.status_code == 200 and body.startswith(b"Action="):
            asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            self._begun(asked)
        return answer

    def settle(self) -> None:
        """Complete what is due."""
        if self.stuck:
            return
        now = self.clock.now()
        due = [do for at, do in self._due if at <= now]
        self._due = [one for one in self._due if one[0] > now]
        for do in due:
            do()

    def _restorable_until(self) -> str:
        """RDS saves the transaction log every five minutes (moto says: at this moment, by the machine's clock)."""
        now = self.clock.now()
        return f"{now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0):%Y-%m-%dT%H:%M:%SZ}"

    def put_backup(self, name: str, size: int, modified: datetime) -> None:
        """A backup that was made then."""
        get_backend("s3")[ACCOUNT]["aws"].put_object(BUCKET, f"{PREFIX}{name}", b"x" * size)
        self.objects[f"{PREFIX}{name}"].last_modified = modified.replace(tzinfo=None)

    def _begun(self, asked: dict[str, str]) -> None:
        rds, now = self.rds, self.clock.now()
        match asked["Action"]:
            case "CreateDBSnapshot":
                snapshot = rds.database_snapshots[asked["DBSnapshotIdentifier"]]
                self._changing(snapshot, "creating", now + SNAPSHOT_TAKES)
            case "RestoreDBInstanceFromDBSnapshot":
                self._changing(rds.databases[asked["DBInstanceIdentifier"]], "creating", now + RESTORE_TAKES)
            case "RebootDBInstance":
                database = rds.databases[asked["DBInstanceIdentifier"]]
                self._changing(database, "rebooting", now + FAILOVER_TAKES)
                if asked.get("ForceFailover") == "true" and database.multi_az:
                    self._due.append((now + FAILOVER_TAKES, lambda: _other_zone(database)))

    def _changing(self, thing: Any, meanwhile: str, until: datetime) -> None:
        thing.status = meanwhile

        def complete() -> None:
            thing.status = self.breaks or "available"

        self._due.append((until, complete))

    def _plant(self) -> None:
        rds, now = self.rds, self.clock.now()
        for name, multi_az in ((PRODUCTION, True), (STAGING, False)):
            rds.create_db_instance(
                {
                    "db_instance_identifier": name,
                    "db_instance_class": "db.r6g.xlarge" if multi_az else "db.t4g.medium",
                    "engine": "postgres",
                    "allocated_storage": 500 if multi_az else 50,
                    "master_username": "tamv",
                    "master_user_password": "sandbox-password",
                    "multi_az": multi_az,
                    "availability_zone": f"{REGION}a",
                    "storage_type": "gp3",
                }
            )
        night = now.replace(hour=3, minute=5, second=0, microsecond=0)
        night -= timedelta(days=night > now)
        for database in (PRODUCTION, STAGING):
            rds.create_db_snapshot(database, f"{database}-{night:%Y%m%d}", "automated")
        get_backend("s3")[ACCOUNT]["aws"].create_bucket(BUCKET, REGION)
        for days in range(BACKUPS):
            made = night - timedelta(days=days)
            self.put_backup(f"tamv_backup_{made:%Y%m%d_%H%M%S}.sql.gz", 2048 + days, made)


def _other_zone(database: Any) -> None:
    database.availability_zone = f"{REGION}b" if database.availability_zone.endswith("a") else f"{REGION}a"
