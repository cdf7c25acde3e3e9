"""Locks on targets (one run at a time, with a cool-down), and the kill switch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bot.domain.errors import WrongState
from bot.domain.people import Person
from bot.domain.run import RunState
from bot.store.database import Database, redacted
from bot.store.outbox import NOTIFY, enqueue
from bot.store.tables import freezes, runs, targets

ANNOUNCE = "announce"


@dataclass(frozen=True, slots=True)
class Freeze:
    """An active freeze: no run may change anything."""

    reason: str
    by: Person
    since: datetime


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The run that holds a target; `until` is the end of its cool-down, None while the run is going."""

    run_id: str
    until: datetime | None


class TargetLocks:
    """Locks: target, such as `deployment/tamv-prod/xr-engine`, → the run that is changing it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, key: str, run_id: str, now: datetime) -> LockHolder | None:
        """Lock a target for a run; idempotent. Returns None on success, otherwise the holder."""
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(targets).values(key=key, run_id=run_id, held_until=None)
        free = or_(targets.c.run_id == run_id, targets.c.held_until <= now)
        acquired = await self._database.execute(
            statement.on_conflict_do_update(
                index_elements=[targets.c.key], set_={"run_id": run_id, "held_until": None}, where=free
            ).returning(targets.c.key)
        )
        if acquired.first():
            return None
        async with self._database.read() as connection:
            row = (await connection.execute(select(targets).where(targets.c.key == key))).one_or_none()
        return LockHolder(row.run_id, row.held_until) if row else await self.acquire(key, run_id, now)

    async def release(self, run_id: str, until: datetime) -> None:
        """Release the run's locks after a cool-down, which ends at `until`."""
        await self._database.execute(update(targets).where(targets.c.run_id == run_id).values(held_until=until))

    async def transfer(self, run_id: str, to: str) -> None:
        """Give the run's locks to another run."""
        async with self._database.write() as connection:
            await connection.execute(update(targets).where(targets.c.run_id == run_id).values(run_id=to))

    async def last_run(self, key: str) -> str | None:
        """Return the run that has changed a target last; None if none has for a while."""
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(select(targets.c.run_id).where(targets.c.key == key))
            return found

    async def all_held(self) -> dict[str, str]:
        """Return the targets that runs are changing now, with the run's id."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(targets).where(targets.c.held_until.is_(None)))
            return {row.key: row.run_id for row in rows}

    async def prune(self, before: datetime) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(targets).where(targets.c.held_until < before))


class KillSwitch:
    """The freeze: while it is on, no run changes anything. Survives restarts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def frozen(self) -> Freeze | None:
        async with self._database.read() as connection:
            query = select(freezes).where(freezes.c.until.is_(None)).order_by(freezes.c.id)
            row = (await connection.execute(query.limit(1))).one_or_none()
        return Freeze(row.reason, Person.from_json(row.by), row.since) if row else None

    async def freeze(self, reason: str, by: Person, at: datetime, idempotency_key: str) -> None:
        """Freeze, and enqueue the announcement. Raises WrongState if it is frozen."""
        if await self.frozen():
            raise WrongState("already_frozen")
        async with self._database.write() as connection:
            await connection.execute(
                insert(freezes).values(reason=redacted(connection, reason), by=by.to_json(), since=at)
            )
            facts = {"reason": reason, "by": by.to_json()}
            await enqueue(connection, f"{idempotency_key}/announce", ANNOUNCE, [idempotency_key, "frozen", facts])
            running = await connection.execute(select(runs.c.id).where(runs.c.state == RunState.RUNNING.value))
            for run_id in running.scalars():  # their steps stop
                await enqueue(connection, f"{idempotency_key}/wake/{run_id}", NOTIFY, [run_id])

    async def thaw(self, by: Person, at: datetime, idempotency_key: str) -> None:
        """Thaw, and enqueue the announcement. Raises WrongState if it is not frozen."""
        freeze = await self.frozen()
        if freeze is None:
            raise WrongState("not_frozen")
        async with self._database.write() as connection:
            await connection.execute(update(freezes).where(freezes.c.until.is_(None)).values(until=at))
            facts = {"reason": freeze.reason, "by": by.to_json()}
            await enqueue(connection, f"{idempotency_key}/announce", ANNOUNCE, [idempotency_key, "thawed", facts])
