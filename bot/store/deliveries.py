"""What came in from outside: kept before it is answered, handled once, handled again after a crash."""

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
    """One call from outside. `key` is the same for the same delivery; `body` is as it came."""

    key: str
    source: str
    body: str


class Deliveries:
    """The inbox. `owner` names this process: what another process took and never finished is handed over.

    What was accepted is in hand here until it is `done`, forgotten or `put_down`; meanwhile nobody takes it over.
    """

    def __init__(self, database: Database, owner: str, metrics: Metrics) -> None:
        self._database = database
        self._owner = owner
        self._metrics = metrics
        self._in_hand: set[str] = set()
        self._handled: dict[str, datetime] = {}

    async def accept(self, delivery: Delivery, at: datetime) -> bool:
        """Keep it. False when it has been here before: then it is, or will be, handled by whoever took it."""
        new = await self._keep(delivery, at)
        self._metrics.delivered(delivery.source, new=new)
        return new

    async def _keep(self, delivery: Delivery, at: datetime) -> bool:
        if delivery.key in self._in_hand:
            return False
        self._in_hand.add(delivery.key)
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
        """It has been handled. When the database is away just now, `still_alive` says so later."""
        self._handled[key] = at
        await self._mark()

    async def discard(self, key: str) -> None:
        """It was not taken after all (a form with a mistake in it): the same one may come again."""
        async with self._database.write() as connection:
            await connection.execute(delete(deliveries).where(deliveries.c.key == key))
        self.release(key)

    def release(self, key: str) -> None:
        """It could not be handled now: the next look at the inbox finds it."""
        self._in_hand.discard(key)

    async def heartbeat(self, at: datetime) -> None:
        """Say so of all that is in hand here."""
        await self._mark()
        if in_hand := sorted(self._in_hand):
            async with self._database.write() as connection:
                ours = and_(deliveries.c.key.in_(in_hand), deliveries.c.owner == self._owner)
                await connection.execute(update(deliveries).where(ours).values(alive_at=at))

    async def claim_stale(self, at: datetime, *, older_than: timedelta) -> list[Delivery]:
        """Take in hand what nobody has: ours that was put down, and others' of which nothing was heard for so long.

        The oldest first.
        """
        left_behind = and_(deliveries.c.owner != self._owner, deliveries.c.alive_at <= at - older_than)
        put_down = and_(deliveries.c.owner == self._owner, deliveries.c.key.not_in(sorted(self._in_hand)))
        async with self._database.write() as connection:
            rows = await connection.execute(
                update(deliveries)
                .where(deliveries.c.done_at.is_(None), or_(left_behind, put_down))
                .values(owner=self._owner, alive_at=at)
                .returning(deliveries)
            )
            # One may have been accepted since the statement was made.
            stale = sorted((row for row in rows if row.key not in self._in_hand), key=lambda row: row.received_at)
        self._in_hand.update(row.key for row in stale)
        return [Delivery(row.key, row.source, row.body) for row in stale]

    async def _mark(self) -> None:
        if not (handled := dict(self._handled)):
            return
        async with self._database.write() as connection:
            for key, at in handled.items():
                await connection.execute(update(deliveries).where(deliveries.c.key == key).values(done_at=at, body=""))
        for key in handled:
            self._handled.pop(key, None)
            self.release(key)

    async def prune(self, before: datetime) -> None:
        """Forget what was handled long ago."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(deliveries).where(deliveries.c.done_at.is_not(None), deliveries.c.done_at < before)
            )

    async def count_pending(self) -> int:
        """How many are accepted and not handled yet."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(deliveries.c.key).where(deliveries.c.done_at.is_(None)))
            return len(rows.all())
