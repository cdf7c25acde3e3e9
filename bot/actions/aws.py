"""`aws.*`: database snapshots and restores, failover, pruning of backups. Names are those of the team file."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.times import Duration
from bot.names import DatabaseName, SnapshotName
from bot.team import Backups

if TYPE_CHECKING:
    from bot.integrations.aws import Database, StoredObject

POLL_SECONDS = 15.0  # seconds of the bot's clock
# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html
SNAPSHOT_STATES = ("available", "storage-optimization")
FAILED_STATUS = re.compile(r"fail|incompatible|inaccessible|full|restore-error")


@dataclass(frozen=True, slots=True)
class Snapshotted:
    database: str
    snapshot: str
    status: str


@dataclass(frozen=True, slots=True)
class Restored:
    """`address` is the new instance's endpoint; empty in a dry run."""

    snapshot: str
    database: str
    address: str
    step: str


@dataclass(frozen=True, slots=True)
class Protected:
    database: str


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """`restorable_until`: a restore now would lose everything newer than this."""

    name: str
    status: str
    engine: str
    size: str
    multi_az: bool
    zone: str | None
    newest_snapshot: str | None
    snapshot_at: datetime | None
    restorable_until: datetime | None


@dataclass(frozen=True, slots=True)
class FailedOver:
    """The zones before and after; equal in a dry run."""

    database: str
    before: str
    zone: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """Numbers of deleted and kept objects, and the deleted bytes. Objects older than `cutoff` were deleted.

    With `versioned`, the bucket keeps them as earlier versions; None: not known.
    """

    backups: str
    deleted: int
    size: int
    kept: int
    cutoff: datetime
    versioned: bool | None = None


@action("aws.rds_status", risk=Risk.READ, example="/ops rds_status tamv-prod-postgres")
async def rds_status(ctx: Context, database: str | None = None) -> DatabaseStatus:
    """Show the status of a database and its newest snapshot."""
    instance = await require_database(ctx, database_name(ctx, database))
    newest = await ctx.aws.newest_snapshot(instance.name)
    return DatabaseStatus(
        instance.name,
        instance.status,
        instance.engine,
        instance.size,
        instance.multi_az,
        instance.zone,
        newest.name if newest else None,
        newest.at if newest else None,
        instance.restorable_until,
    )


@action(
    "aws.rds_snapshot", risk=Risk.CHANGE, target="database/{database}", example="/ops rds_snapshot tamv-prod-postgres"
)
async def rds_snapshot(ctx: Context, database: str | None = None, within: Duration = timedelta(hours=1)) -> Snapshotted:
    """Take a snapshot of a database and wait until it is complete."""
    instance = await require_database(ctx, database_name(ctx, database))
    name = instance.name
    snapshot = f"{name}-{re.sub('[^a-z0-9]+', '-', ctx.key.lower())}"[:200].strip("-")
    if instance.status not in SNAPSHOT_STATES and await ctx.aws.snapshot(snapshot) is None:
        other = await ctx.aws.snapshot_being_taken(name)
        progress = {"snapshot": other.name, "percent": other.percent} if other else {}
        raise WrongState("database_busy", name=name, state=instance.status, **progress)
    await ctx.aws.make_snapshot(name, snapshot, ctx.key)
    if ctx.dry_run:
        return Snapshotted(name, snapshot, "")

    async def complete() -> str | None:
        taken = await ctx.aws.snapshot(snapshot)
        return status_if_available(snapshot, taken.status if taken else "gone")

    return Snapshotted(name, snapshot, await wait_until(ctx, snapshot, within, complete))


@undo(rds_snapshot, risk=Risk.DESTRUCTIVE)
async def delete_snapshot(ctx: Context, done: Snapshotted) -> Snapshotted:
    """Delete the snapshot, once it is complete."""
    await ctx.aws.delete_snapshot(done.snapshot)
    return done


@action(
    "aws.rds_restore",
    risk=Risk.DESTRUCTIVE,
    target="database/{into}",
    example="/ops rds_restore tamv-snapshot-20251231 tamv-restore-temp",
)
async def rds_restore(
    ctx: Context, snapshot: SnapshotName, into: DatabaseName, within: Duration = timedelta(hours=3)
) -> Restored:
    """Restore a snapshot into a new instance and wait for it; never overwrites an existing one."""
    source = await ctx.aws.snapshot(snapshot)
    if source is None:
        raise NotFound("no_such_snapshot", snapshot=snapshot)
    like = database_name(ctx, source.database)
    if source.status != "available":
        raise WrongState("database_state", name=snapshot, state=source.status)
    existing = await ctx.aws.database(into)
    if into in ctx.team.databases or (existing and existing.made_by != ctx.key):
        raise WrongState("database_exists", name=into)
    if existing is None:
        await ctx.aws.restore(snapshot, into, like, ctx.key)
    if ctx.dry_run:
        return Restored(snapshot, into, "", ctx.key)

    async def ready() -> str | None:
        instance = await ctx.aws.database(into)
        return (instance.address or "") if instance and status_if_available(into, instance.status) else None

    return Restored(snapshot, into, await wait_until(ctx, into, within, ready), ctx.key)


