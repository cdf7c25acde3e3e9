"""Predictions that a metric will cross its threshold: each is kept, and what became of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Row, select, update

from bot.domain.errors import BadInput
from bot.domain.forecast import RECENT, Outcome, Prediction
from bot.store.database import Database, dialect_insert
from bot.store.outbox import enqueue
from bot.store.tables import predictions

WORKFLOW = "watch_prediction"
TELL = "tell_prediction"


class Forecasts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_once(self, prediction: Prediction) -> None:
        """Save a prediction with the workflow that tells and scores it; does nothing if it is known."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, predictions).values(**asdict(prediction)).on_conflict_do_nothing()
            if (await connection.execute(statement.returning(predictions.c.id))).first() is not None:
                await enqueue(connection, f"forecast/{prediction.id}", WORKFLOW, [prediction.id])

    async def get(self, id: str) -> Prediction:
        """Return a prediction. Raises BadInput if there is none with this id."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(predictions).where(predictions.c.id == id))).one_or_none()
        if row is None:
            raise BadInput("malformed_request")
        return _prediction(row)

    async def recent(self, service: str, query: str) -> list[Prediction]:
        """Return the newest predictions of a metric: one that waits may be among them, and RECENT others."""
        newest = (
            select(predictions)
            .where(predictions.c.service == service, predictions.c.query == query)
            .order_by(predictions.c.at.desc())
            .limit(RECENT + 1)
        )
        async with self._database.read() as connection:
            return [_prediction(row) for row in await connection.execute(newest)]

    async def since(self, at: datetime, until: datetime | None = None) -> list[Prediction]:
        """Return the predictions that were made from `at` on, and before `until`, oldest first."""
        made = select(predictions).where(predictions.c.at >= at).order_by(predictions.c.at, predictions.c.id)
        if until is not None:
            made = made.where(predictions.c.at < until)
        async with self._database.read() as connection:
            return [_prediction(row) for row in await connection.execute(made)]

    async def snooze(self, id: str, until: datetime, by: str) -> Prediction:
        """Save that nobody wants to be told of its metric until then, with the workflow that says so.

        The first one counts: a second call changes nothing. Raises BadInput if there is none with this id.
        """
        await self._change(id, "snoozed", snoozed_until=until, snoozed_by=by)
        return await self.get(id)

    async def started(self, id: str, run: str) -> None:
        """Save the run that its button has started, with the workflow that says so; the first one counts."""
        await self._change(id, "started", run=run)

    async def _change(self, id: str, what: str, **values: object) -> None:
        first = predictions.c[next(iter(values))].is_(None)
        async with self._database.write() as connection:
            statement = update(predictions).where(predictions.c.id == id, first).values(values)
            if (await connection.execute(statement)).rowcount:
                await enqueue(connection, f"forecast/{id}/{what}", TELL, [id])

    async def end(self, id: str, outcome: Outcome, came_at: datetime | None) -> None:
        """Save what became of a prediction; the first outcome counts."""
        waits = predictions.c.outcome == Outcome.WAITING.value
        await self._database.execute(
            update(predictions).where(predictions.c.id == id, waits).values(outcome=outcome.value, came_at=came_at)
        )


def _prediction(row: Row[tuple[object, ...]]) -> Prediction:
    return Prediction(**{**row._mapping, "outcome": Outcome(row._mapping["outcome"])})
