"""Follow-ups, and the issues that they have become."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from bot.domain.followup import FollowUp, FollowUpState
from bot.domain.incident import Incident
from bot.domain.people import BOT, Person
from bot.domain.timeline import Kind
from bot.store.database import Database
from bot.store.incidents import change_within
from bot.store.tables import followups, incidents


class FollowUps:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(
        self,
        incident_id: str,
        title: str,
        *,
        owner: str | None,
        due: date | None,
        labels: tuple[str, ...],
        by: Person,
        at: datetime,
        idempotency_key: str,
    ) -> tuple[FollowUp, bool]:
        """A new follow-up with its timeline event, and whether it is new; the same `cause` finds the first one."""
        async with self._database.write() as connection:
            # The incident's row is the lock that keeps the numbers of its follow-ups apart.
            await connection.execute(select(incidents.c.id).where(incidents.c.id == incident_id).with_for_update())
            row = (
                await connection.execute(select(followups).where(followups.c.cause == idempotency_key))
            ).one_or_none()
            if row:
                return _followup(row), False
            count = select(func.count()).select_from(followups).where(followups.c.incident_id == incident_id)
            number = (await connection.execute(count)).scalar_one() + 1
            made = FollowUp(f"{incident_id}/F{number}", incident_id, title, owner, due, labels, FollowUpState.OPEN, at)
            facts = {"followup": made.id, "title": title, "owner": owner, "due": due.isoformat() if due else None}

            def opened(incident: Incident) -> Any:
                return incident.with_event(Kind.FOLLOWUP_OPENED, facts, by=by, at=at)

            await change_within(connection, incident_id, opened, idempotency_key=f"{idempotency_key}/followup")
            await connection.execute(
                insert(followups).values(
                    id=made.id,
                    incident_id=incident_id,
                    title=title,
                    owner=owner,
                    due=facts["due"],
                    labels=list(labels),
                    state=made.state.value,
                    cause=idempotency_key,
                    opened_at=at,
                )
            )
            return made, True

    async def set_owner(self, id: str, owner: str) -> None:
        """It belongs to this team or person, now that the owners of a path have been looked up."""
        async with self._database.write() as connection:
            await connection.execute(update(followups).where(followups.c.id == id).values(owner=owner))

    async def mark_filed(
        self,
        id: str,
        number: int,
        url: str,
        assignee: str | None,
        *,
        not_assignable: str | None = None,
        at: datetime,
        idempotency_key: str,
    ) -> bool:
        """It has become this issue, and whom GitHub let it be assigned to, or not."""
        values = {"number": number, "url": url, "state": FollowUpState.FILED.value, "done_at": None}
        return await self._change_state(
            id,
            Kind.FOLLOWUP_FILED,
            values,
            {"assignee": assignee, "not_assignable": not_assignable},
            by=BOT,
            at=at,
            idempotency_key=idempotency_key,
        )

    async def mark_done(
        self, id: str, facts: dict[str, Any], *, by: Person, at: datetime, idempotency_key: str
    ) -> bool:
        """Its issue was closed."""
        values = {"state": FollowUpState.DONE.value, "done_at": at}
        return await self._change_state(
            id, Kind.FOLLOWUP_DONE, values, facts, by=by, at=at, idempotency_key=idempotency_key
        )

    async def mark_reopened(
        self, id: str, *, gone: bool = False, by: Person, at: datetime, idempotency_key: str
    ) -> bool:
        """Its issue was opened again, or is `gone`: then it waits to become another one."""
        values: dict[str, Any] = {"state": FollowUpState.FILED.value, "done_at": None}
        if gone:
            values |= {"state": FollowUpState.OPEN.value, "number": None, "url": None}
        return await self._change_state(
            id, Kind.FOLLOWUP_REOPENED, values, {"gone": gone}, by=by, at=at, idempotency_key=idempotency_key
        )

    async def get(self, id: str) -> FollowUp | None:
        rows = await self._where(followups.c.id == id)
        return rows[0] if rows else None

    async def list_by_incident(self, incident_id: str) -> list[FollowUp]:
        return await self._where(followups.c.incident_id == incident_id)

    async def by_number(self, number: int) -> FollowUp | None:
        """The one that has become this issue of the repository."""
        rows = await self._where(followups.c.number == number)
        return rows[0] if rows else None

    async def not_done(self) -> list[FollowUp]:
        return await self._where(followups.c.state != FollowUpState.DONE.value)

    async def _change_state(
        self,
        id: str,
        kind: Kind,
        values: dict[str, Any],
        facts: dict[str, Any],
        *,
        by: Person,
        at: datetime,
        idempotency_key: str,
    ) -> bool:
        """Change it and append the event that tells it, in one transaction; False when the cause was here before."""
        async with self._database.write() as connection:
            row = (await connection.execute(select(followups).where(followups.c.id == id))).one()
            about = {"followup": id, "title": row.title, "number": row.number, "url": row.url}
            about |= {name: value for name, value in values.items() if name in about and value is not None} | facts
            _, event = await change_within(
                connection,
                row.incident_id,
                lambda now: now.with_event(kind, about, by=by, at=at),
                idempotency_key=idempotency_key,
            )
            if event is None:
                return False
            await connection.execute(update(followups).where(followups.c.id == id).values(**values))
            return True

    async def _where(self, condition: Any) -> list[FollowUp]:
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(followups).where(condition).order_by(followups.c.opened_at, followups.c.id)
            )
            return [_followup(row) for row in rows]


def _followup(row: Row[Any]) -> FollowUp:
    return FollowUp(
        row.id,
        row.incident_id,
        row.title,
        row.owner,
        date.fromisoformat(row.due) if row.due else None,
        tuple(row.labels),
        FollowUpState(row.state),
        row.opened_at,
        row.number,
        row.url,
        row.done_at,
    )
