"""What the calendar has told: each due thing by its key, saved together with the workflow that tells it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import select

from bot.store.database import Database, dialect_insert
from bot.store.outbox import enqueue
from bot.store.tables import calendar

BEGAN = "began"  # the row of the calendar's first look
TELL_DUE = "tell_due"


class Calendar:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def began(self, now: datetime) -> datetime:
        """Return when the calendar was first looked at; the first time that is `now`."""
        first = select(calendar.c.at).where(calendar.c.key == BEGAN)
        async with self._database.read() as connection:
            at: datetime | None = (await connection.execute(first)).scalar_one_or_none()
        if at is not None:
            return at
        async with self._database.write() as connection:
            await connection.execute(
                dialect_insert(connection, calendar).values(key=BEGAN, at=now).on_conflict_do_nothing()
            )
            saved: datetime = (await connection.execute(first)).scalar_one()  # another process may have been first
            return saved

    async def told(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that were told before."""
        async with self._database.read() as connection:
            return set((await connection.execute(select(calendar.c.key).where(calendar.c.key.in_(keys)))).scalars())

    async def tell_once(self, key: str, at: datetime, arguments: list[Any]) -> bool:
        """Enqueue the workflow that tells a due thing, once for each key. Returns whether it was the first time."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, calendar).values(key=key, at=at).on_conflict_do_nothing()
            inserted = (await connection.execute(statement.returning(calendar.c.key))).first() is not None
            if inserted:
                await enqueue(connection, f"calendar/{key}", TELL_DUE, arguments)
            return inserted
