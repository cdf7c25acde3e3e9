"""Pages that were sent, each with its PagerDuty incident."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update

from bot.domain.alert import ALERT_SOURCES
from bot.domain.incident import Incident
from bot.store.alerts import lock_alerts
from bot.store.database import Database, dialect_insert
from bot.store.incidents import OPEN
from bot.store.tables import incidents, pages


@dataclass(frozen=True, slots=True)
class Page:
    """A page. `key` is PagerDuty's dedup key; `state` is sending, sent, failed, acknowledged or resolved."""

    key: str
    incident_id: str
    team: str
    state: str
    pagerduty_id: str | None


class Pages:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: str, incident_id: str, team: str, state: str, pagerduty_id: str | None = None) -> None:
        """Save a page, or its new state. A `pagerduty_id` of None keeps the stored one."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, pages).values(
                key=key, incident_id=incident_id, team=team, state=state, pagerduty_id=pagerduty_id
            )
            change = {"state": state} | ({"pagerduty_id": pagerduty_id} if pagerduty_id else {})
            await connection.execute(statement.on_conflict_do_update(index_elements=[pages.c.key], set_=change))

    async def claim(self, page: Page, incident: Incident, since: datetime) -> str | None:
        """Save a page that is about to be sent, unless its team was paged since then for other alerts.

        Returns None, or the id of the open incident, at least as severe, for which the team was paged.
        """
        async with self._database.write() as connection:
            await lock_alerts(connection)
            recent = (
                select(pages.c.incident_id)
                .join(incidents, incidents.c.id == pages.c.incident_id)
                .where(
                    pages.c.team == page.team,
                    pages.c.incident_id != incident.id,
                    pages.c.state.in_(("sending", "sent", "acknowledged")),
                    incidents.c.source.in_(ALERT_SOURCES),
                    incidents.c.drill.is_(False),
                    incidents.c.status.in_(OPEN),
                    incidents.c.declared_at > since,
                    incidents.c.severity <= incident.severity.value,
                )
                .order_by(incidents.c.declared_at)
                .limit(1)
            )
            other: str | None = (await connection.execute(recent)).scalar_one_or_none()
            if other is None:
                statement = dialect_insert(connection, pages).values(
                    key=page.key, incident_id=incident.id, team=page.team, state=page.state, pagerduty_id=None
                )
                await connection.execute(statement.on_conflict_do_nothing())
            return other

    async def set_pagerduty_id(self, key: str, pagerduty_id: str) -> None:
        """Save the PagerDuty incident of a page, without touching its state."""
        async with self._database.write() as connection:
            await connection.execute(update(pages).where(pages.c.key == key).values(pagerduty_id=pagerduty_id))

    async def merge(self, key: str, into: str) -> None:
        """Save that a page goes on in another PagerDuty incident, unless that is a page of its own."""
        async with self._database.write() as connection:
            taken = (await connection.execute(select(pages.c.key).where(pages.c.pagerduty_id == into))).first()
            change = {"state": "resolved"} if taken else {"pagerduty_id": into}
            await connection.execute(update(pages).where(pages.c.key == key).values(change))

    async def set_state(self, incident_id: str, state: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(update(pages).where(pages.c.incident_id == incident_id).values(state=state))

    async def list_by_incident(self, incident_id: str) -> list[Page]:
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(pages).where(pages.c.incident_id == incident_id).order_by(pages.c.key)
            )
            return [_page(row) for row in rows]

    async def by_key(self, key: str) -> Page | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(pages).where(pages.c.key == key))).one_or_none()
        return _page(row) if row else None

    async def by_pagerduty_id(self, pagerduty_id: str) -> Page | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(pages).where(pages.c.pagerduty_id == pagerduty_id))).one_or_none()
        return _page(row) if row else None


def _page(row: Row[Any]) -> Page:
    return Page(row.key, row.incident_id, row.team, row.state, row.pagerduty_id)
