"""Durable work that committed transactions owe: written with the change, taken by the engine afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store.database import Database
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
    """Owe a workflow, inside the caller's transaction."""
    await connection.execute(insert(outbox).values(workflow_id=workflow_id, workflow=workflow, arguments=arguments))


class Outbox:
    """The engine's side of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue_once(self, workflow_id: str, workflow: str, arguments: list[Any]) -> None:
        """Owe a workflow in a transaction of its own; asked for twice under one id it is owed once."""
        async with self._database.write() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            statement = dialect.insert(outbox).values(workflow_id=workflow_id, workflow=workflow, arguments=arguments)
            await connection.execute(statement.on_conflict_do_nothing())

    async def pending(self, limit: int = 200) -> list[OutboxEntry]:
        """What is still owed, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(outbox).order_by(outbox.c.id).limit(limit))
            return [OutboxEntry(row.id, row.workflow_id, row.workflow, row.arguments) for row in rows]

    async def mark_dispatched(self, ids: Sequence[int]) -> None:
        """Forget what has been started."""
        await self._database.execute(delete(outbox).where(outbox.c.id.in_(ids)))
