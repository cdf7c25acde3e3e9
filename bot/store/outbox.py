"""The outbox: workflows saved in the transaction of the change that needs them, started by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store.database import Database, dialect_insert, mark_enqueued, redacted
from bot.store.tables import SUBJECT_LIMIT, outbox

NOTIFY = "wake"  # no workflow: wakes the waiters on the key that is its only argument


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A workflow waiting to be started. `workflow_id` makes the start idempotent; `arguments` are plain JSON."""

    id: int
    workflow_id: str
    workflow: str
    arguments: list[Any]

    @property
    def subject(self) -> str:
        """What it is about, such as an incident or a run: its first argument, in SUBJECT_LIMIT characters."""
        first = self.arguments[0] if self.arguments else None
        return (first if isinstance(first, str) else self.workflow_id)[:SUBJECT_LIMIT]


async def enqueue(connection: AsyncConnection, workflow_id: str, workflow: str, arguments: list[Any]) -> None:
    """Enqueue a workflow in the caller's transaction; the engine is notified after the commit."""
    values = {"workflow_id": workflow_id, "workflow": workflow, "arguments": redacted(connection, arguments)}
    await connection.execute(insert(outbox).values(values))
    mark_enqueued(connection)


async def enqueue_once(connection: AsyncConnection, workflow_id: str, workflow: str, arguments: list[Any]) -> None:
    """Enqueue a workflow in the caller's transaction; does nothing if the id is in the outbox."""
    statement = dialect_insert(connection, outbox).values(
        workflow_id=workflow_id, workflow=workflow, arguments=redacted(connection, arguments)
    )
    await connection.execute(statement.on_conflict_do_nothing())
    mark_enqueued(connection)


class Outbox:
    """The outbox, as the engine uses it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue_once(self, workflow_id: str, workflow: str, arguments: list[Any]) -> None:
        """Enqueue a workflow in its own transaction; does nothing if the id is in the outbox."""
        async with self._database.write() as connection:
            await enqueue_once(connection, workflow_id, workflow, arguments)

    async def pending(self, limit: int = 200, *, after: int = 0) -> list[OutboxEntry]:
        """Return entries that are not dispatched yet, oldest first, from the one after the id `after` on."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(outbox).where(outbox.c.id > after).order_by(outbox.c.id).limit(limit)
            )
            return [OutboxEntry(row.id, row.workflow_id, row.workflow, row.arguments) for row in rows]

    async def mark_dispatched(self, ids: Sequence[int]) -> None:
        """Remove entries whose workflows are started."""
        await self._database.execute(delete(outbox).where(outbox.c.id.in_(ids)))