@undo(rds_restore)
async def delete_restored(ctx: Context, done: Restored) -> Restored:
    """Delete the restored instance."""
    if done.database in ctx.team.databases:
        raise WrongState("database_exists", name=done.database)
    await ctx.aws.delete_database(done.database, done.step)
    return done


@action(
    "aws.rds_protect", risk=Risk.CHANGE, target="database/{database}", example="/ops rds_protect tamv-prod-postgres"
)
async def rds_protect(ctx: Context, database: DatabaseName) -> Protected:
    """Enable deletion protection for an instance; afterwards RDS refuses every deletion, also that of an undo."""
    instance = await require_database(ctx, database)
    await ctx.aws.protect(instance.name)
    return Protected(instance.name)


@action(
    "aws.rds_failover",
    risk=Risk.DESTRUCTIVE,
    target="database/{database}",
    example="/ops rds_failover tamv-prod-postgres",
)
async def rds_failover(
    ctx: Context, database: str | None = None, within: Duration = timedelta(minutes=15)
) -> FailedOver:
    """Fail over to the standby in the other zone; connections break for a minute or two."""
    instance = await require_database(ctx, database_name(ctx, database))
    if not instance.multi_az or instance.zone is None:
        raise WrongState("not_multi_az", name=instance.name)
    if ctx.dry_run and instance.status != "available":
        raise WrongState("database_state", name=instance.name, state=instance.status)
    before = str(ctx.planned.get("before", instance.zone))
    if instance.zone == before:
        await ctx.aws.fail_over(instance.name, before)
    if ctx.dry_run:
        return FailedOver(instance.name, before, before)

    async def elsewhere() -> str | None:
        current = await require_database(ctx, instance.name)
        return current.zone if current.zone != before and status_if_available(current.name, current.status) else None

    return FailedOver(instance.name, before, await wait_until(ctx, instance.name, within, elsewhere))


@action(
    "aws.s3_prune", risk=Risk.DESTRUCTIVE, target="backups/{backups}", example="/ops s3_prune database older_than=30d"
)
async def s3_prune(ctx: Context, backups: str, older_than: Duration = timedelta(days=30)) -> Pruned:
    """Delete backups above an age; the newest ones always stay, and all of them if the last backup failed."""
    target = backups_of(ctx, backups)
    planned_cutoff = ctx.planned.get("cutoff")
    cutoff = datetime.fromisoformat(planned_cutoff) if planned_cutoff else ctx.clock.now() - older_than
    objects = await ctx.aws.list_objects(target.bucket, target.prefix)
    _require_recent_backup(ctx, backups, target, objects)
    to_delete = [item for item in objects[target.keep :] if item.modified < cutoff]
    size, kept = sum(item.size for item in to_delete), len(objects) - len(to_delete)
    versioned = await ctx.aws.keeps_versions(target.bucket)
    if to_delete:
        await ctx.aws.prune(target.bucket, target.prefix, len(to_delete), size, kept, versioned, to_delete)
    return Pruned(backups, len(to_delete), size, kept, cutoff, versioned)


def _require_recent_backup(ctx: Context, name: str, backups: Backups, objects: list[StoredObject]) -> None:
    """Raise WrongState if the newest backup is too old or empty: it failed, and the old ones are still needed."""
    newest = objects[0] if objects else None
    if newest is None or not newest.size or ctx.clock.now() - newest.modified > backups.fresh:
        raise WrongState("backup_missing", name=name, newest=newest.modified.isoformat() if newest else None)


def database_name(ctx: Context, name: str | None) -> str:
    """Return a database of the team file, by default the first of this environment. Raises BadInput."""
    databases = ctx.team.databases
    name = name or ctx.team.database_of(ctx.environment)
    if name is None or name not in databases:
        raise BadInput("unknown_database", name=name, nearest=nearest(name or "", databases), known=sorted(databases))
    return name


def backups_of(ctx: Context, name: str) -> Backups:
    """Return a backup location of the team file. Raises BadInput."""
    configured = ctx.team.backups
    if name not in configured:
        raise BadInput("unknown_backups", name=name, nearest=nearest(name, configured), known=sorted(configured))
    return configured[name]


async def require_database(ctx: Context, name: str) -> Database:
    """Return a database. Raises NotFound if RDS has none of this name."""
    database = await ctx.aws.database(name)
    if database is None:
        raise NotFound("no_such_database", name=name)
    return database


def status_if_available(name: str, status: str) -> str | None:
    """Return the status once it is `available`, None before. Raises WrongState if it never will be."""
    if status == "gone" or FAILED_STATUS.search(status):
        raise WrongState("database_state", name=name, state=status)
    return status if status == "available" else None


async def wait_until(ctx: Context, name: str, within: timedelta, check: Callable[[], Awaitable[str | None]]) -> str:
    """Return what `check` answers once it answers. Raises WrongState when the time since the step began is over."""
    until = ctx.began + within
    while (outcome := await check()) is None:
        if ctx.clock.now() >= until:
            raise WrongState("database_slow", name=name, seconds=within.total_seconds())
        await ctx.clock.sleep(POLL_SECONDS)
    return outcome
