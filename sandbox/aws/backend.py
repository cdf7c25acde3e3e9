"""The account's databases and backups, and AWS over HTTP. moto keeps them in the process: one account at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from werkzeug.test import Client
from werkzeug.wrappers import Response as Answer

from sandbox.aws import ACCOUNT, REGION
from sandbox.clock import Clock

PRODUCTION, STAGING = "tamv-prod-postgres", "tamv-staging-postgres"
BUCKET, PREFIX = "tamv-backups-prod", "database/"
DUMP_BYTES = 2048
BACKUPS = 45  # one a day, the newest of this night
SNAPSHOT_TAKES = timedelta(minutes=4)
RESTORE_TAKES = timedelta(minutes=9)
DELETE_TAKES = timedelta(minutes=4)
FAILOVER_TAKES = timedelta(seconds=90)
NIGHTLY = time(3, 5)  # UTC: in the backup window of both databases
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]
_MAINTENANCE = re.compile(rb"(?<=<PreferredMaintenanceWindow>)[^<]*")
_RESTORABLE = re.compile(rb"(?<=<LatestRestorableTime>)[^<]*")


def routes(aws: Aws) -> list[BaseRoute]:
    """Return the route for every service, as `AWS_ENDPOINT_URL` has it. moto serves one request at a time."""
    lock = asyncio.Lock()

    async def any_service(request: Request) -> Response:
        body = await request.body()
        path = f"/{request.path_params['path']}"
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        async with lock:
            answer = await asyncio.to_thread(aws.call, request.method, path, request.url.query, headers, body)
        kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        if request.method == "HEAD" and "Content-Length" in answer.headers:
            kept["Content-Length"] = answer.headers["Content-Length"]
        return Response(answer.get_data(), answer.status_code, kept)

    return [Route("/{path:path}", any_service, methods=METHODS)]


class Aws:
    """RDS and S3 of one account. What is started completes after some time of the world, and backups are made nightly.

    While `stuck`, nothing completes; `breaks` is the state it ends in instead of `available`. `backs_up` is when of
    the day RDS makes its backups and the team its dump, None never; `restore_takes` grows with a database.
    `maintenance` is the window of all databases: moto refuses one that begins when the backup window ends.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stuck = False
        self.breaks: str | None = None
        self.backs_up: time | None = NIGHTLY
        self.restore_takes = RESTORE_TAKES
        self.maintenance = "sun:04:00-sun:05:00"
        self._due: list[tuple[datetime, Callable[[], None]]] = []
        self._client = Client(DomainDispatcherApplication(create_backend_app), use_cookies=False)
        self._client.post("/moto-api/reset", base_url="http://moto")
        self._seed()

    @property
    def rds(self) -> Any:
        return get_backend("rds")[ACCOUNT][REGION]

    @property
    def objects(self) -> Any:
        """The objects of the bucket by their keys."""
        return get_backend("s3")[ACCOUNT]["aws"].buckets[BUCKET].keys

    @property
    def unfinished(self) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        return [
            str(upload.key_name) for upload in get_backend("s3")[ACCOUNT]["aws"].buckets[BUCKET].multiparts.values()
        ]

    def call(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Answer:
        """Return moto's response, after completing what is due; what the call starts takes its time.

        What RDS refuses in a state in between is refused here, as moto knows no such states.
        """
        self.settle()
        self._back_up()
        refusal = self._refusal(body)
        if refusal is not None:
            return refusal
        before = dict(self.rds.databases)
        answer = self._client.open(path, method=method, query_string=query, headers=headers, data=body)
        for name in before.keys() - self.rds.databases.keys():
            self._delete_later(name, before[name])
        for pattern, value in ((_RESTORABLE, self._restorable_until()), (_MAINTENANCE, self.maintenance)):
            answer.set_data(pattern.sub(value.encode(), answer.get_data()))
        if answer.status_code == 200 and body.startswith(b"Action="):
            self._start({name: values[0] for name, values in parse_qs(body.decode()).items()})
        return answer

    def _refusal(self, body: bytes) -> Answer | None:
        """Return RDS's refusal of a call that the state of a database or a snapshot does not allow.

        Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBSnapshot.html
        """
        parameters = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        match parameters.get("Action"):
            case "CreateDBSnapshot" | "RebootDBInstance":
                database = self.rds.databases.get(parameters.get("DBInstanceIdentifier"))
                if database and database.status not in ("available", "storage-optimization"):
                    message = f"Cannot perform this because {database.db_instance_identifier} is {database.status}."
                    return _error("InvalidDBInstanceState", message)
            case "DeleteDBInstance":
                database = self.rds.databases.get(parameters.get("DBInstanceIdentifier"))
                if database and database.status == "deleting":
                    return _error("InvalidDBInstanceState", "The instance is already being deleted.")
            case "DeleteDBSnapshot":
                snapshot = self.rds.database_snapshots.get(parameters.get("DBSnapshotIdentifier"))
                if snapshot and snapshot.status == "creating":
                    return _error("InvalidDBSnapshotState", "The snapshot must be available to be deleted.")
        return None

    def settle(self) -> None:
        """Complete what is due."""
        if self.stuck:
            return
        now = self.clock.now()
        due = [do for at, do in self._due if at <= now]
        self._due = [(at, do) for at, do in self._due if at > now]
        for do in due:
            do()

    def _moto_now(self) -> datetime:
        """Return the world's time as moto keeps it: UTC without saying so."""
        return self.clock.now().replace(tzinfo=None)

    def _restorable_until(self) -> str:
        """RDS saves the transaction log every five minutes; moto answers the machine's time."""
        now = self.clock.now()
        return f"{now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0):%Y-%m-%dT%H:%M:%SZ}"

    def put_backup(self, name: str, size: int, modified: datetime) -> None:
        """Add a backup."""
        get_backend("s3")[ACCOUNT]["aws"].put_object(BUCKET, f"{PREFIX}{name}", b"x" * size)
        self.objects[f"{PREFIX}{name}"].last_modified = modified.replace(tzinfo=None)

    def _dump(self, night: datetime, size: int) -> None:
        self.put_backup(f"tamv_backup_{night:%Y%m%d_%H%M%S}.sql.gz", size, night)

    def _back_up(self) -> None:
        """Make RDS's automated backups and the team's dumps that are due; delete those of RDS that are kept no longer.

        Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html
        """
        if self.backs_up is None:
            return
        rds, now = self.rds, self._moto_now()
        night = datetime.combine(now.date(), self.backs_up)
        night -= timedelta(days=night > now)
        while self._dumped < night:
            self._dumped += timedelta(days=1)
            self._dump(self._dumped, DUMP_BYTES)
        for name, database in list(rds.databases.items()):
            backup = f"rds:{name}-{night:%Y-%m-%d-%H-%M}"
            if database.backup_retention_period and database.created < night and backup not in rds.database_snapshots:
                made = rds.create_db_snapshot(name, backup, "automated")
                made.created = made.original_snapshot_create_time = night
            for id, kept in list(rds.database_snapshots.items()):
                over = night - timedelta(days=database.backup_retention_period)
                if kept.snapshot_type == "automated" and kept.db_instance_identifier == name and kept.created < over:
                    del rds.database_snapshots[id]

    def _start(self, parameters: dict[str, str]) -> None:
        rds, now = self.rds, self.clock.now()
        match parameters["Action"]:
            case "CreateDBSnapshot":
                snapshot = rds.database_snapshots[parameters["DBSnapshotIdentifier"]]
                snapshot.created = self._moto_now()
                self._complete_later(snapshot, "creating", now + SNAPSHOT_TAKES)
                database = rds.databases[parameters["DBInstanceIdentifier"]]
                database.status = "backing-up"
                self._due.append((now + SNAPSHOT_TAKES, lambda: _available(database)))
            case "RestoreDBInstanceFromDBSnapshot":
                restored = rds.databases[parameters["DBInstanceIdentifier"]]
                restored.created = self._moto_now()
                self._complete_later(restored, "creating", now + self.restore_takes)
            case "RebootDBInstance":
                database = rds.databases[parameters["DBInstanceIdentifier"]]
                self._complete_later(database, "rebooting", now + FAILOVER_TAKES)
                if parameters.get("ForceFailover") == "true" and database.multi_az:
                    self._due.append((now + FAILOVER_TAKES, lambda: _other_zone(database)))

    def _complete_later(self, resource: Any, meanwhile: str, until: datetime) -> None:
        resource.status = meanwhile

        def complete() -> None:
            if resource.status == meanwhile:
                resource.status = self.breaks or "available"

        self._due.append((until, complete))

    def _delete_later(self, name: str, database: Any) -> None:
        """Let a deleted instance be there for a while, as `deleting`."""
        databases = self.rds.databases
        databases[name] = database
        self._due.append((self.clock.now() + DELETE_TAKES, lambda: databases.pop(name, None)))

    def _seed(self) -> None:
        rds, now = self.rds, self._moto_now()
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
                    "backup_retention_period": 30 if multi_az else 7,
                    "preferred_backup_window": "03:00-04:00",
                }
            )
            rds.databases[name].created = now - timedelta(days=400)
        rds.database_snapshots.clear()  # moto's of the moment: the databases are older than the sandbox
        get_backend("s3")[ACCOUNT]["aws"].create_bucket(BUCKET, REGION)
        self._dumped = datetime.combine(now.date(), NIGHTLY)
        self._dumped -= timedelta(days=self._dumped > now)
        for days in range(BACKUPS):
            self._dump(self._dumped - timedelta(days=days), DUMP_BYTES + days)
        self._back_up()


def _available(database: Any) -> None:
    database.status = "available"


def _error(code: str, message: str) -> Answer:
    """Return an error as RDS's query API has it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(f"<ErrorResponse>{error}</ErrorResponse>", 400, mimetype="text/xml")


def _other_zone(database: Any) -> None:
    database.availability_zone = f"{REGION}b" if database.availability_zone.endswith("a") else f"{REGION}a"
