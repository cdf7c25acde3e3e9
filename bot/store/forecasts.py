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

    async def end(self, id: str, outcome: Outcome, came_at: datetime | None) -> None:
        """Save what became of a prediction."""
        await self._database.execute(
            update(predictions).where(predictions.c.id == id).values(outcome=outcome.value, came_at=came_at)
        )


def _prediction(row: Row[tuple[object, ...]]) -> Prediction:
    return Prediction(**{**row._mapping, "outcome": Outcome(row._mapping["outcome"])})
