"""`aws.backups`, and the proof of a restore: into a temporary instance, checked, timed, and deleted."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import AwareDatetime

from bot.actions.aws import database_name, require_database, status_if_available, wait_until
from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.deps import Deps
from bot.domain.backup import (
    Aspect,
    Check,
    FoundBackups,
    Proof,
    StoredDump,
    WantedBackups,
    WantedDumps,
    check_database,
    check_dumps,
    check_proof,
)
from bot.domain.errors import BotError, NotFound, WrongState
from bot.domain.policy import Risk
from bot.domain.run import Run, RunState, StepState
from bot.domain.times import Duration
from bot.names import SnapshotName
from bot.team import Database

if TYPE_CHECKING:
    from bot.integrations.aws import Aws

log = logging.getLogger(__name__)

PROOF = "aws.rds_proof"


@dataclass(frozen=True, slots=True)
class BackupChecks:
    """Each thing that the team's file asks of its backups, with what it is. `wrong` and `unknown` count them."""

    checks: list[Check]
    wrong: int
    unknown: int


@dataclass(frozen=True, slots=True)
class TemporaryRestore:
    """`temporary` is the instance that the snapshot was restored into; its `address` is empty in a dry run."""

    database: str
    snapshot: str
    snapshot_at: datetime | None
    temporary: str
    address: str
    began: datetime
    step: str


@dataclass(frozen=True, slots=True)
class TemporaryDeleted:
    database: str
    temporary: str


@dataclass(frozen=True, slots=True)
class RestoreProven:
    """A restore whose integrity was checked took so many seconds; `in_time` is None without a target."""

    database: str
    snapshot: str
    at: datetime
    seconds: float
    target: float | None
    in_time: bool | None


async def backup_checks(deps: Deps, aws: Aws) -> list[Check]:
    """Return a check of each thing that the team's file asks of its backups.

    What AWS does not answer is not known: one check that neither holds nor fails.
    """
    team = deps.team
    found = await asyncio.gather(
        *(_of_database(deps, aws, name, database) for name, database in team.databases.items()),
        *(_of_dumps(deps, aws, name) for name in team.backups),
    )
    return [check for checks in found for check in checks]


def wanted_backups(deps: Deps, database: Database) -> WantedBackups:
    """Return what the team's file asks of a database."""
    targets, proof = deps.team.targets, database.proof
    return WantedBackups(
        retention=database.retention,
        window=database.window,
        maintenance=database.maintenance,
        multi_az=database.multi_az,
        rpo=targets.rpo if database.point_in_time else None,
        rto=targets.rto,
        proven_every=proof.every if proof else None,
        proof=proof.runbook if proof else None,
        backup=database.runbook,
    )


async def _of_database(deps: Deps, aws: Aws, name: str, database: Database) -> list[Check]:
    wanted, now = wanted_backups(deps, database), deps.clock.now()
    proof = check_proof(name, wanted, await _proof(deps, name, wanted), now)

    async def look() -> list[Check]:
        return check_database(name, wanted, await _found(aws, name), now)

    return [*await _known(name, Aspect.DATABASE, look), *([proof] if proof else [])]


async def _of_dumps(deps: Deps, aws: Aws, name: str) -> list[Check]:
    stored = deps.team.backups[name]
    wanted = WantedDumps(stored.fresh, stored.retention, stored.runbook)

    async def look() -> list[Check]:
        objects = await aws.list_objects(stored.bucket, stored.prefix)
        return check_dumps(name, wanted, [StoredDump(one.size, one.modified) for one in objects], deps.clock.now())

    return await _known(name, Aspect.DUMP, look)


