"""Follow-ups and the numbers of their GitHub issues."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from bot.domain.followup import FiledIssue, FollowUp, FollowUpDraft, FollowUpState
from bot.domain.people import BOT, Person
from bot.domain.timeline import Kind
from bot.store.database import Database
from bot.store.incidents import TimelineEntry, append_entry
from bot.store.tables import followups, incidents


class FollowUps:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(
        self,
        incident_id: str,
        draft: FollowUpDraft,
        *,
        by: Person,
        at: datetime,
        idempotency_key: str,
    ) -> FollowUp:
        """Open a follow-up and append its timeline event; a second call with the same key returns the first one."""
        title, owner, due, labels = draft.title, draft.owner, draft.due, draft.labels
        async with self._database.write() as connection:
            # Lock the incident's row: the numbers of its follow-ups must be unique.
            await connection.execute(select(incidents.c.id).where(incidents.c.id == incident_id).with_for_update())
            row = (
                await connection.execute(select(followups).where(followups.c.cause == idempotency_key))
            ).one_or_none()
            if row:
                return _followup(row)
            count = select(func.count()).select_from(followups).where(followups.c.incident_id == incident_id)
            number = (await connection.execute(count)).scalar_one() + 1
            id = f"{incident_id}/F{number}"
            followup = FollowUp(id, incident_id, title, owner, due, labels, FollowUpState.OPEN, at)
            facts = {"followup": followup.id, "title": title, "owner": owner, "due": due.isoformat() if due else None}
            entry = TimelineEntry(incident_id, Kind.FOLLOWUP_OPENED, facts, by, at, f"{idempotency_key}/followup")
            await append_entry(connection, entry)
            await connection.execute(
                insert(followups).values(
                    id=followup.id,
                    incident_id=incident_id,
                    title=title,
                    owner=owner,
                    due=facts["due"],
                    labels=list(labels),
                    state=followup.state.value,
                    cause=idempotency_key,
                    opened_at=at,
                )
            )
            return followup

    async def set_owner(self, id: str, owner: str) -> None:
        """Replace the owner, after the owners of a path were looked up."""
        async with self._database.write() as connection:
            await connection.execute(update(followups).where(followups.c.id == id).values(owner=owner))

    async def mark_filed(self, id: str, issue: FiledIssue, *, at: datetime, idempotency_key: str) -> bool:
        """Record the issue that was created for it."""
        values = {"number": issue.number, "url": issue.url, "state": FollowUpState.FILED.value, "done_at": None}
        facts = {"assignee": issue.assignee, "not_assignable": issue.not_assignable}
        return await self._change_state(values, _entry(id, Kind.FOLLOWUP_FILED, facts, BOT, at, idempotency_key))

    async def mark_done(
        self, id: str, facts: dict[str, Any], *, by: Person, at: datetime, idempotency_key: str
    ) -> bool:
        """Record that its issue was closed."""
        values = {"state": FollowUpState.DONE.value, "done_at": at}
        return await self._change_state(values, _entry(id, Kind.FOLLOWUP_DONE, facts, by, at, idempotency_key))

    async def mark_reopened(
        self, id: str, *, gone: bool = False, by: Person, at: datetime, idempotency_key: str
    ) -> bool:
        """Record that its issue was reopened, or is `gone`: then a new one will be created."""
        values: dict[str, Any] = {"state": FollowUpState.FILED.value, "done_at": None}
        if gone:
            values |= {"state": FollowUpState.OPEN.value, "number": None, "url": None}
        entry = _entry(id, Kind.FOLLOWUP_REOPENED, {"gone": gone}, by, at, idempotency_key)
        return await self._change_state(values, entry)

    async def get(self, id: str) -> FollowUp | None:
        rows = await self._where(followups.c.id == id)
        return rows[0] if rows else None

    async def list_by_incident(self, incident_id: str) -> list[FollowUp]:
        return await self._where(followups.c.incident_id == incident_id)

    async def by_number(self, number: int) -> FollowUp | None:
        """Return the follow-up of this issue number."""
        rows = await self._where(followups.c.number == number)
        return rows[0] if rows else None

    async def not_done(self) -> list[FollowUp]:
        return await self._where(followups.c.state != FollowUpState.DONE.value)

    async def _change_state(self, values: dict[str, Any], entry: TimelineEntry) -> bool:
        """Change the entry's follow-up and append the entry, in one transaction.

        Returns False if it was done before.
        """
        id = entry.facts["followup"]
        async with self._database.write() as connection:
            row = (await connection.execute(select(followups).where(followups.c.id == id))).one()
            about = {"title": row.title, "number": row.number, "url": row.url}
            about |= {name: value for name, value in values.items() if name in about and value is not None}
            if not await append_entry(connection, replace(entry, facts=about | dict(entry.facts))):
                return False
            await connection.execute(update(followups).where(followups.c.id == id).values(**values))
            return True

    async def _where(self, condition: Any) -> list[FollowUp]:
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(followups).where(condition).order_by(followups.c.opened_at, followups.c.id)
            )
            return [_followup(row) for row in rows]


def _entry(id: str, kind: Kind, facts: dict[str, Any], by: Person, at: datetime, key: str) -> TimelineEntry:
    """Return an event about the follow-up `id`, which starts with its incident's id."""
    return TimelineEntry(id.partition("/")[0], kind, {"followup": id, **facts}, by, at, key)


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
