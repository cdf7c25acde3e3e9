"""Documents of incidents: reports, charts, and the metrics of snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from bot.store.database import Database, dialect_insert, redacted
from bot.store.tables import documents, snapshots


@dataclass(frozen=True, slots=True)
class Document:
    """A file of an incident, by name (`report.md`, `charts/…png`)."""

    name: str
    media_type: str
    content: bytes
    written_at: datetime


class Documents:
    """Files of incidents. Writing an existing name replaces it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, incident_id: str, document: Document) -> None:
        async with self._database.write() as connection:
            values = {
                "media_type": document.media_type,
                "content": document.content,
                "written_at": document.written_at,
            }
            statement = dialect_insert(connection, documents).values(
                incident_id=incident_id, name=document.name, **values
            )
            await connection.execute(
                statement.on_conflict_do_update(index_elements=[documents.c.incident_id, documents.c.name], set_=values)
            )

    async def read(self, incident_id: str, name: str) -> Document | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select(documents).where(documents.c.incident_id == incident_id, documents.c.name == name)
                )
            ).one_or_none()
        return Document(row.name, row.media_type, row.content, row.written_at) if row else None

    async def names(self, incident_id: str) -> list[str]:
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(documents.c.name).where(documents.c.incident_id == incident_id).order_by(documents.c.name)
            )
            return list(rows.scalars())


class Snapshots:
    """Snapshots as plain JSON by id (`INC-2026-0001/snapshot/declared`). The first content of an id is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, id: str, incident_id: str | None, taken_at: datetime, content: dict[str, Any]) -> None:
        async with self._database.write() as connection:
            statement = dialect_insert(connection, snapshots).values(
                id=id, incident_id=incident_id, taken_at=taken_at, content=redacted(connection, content)
            )
            await connection.execute(statement.on_conflict_do_nothing())

    async def get(self, id: str) -> dict[str, Any] | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(snapshots.c.content).where(snapshots.c.id == id))).one_or_none()
        return row.content if row else None

    async def list_by_incident(self, incident_id: str) -> dict[str, dict[str, Any]]:
        """Return an incident's snapshots by id, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(snapshots.c.id, snapshots.c.content)
                .where(snapshots.c.incident_id == incident_id)
                .order_by(snapshots.c.taken_at, snapshots.c.id)
            )
            return {row.id: row.content for row in rows}
