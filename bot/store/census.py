"""How much of everything there is, for the bot's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from bot.store.database import Database
from bot.store.tables import deliveries, incidents, outbox


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """`incidents` by (status, severity), drills left out."""

    incidents: Mapping[tuple[str, str], int]
    deliveries_waiting: int
    outbox: int


async def count_rows(database: Database) -> StoreCounts:
    """One consistent view. Raises Unavailable."""
    by_status = (
        select(incidents.c.status, incidents.c.severity, func.count())
        .where(incidents.c.drill.is_(False))
        .group_by(incidents.c.status, incidents.c.severity)
    )
    waiting = select(func.count()).select_from(deliveries).where(deliveries.c.done_at.is_(None))
    async with database.read() as connection:
        counted = {(row[0], row[1]): int(row[2]) for row in await connection.execute(by_status)}
        return StoreCounts(
            counted,
            (await connection.execute(waiting)).scalar_one(),
            (await connection.execute(select(func.count()).select_from(outbox))).scalar_one(),
        )