async def _known(name: str, aspect: Aspect, look: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    try:
        return await look()
    except BotError as problem:
        log.warning("could not look at the backups of %s: %s", name, problem)
        return [Check(name, aspect, None, {"problem": "unknown"})]


async def _found(aws: Aws, name: str) -> FoundBackups | None:
    instance, daily = await asyncio.gather(aws.database(name), aws.newest_automated_snapshot(name))
    if instance is None:
        return None
    return FoundBackups(
        timedelta(days=instance.retention_days),
        instance.backup_window,
        instance.maintenance_window,
        instance.multi_az,
        instance.restorable_until,
        daily.at if daily else None,
    )


async def _proof(deps: Deps, name: str, wanted: WantedBackups) -> Proof:
    """Return the newest proof of a restore, from the runs of its runbook."""
    if wanted.proof is None:
        return Proof()
    runs = await deps.store.runs.list_by_runbook(wanted.proof)
    failed: Run | None = None
    for run in reversed([run for run in runs if not run.dry_run and run.inputs.get("database") == name]):
        for step in run.steps:
            if step.uses == PROOF and step.state is StepState.DONE and step.result:
                took = timedelta(seconds=float(step.result["seconds"]))
                at = datetime.fromisoformat(step.result["at"])
                return _with_failure(Proof(at, took), failed)
        if failed is None and run.state in (RunState.FAILED, RunState.UNDONE) and run.ended_at:
            failed = run
    return _with_failure(Proof(), failed)


def _with_failure(proof: Proof, failed: Run | None) -> Proof:
    if failed is None:
        return proof
    step = next((step.id for step in failed.steps if step.error), None)
    return Proof(proof.at, proof.took, failed.ended_at, step)


@action("aws.backups", risk=Risk.READ, example="/ops backups")
async def backups(ctx: Context) -> BackupChecks:
    """Compare all backups with what the team's file asks of them."""
    checks = await backup_checks(ctx.deps, ctx.aws)
    wrong, unknown = (sum(check.holds is holds for check in checks) for holds in (False, None))
    return BackupChecks(checks, wrong, unknown)


def _temporary(ctx: Context, database: str) -> str:
    """Return the name of a run's temporary instance for a database: for each of its steps the same one."""
    run = ctx.key.partition("/")[0]
    return f"{database[:48].rstrip('-')}-proof-{hashlib.sha256(run.encode()).hexdigest()[:8]}"


@action(
    "aws.rds_restore_temporary",
    risk=Risk.CHANGE,
    target="restored/{database}",
    example="/ops rds_restore_temporary tamv-prod-postgres",
)
async def restore_temporary(
    ctx: Context,
    database: str | None = None,
    snapshot: SnapshotName | None = None,
    within: Duration = timedelta(hours=3),
) -> TemporaryRestore:
    """Restore the newest snapshot of a database into a temporary instance, to try it; its undo deletes the instance."""
    name = database_name(ctx, database)
    await require_database(ctx, name)
    wanted = snapshot or ctx.planned.get("snapshot")  # what was shown, though there may be a newer one by now
    source = await ctx.aws.snapshot(wanted) if wanted else await ctx.aws.newest_snapshot(name)
    if source is None or source.database != name:
        raise NotFound("no_such_snapshot", snapshot=wanted or name)
    if source.status != "available":
        raise WrongState("database_state", name=source.name, state=source.status)
    temporary = _temporary(ctx, name)
    existing = await ctx.aws.database(temporary)
    if temporary in ctx.team.databases or (existing and existing.made_by != ctx.key):
        raise WrongState("database_exists", name=temporary)
    if existing is None:
        await ctx.aws.restore(source.name, temporary, name, ctx.key)
    restored = TemporaryRestore(name, source.name, source.at, temporary, "", ctx.began, ctx.key)
    if ctx.dry_run:
        return restored

    async def ready() -> str | None:
        instance = await ctx.aws.database(temporary)
        return (instance.address or "") if instance and status_if_available(temporary, instance.status) else None

    address = await wait_until(ctx, temporary, within, ready)
    return TemporaryRestore(name, source.name, source.at, temporary, address, ctx.began, ctx.key)


@undo(restore_temporary)
async def discard_temporary(ctx: Context, done: TemporaryRestore) -> TemporaryRestore:
    """Delete the temporary instance, if it is still there."""
    if await ctx.aws.database(done.temporary) is not None:
        await ctx.aws.delete_database(done.temporary, done.step)
    return done


@action(
    "aws.rds_delete_temporary",
    risk=Risk.CHANGE,
    target="restored/{database}",
    example="/ops rds_delete_temporary tamv-prod-postgres",
)
async def delete_temporary(
    ctx: Context, database: str | None = None, within: Duration = timedelta(minutes=30)
) -> TemporaryDeleted:
    """Delete the temporary instance that this run has restored of a database, and wait until it is gone."""
    name = database_name(ctx, database)
    temporary, run = _temporary(ctx, name), ctx.key.partition("/")[0]
    existing = await ctx.aws.database(temporary)
    if existing is not None:
        if existing.made_by is None or existing.made_by.partition("/")[0] != run:
            raise WrongState("not_made_here", name=temporary)
        await ctx.aws.delete_database(temporary, existing.made_by)
    if ctx.dry_run:
        return TemporaryDeleted(name, temporary)

    async def gone() -> str | None:
        return "gone" if await ctx.aws.database(temporary) is None else None

    await wait_until(ctx, temporary, within, gone)
    return TemporaryDeleted(name, temporary)


@action(PROOF, risk=Risk.READ, example="/ops rds_proof tamv-prod-postgres tamv-snapshot-20251231 2026-01-05T04:10:00Z")
async def proof(ctx: Context, database: str, snapshot: SnapshotName, began: AwareDatetime) -> RestoreProven:
    """Record that a restore which began then is proven now: how long it took, against the target RTO."""
    now = ctx.clock.now()
    took, target = now - began, ctx.team.targets.rto
    in_time = took < target if target else None
    seconds = target.total_seconds() if target else None
    return RestoreProven(database, snapshot, now, took.total_seconds(), seconds, in_time)
