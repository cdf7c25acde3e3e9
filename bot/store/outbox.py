"""The outbox: workflows to be started, saved with the change that asks for them, dispatched by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store.database import Database, dialect_insert, mark_enqueued
from bot.store.tables import outbox

NOTIFY = "wake"  # no workflow: who waits for news of its one argument, or of anything when it has none, looks again


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A workflow to be started: its name, its arguments (plain JSON) and the id that makes it start only once."""

    id: int
    workflow_id: str
    workflow: str
    arguments: list[Any]


async def enqueue(connection: AsyncConnection, workflow_id: str, workflow: str, arguments: list[Any]) -> None:
    """Enqueue a workflow in the caller's transaction; once that is committed, the database's listeners are notified."""
    await connection.execute(insert(outbox).values(workflow_id=workflow_id, workflow=workflow, arguments=arguments))
    mark_enqueued(connection)


class Outbox:
    """The engine's side of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue_once(self, workflow_id: str, workflow: str, arguments: list[Any]) -> None:
        """Enqueue a workflow in a transaction of its own; a second time under one id does nothing."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, outbox).values(
                workflow_id=workflow_id, workflow=workflow, arguments=arguments
            )
            await connection.execute(statement.on_conflict_do_nothing())
            mark_enqueued(connection)

    async def pending(self, limit: int = 200) -> list[OutboxEntry]:
        """What is not dispatched yet, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(outbox).order_by(outbox.c.id).limit(limit))
            return [OutboxEntry(row.id, row.workflow_id, row.workflow, row.arguments) for row in rows]

    async def mark_dispatched(self, ids: Sequence[int]) -> None:
        """Forget what has been started."""
        await self._database.execute(delete(outbox).where(outbox.c.id.in_(ids)))
