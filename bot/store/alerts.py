"""Alert groups, and the incident that each belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from bot.domain.incident import Changed, Incident
from bot.domain.timeline import TimelineEvent
from bot.store.database import Database, dialect_insert
from bot.store.incidents import change_within, declare_within, get_within
from bot.store.tables import alert_groups


@dataclass(frozen=True, slots=True)
class GroupUpdate:
    """The outcome of an update: the incident, whether it was just declared, and the appended event, if any."""

    incident: Incident | None
    declared: bool = False
    event: TimelineEvent | None = None


class AlertGroups:
    """Alert groups: one group belongs to one incident for as long as that incident is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def update(
        self,
        key: str,
        firing: list[str],
        at: datetime,
        *,
        on_new: Callable[[str, Incident | None], Changed],
        on_change: Callable[[Incident, set[str], set[str]], Changed],
        on_escalation: Callable[[Incident, set[str]], Changed | None],
        is_settling: Callable[[Incident], bool],
        drill: str | None = None,
    ) -> GroupUpdate:
        """Update the group `key` with its `firing` alerts (fingerprints).

        A firing group without an open incident joins the open `drill`, if given; otherwise it declares an incident by
        `on_new(id, the group's last incident)`, unless `is_settling(last incident)`. For an open incident,
        `on_change(incident, started, ended)` returns the event for alerts that started or ended, and
        `on_escalation(incident, started)` the change if they are more severe. All in one transaction, which locks the
        group.
        """
        async with self._database.write() as connection:
            statement = dialect_insert(connection, alert_groups).values(key=key, firing=[], seen_at=at)
            await connection.execute(statement.on_conflict_do_nothing())
            group = (
                await connection.execute(select(alert_groups).where(alert_groups.c.key == key).with_for_update())
            ).one()
            current = await get_within(connection, group.incident_id) if group.incident_id else None
            if firing and drill and not (current and current.status.is_open):
                drill_incident = await get_within(connection, drill)
                current = drill_incident if drill_incident and drill_incident.status.is_open else current
            result = GroupUpdate(None)
            if current and (current.status.is_open or not firing or is_settling(current)):
                started, ended = set(firing) - set(group.firing), set(group.firing) - set(firing)
                if started or ended:
                    incident, event = await change_within(
                        connection, current.id, lambda now: on_change(now, started, ended), idempotency_key=None
                    )
                    if escalated := on_escalation(incident, started):
                        incident, _ = await change_within(
                            connection, current.id, lambda _: escalated, idempotency_key=None
                        )
                    result = GroupUpdate(incident, event=event)
            elif firing:
                declared = await declare_within(connection, lambda id: on_new(id, current), at, idempotency_key=None)
                result = GroupUpdate(declared, declared=True)
            incident_id = result.incident.id if result.incident else group.incident_id
            await connection.execute(
                update(alert_groups)
                .where(alert_groups.c.key == key)
                .values(firing=sorted(firing), seen_at=at, incident_id=incident_id)
            )
            return result

    async def count_firing(self, incident_id: str) -> int:
        """Return the number of firing alerts of an incident."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(alert_groups.c.firing).where(alert_groups.c.incident_id == incident_id)
            )
            return sum(len(firing) for firing in rows.scalars())
