"""The inbox: deliveries from outside, saved before they are acknowledged, handled once, and again after a crash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from bot.metrics import Metrics
from bot.store.database import Database
from bot.store.tables import deliveries


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call from outside. `key` identifies repeated deliveries; `body` is unchanged."""

    key: str
    source: str
    body: str


class Deliveries:
    """The inbox. `owner` identifies this process; deliveries of a dead process can be claimed by another one.

    An accepted delivery stays claimed by this process until it is done, discarded or released.
    """

    def __init__(self, database: Database, owner: str, metrics: Metrics) -> None:
        self._database = database
        self._owner = owner
        self._metrics = metrics
        self._claimed: set[str] = set()
        self._done: dict[str, datetime] = {}

    async def accept(self, delivery: Delivery, at: datetime) -> bool:
        """Save and claim a delivery. Returns False for a duplicate: whoever accepted it first handles it."""
        new = await self._save(delivery, at)
        self._metrics.delivered(delivery.source, new=new)
        return new

    async def _save(self, delivery: Delivery, at: datetime) -> bool:
        if delivery.key in self._claimed:
            return False
        self._claimed.add(delivery.key)
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    insert(deliveries).values(
                        key=delivery.key,
                        source=delivery.source,
                        body=delivery.body,
                        received_at=at,
                        owner=self._owner,
                        alive_at=at,
                    )
                )
        except IntegrityError:
            self.release(delivery.key)
            return False
        except BaseException:
            self.release(delivery.key)
            raise
        return True

    async def mark_done(self, key: str, at: datetime) -> None:
        """Mark as handled. If the database is down, `heartbeat` repeats it later."""
        self._done[key] = at
        await self._save_done()

    async def discard(self, key: str) -> None:
        """Remove a delivery that was not accepted (a form with invalid input), so that it can be sent again."""
        async with self._database.write() as connection:
            await connection.execute(delete(deliveries).where(deliveries.c.key == key))
        self.release(key)

    def release(self, key: str) -> None:
        """Release the claim, so that the next recovery pass picks the delivery up."""
        self._claimed.discard(key)

    async def heartbeat(self, at: datetime) -> None:
        """Renew all claims of this process."""
        await self._save_done()
        if claimed := sorted(self._claimed):
            async with self._database.write() as connection:
                ours = and_(deliveries.c.key.in_(claimed), deliveries.c.owner == self._owner)
                await connection.execute(update(deliveries).where(ours).values(alive_at=at))

    async def claim_stale(self, at: datetime, *, older_than: timedelta) -> list[Delivery]:
        """Claim deliveries that this process released or whose owner sent no heartbeat for `older_than`.

        Returns them oldest first.
        """
        abandoned = and_(deliveries.c.owner != self._owner, deliveries.c.alive_at <= at - older_than)
        released = and_(deliveries.c.owner == self._owner, deliveries.c.key.not_in(sorted(self._claimed)))
        async with self._database.write() as connection:
            rows = await connection.execute(
                update(deliveries)
                .where(deliveries.c.done_at.is_(None), or_(abandoned, released))
                .values(owner=self._owner, alive_at=at)
                .returning(deliveries)
            )
            # another one may have been accepted meanwhile
            stale = sorted((row for row in rows if row.key not in self._claimed), key=lambda row: row.received_at)
        self._claimed.update(row.key for row in stale)
        return [Delivery(row.key, row.source, row.body) for row in stale]

    async def _save_done(self) -> None:
        if not (done := dict(self._done)):
            return
        async with self._database.write() as connection:
            for key, at in done.items():
                await connection.execute(update(deliveries).where(deliveries.c.key == key).values(done_at=at, body=""))
        for key in done:
            self._done.pop(key, None)
            self.release(key)

    async def prune(self, before: datetime) -> None:
        """Delete deliveries handled before then."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(deliveries).where(deliveries.c.done_at.is_not(None), deliveries.c.done_at < before)
            )

    async def count_pending(self) -> int:
        """Return the number of deliveries that are accepted and not handled yet."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(deliveries.c.key).where(deliveries.c.done_at.is_(None)))
            return len(rows.all())
