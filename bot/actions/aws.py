"""`aws.*`: snapshots and restores of databases, the failover, and old backups. Names stand in the team's file."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.team import Backups, Duration

if TYPE_CHECKING:
    from bot.integrations.aws import Database, StoredObject

POLL_SECONDS = 15.0  # seconds of the world
BROKEN = re.compile(r"fail|incompatible|inaccessible|full|restore-error")

Identifier = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9]|-[a-z0-9]){0,62}$")]


@dataclass(frozen=True, slots=True)
class Snapshotted:
    database: str
    snapshot: str
    status: str


@dataclass(frozen=True, slots=True)
class Restored:
    """`address` is where the new instance is reached; empty in a rehearsal."""

    snapshot: str
    database: str
    address: str
    step: str


@dataclass(frozen=True, slots=True)
class Protected:
    database: str


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """`restorable_until`: what is newer than that would be lost if it had to be restored now."""

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
    """The zones before and after; the same in a rehearsal."""

    database: str
    before: str
    zone: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many objects and bytes were deleted, and how many stay. `cutoff` is the age at which it was looked."""

    backups: str
    deleted: int
    size: int
    kept: int
    cutoff: datetime


@action("aws.rds_status", risk=Risk.READ, example="/ops rds_status tamv-prod-postgres")
async def rds_status(ctx: Context, database: str | None = None) -> DatabaseStatus:
    """How a database stands, and its newest snapshot."""
    there = await _require_exists(ctx, _database(ctx, database))
    newest = await ctx.aws.newest_snapshot(there.name)
    return DatabaseStatus(
        there.name,
        there.status,
        there.engine,
        there.size,
        there.multi_az,
        there.zone,
        newest.name if newest else None,
        newest.at if newest else None,
        there.restorable_until,
    )


@action(
    "aws.rds_snapshot", risk=Risk.CHANGE, target="database/{database}", example="/ops rds_snapshot tamv-prod-postgres"
)
async def rds_snapshot(ctx: Context, database: str | None = None, within: Duration = timedelta(hours=1)) -> Snapshotted:
    """Take a snapshot of a database and wait until it is complete."""
    name = (await _require_exists(ctx, _database(ctx, database))).name
    snapshot = f"{name}-{re.sub('[^a-z0-9]+', '-', ctx.key.lower())}"[:200].strip("-")
    await ctx.aws.make_snapshot(name, snapshot, ctx.key)
    if ctx.dry_run:
        return Snapshotted(name, snapshot, "")

    async def complete() -> str | None:
        made = await ctx.aws.snapshot(snapshot)
        return _settled(snapshot, made.status if made else "gone")

    return Snapshotted(name, snapshot, await _wait(ctx, snapshot, within, complete))


@undo(rds_snapshot)
async def delete_snapshot(ctx: Context, done: Snapshotted) -> Snapshotted:
    """Delete the snapshot."""
    await ctx.aws.delete_snapshot(done.snapshot)
    return done


@action(
    "aws.rds_restore",
    risk=Risk.DESTRUCTIVE,
    target="database/{into}",
    example="/ops rds_restore tamv-snapshot-20251231 tamv-restore-temp",
)
async def rds_restore(
    ctx: Context, snapshot: Identifier, into: Identifier, within: Duration = timedelta(hours=3)
) -> Restored:
    """Restore a snapshot into a new instance and wait for it; never over one that exists."""
    current = await ctx.aws.snapshot(snapshot)
    if current is None:
        raise NotFound("no_such_snapshot", snapshot=snapshot)
    like = _database(ctx, current.database)
    if current.status != "available":
        raise WrongState("database_state", name=snapshot, state=current.status)
    there = await ctx.aws.database(into)
    if into in ctx.team.databases or (there and there.made_by != ctx.key):
        raise WrongState("database_exists", name=into)
    if there is None:
        await ctx.aws.restore(snapshot, into, like, ctx.key)
    if ctx.dry_run:
        return Restored(snapshot, into, "", ctx.key)

    async def ready() -> str | None:
        made = await ctx.aws.database(into)
        return (made.address or "") if made and _settled(into, made.status) else None

    return Restored(snapshot, into, await _wait(ctx, into, within, ready), ctx.key)


@undo(rds_restore)
async def delete_restored(ctx: Context, done: Restored) -> Restored:
    """Delete the instance that was made."""
    if done.database in ctx.team.databases:
        raise WrongState("database_exists", name=done.database)
    await ctx.aws.delete_database(done.database, done.step)
    return done


