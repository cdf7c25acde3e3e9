"""Which alert group belongs to which incident."""

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
    """What a group's news came to: the incident, whether it is new, and the event that was appended, if any."""

    incident: Incident | None
    declared: bool = False
    event: TimelineEvent | None = None


class AlertGroups:
    """One group of alerts is one incident for as long as that incident is open."""

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
        """Take what `firing` (fingerprints) says about the group `key`.

        A group that fires and has no open incident belongs to the open `drill`, if one is given; otherwise it declares
        an incident by `declare(id, the group's last incident)`, unless that last one is still `settling`. For a known
        one, `news(incident, began, ended)` gives the event when alerts began or ended, and `graver(incident, began)`
        what follows if they are worse. All in one transaction, one group at a time.
        """
        async with self._database.write() as connection:
            statement = dialect_insert(connection, alert_groups).values(key=key, firing=[], seen_at=at)
            await connection.execute(statement.on_conflict_do_nothing())
            group = (
                await connection.execute(select(alert_groups).where(alert_groups.c.key == key).with_for_update())
            ).one()
            open_incident = await get_within(connection, group.incident_id) if group.incident_id else None
            if firing and drill and not (open_incident and open_incident.status.is_open):
                practised = await get_within(connection, drill)
                open_incident = practised if practised and practised.status.is_open else open_incident
            group_update = GroupUpdate(None)
            if open_incident and (open_incident.status.is_open or not firing or is_settling(open_incident)):
                began, ended = set(firing) - set(group.firing), set(group.firing) - set(firing)
                if began or ended:
                    incident, event = await change_within(
                        connection, open_incident.id, lambda now: on_change(now, began, ended), idempotency_key=None
                    )
                    if worse := on_escalation(incident, began):
                        incident, _ = await change_within(
                            connection, open_incident.id, lambda _: worse, idempotency_key=None
                        )
                    group_update = GroupUpdate(incident, event=event)
            elif firing:
                new = await declare_within(connection, lambda id: on_new(id, open_incident), at, idempotency_key=None)
                group_update = GroupUpdate(new, declared=True)
            belongs = group_update.incident.id if group_update.incident else group.incident_id
            await connection.execute(
                update(alert_groups)
                .where(alert_groups.c.key == key)
                .values(firing=sorted(firing), seen_at=at, incident_id=belongs)
            )
            return group_update

    async def count_firing(self, incident_id: str) -> int:
        """How many alerts of this incident are firing."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(alert_groups.c.firing).where(alert_groups.c.incident_id == incident_id)
            )
            return sum(len(firing) for firing in rows.scalars())