@action("aws.rds_protect", risk=Risk.CHANGE, target="database/{database}")
async def rds_protect(ctx: Context, database: Identifier) -> Protected:
    """Let nobody delete an instance by mistake; RDS refuses it from then on, an undo's too."""
    there = await _require_exists(ctx, database)
    await ctx.aws.protect(there.name)
    return Protected(there.name)


@action("aws.rds_failover", risk=Risk.DESTRUCTIVE, target="database/{database}")
async def rds_failover(
    ctx: Context, database: str | None = None, within: Duration = timedelta(minutes=15)
) -> FailedOver:
    """Let the standby in the other zone take over; connections break for a minute or two."""
    there = await _require_exists(ctx, _database(ctx, database))
    if not there.multi_az or there.zone is None:
        raise WrongState("not_multi_az", name=there.name)
    before = str(ctx.planned.get("before", there.zone))
    if there.zone == before:
        await ctx.aws.fail_over(there.name, before)
    if ctx.dry_run:
        return FailedOver(there.name, before, before)

    async def elsewhere() -> str | None:
        now = await _require_exists(ctx, there.name)
        return now.zone if now.zone != before and _settled(now.name, now.status) else None

    return FailedOver(there.name, before, await _wait(ctx, there.name, within, elsewhere))


@action(
    "aws.s3_prune", risk=Risk.DESTRUCTIVE, target="backups/{backups}", example="/ops s3_prune database older_than=30d"
)
async def s3_prune(ctx: Context, backups: str, older_than: Duration = timedelta(days=30)) -> Pruned:
    """Delete backups of more than an age; the newest stay whatever their age, and all while the last one failed."""
    target = backups_of(ctx, backups)
    foreseen = ctx.planned.get("cutoff")
    cutoff = datetime.fromisoformat(foreseen) if foreseen else ctx.clock.now() - older_than
    stored_objects = await ctx.aws.stored(target.bucket, target.prefix)
    _fresh(ctx, backups, target, stored_objects)
    doomed = [stored_object for stored_object in stored_objects[target.keep :] if stored_object.modified < cutoff]
    size, kept = sum(stored_object.size for stored_object in doomed), len(stored_objects) - len(doomed)
    if doomed:
        await ctx.aws.prune(target.bucket, target.prefix, len(doomed), size, kept, doomed)
    return Pruned(backups, len(doomed), size, kept, cutoff)


def _fresh(ctx: Context, name: str, backups: Backups, stored_objects: list[StoredObject]) -> None:
    """Raises WrongState when the newest backup is too old or empty: it failed, and the old ones are all there is."""
    newest = stored_objects[0] if stored_objects else None
    if newest is None or not newest.size or ctx.clock.now() - newest.modified > backups.fresh:
        raise WrongState("backup_missing", name=name, newest=newest.modified.isoformat() if newest else None)


def _database(ctx: Context, name: str | None) -> str:
    """A database of the team's file; the first of this environment without a name. Raises BadInput."""
    databases = ctx.team.databases
    if name is None:
        name = next((database for database, environment in databases.items() if environment == ctx.environment), None)
    if name is None or name not in databases:
        raise BadInput("unknown_database", name=name, nearest=nearest(name or "", databases), known=sorted(databases))
    return name


def backups_of(ctx: Context, name: str) -> Backups:
    """Backups of the team's file. Raises BadInput."""
    configured = ctx.team.backups
    if name not in configured:
        raise BadInput("unknown_backups", name=name, nearest=nearest(name, configured), known=sorted(configured))
    return configured[name]


async def _require_exists(ctx: Context, name: str) -> Database:
    database = await ctx.aws.database(name)
    if database is None:
        raise NotFound("no_such_database", name=name)
    return database


def _settled(name: str, status: str) -> str | None:
    """The status when it is `available`, None while it is on its way. Raises WrongState when it never will be."""
    if status == "gone" or BROKEN.search(status):
        raise WrongState("database_state", name=name, state=status)
    return status if status == "available" else None


async def _wait(ctx: Context, name: str, within: timedelta, look: Callable[[], Awaitable[str | None]]) -> str:
    until = ctx.began + within
    while (outcome := await look()) is None:
        if ctx.clock.now() >= until:
            raise WrongState("database_slow", name=name, seconds=within.total_seconds())
        await ctx.clock.sleep(POLL_SECONDS)
    return outcome
