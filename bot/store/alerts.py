"""Alerts, their groups, and the incident that each belongs to: locked, loaded, decided by the alert rule, saved."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Row, bindparam, delete, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.alert import STORM, IncidentAlert, Notification
from bot.domain.alert_rule import Decision, Declare, Fact, KnownAlert, Nothing, Raise, Situation, Verdict
from bot.domain.errors import NotFound
from bot.domain.incident import Changed, Incident
from bot.domain.timeline import Kind
from bot.store.database import Database, dialect_insert
from bot.store.incidents import OPEN, change_within, declare_within, get_within
from bot.store.outbox import enqueue_once
from bot.store.tables import alerts, heartbeats, incidents, notification_groups, pages, timeline

T = TypeVar("T")

SHOW_ALERTS = "show_alerts"
WATCH_HEARTBEAT = "watch_heartbeat"
SHOW_EVERY = timedelta(seconds=5)  # the line about alerts is edited at most so often
STORM_LASTS = 5  # times its window, as long as now and then a new group comes
STORM_GROUPS = 3
_LOCK = 0x616C65727473  # of PostgreSQL, for the one transaction at a time that decides about alerts
_VARIABLES = 500  # of one statement


@dataclass(frozen=True, slots=True)
class StormLimit:
    """More than so many new groups within a time are a storm: they go into one incident."""

    incidents: int
    within: timedelta


@dataclass(frozen=True, slots=True)
class PageFromOutside:
    """A page that PagerDuty sent without the bot: its dedup key, its incident there, and the name of its sender."""

    key: str | None
    pagerduty_id: str
    sender: str

    @property
    def group(self) -> str:
        """The digest of the alert group for which PagerDuty was called: Alertmanager's dedup key, if it is one."""
        key = self.key or self.pagerduty_id
        return key if re.fullmatch(r"[0-9a-f]{64}", key) else hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """A decision that was carried out, and its incident as it is now."""

    decision: Decision
    incident: Incident


Change = Callable[[Decision, Incident | str, int], Changed | None]
"""What a decision changes: of a new incident's id, or of an incident, which was told of alerts so many times.

None: there is no event of its own; the line about the incident's alerts shows it.
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """How notifications are decided and carried out; `drill` is the open drill that caused the alerts."""

    rule: Callable[[Situation], Verdict]
    change: Change
    limit: StormLimit
    redact: Callable[[dict[str, str]], dict[str, str]] = dict
    drill: str | None = None


class Alerts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, notification: Notification, at: datetime, policy: Policy) -> list[Applied]:
        """Decide by the policy's rule what comes of a notification, and save it in one transaction, one at a time."""
        async with self._database.write() as connection:
            await lock_alerts(connection)
            group = await _group(connection, notification, at)
            situation = await _load(connection, notification, group, at, policy)
            verdict = policy.rule(situation)
            applied: list[Applied] = []
            for decision in verdict.decisions:
                if result := await _carry_out(connection, decision, policy.change, at):
                    applied.append(result)
            declared = next((one.incident.id for one in applied if isinstance(one.decision, Declare)), None)
            await _save(connection, verdict.facts, notification, declared, at, policy.redact)
            owner = _owner(verdict.facts, declared, group.incident_id)
            values: dict[str, Any] = {"seen_at": at, "incident_id": owner}
            if declared or (situation.storm and owner == situation.storm.id and owner != group.incident_id):
                values["opened_at"] = at
            await connection.execute(
                update(notification_groups).where(notification_groups.c.digest == group.digest).values(values)
            )
            return applied

    async def count_firing(self, incident_id: str) -> int:
        """Return the number of firing alerts of an incident."""
        async with self._database.read() as connection:
            return (await _count_firing(connection, [incident_id])).get(incident_id, 0)

    async def begin_edit(self, incident_id: str) -> None:
        """Begin an edit of the line about an incident's alerts: what is saved after this needs another one."""
        async with self._database.write() as connection:
            await lock_alerts(connection)
            edits = {"alert_edits": incidents.c.alert_edits + 1}
            await connection.execute(update(incidents).where(incidents.c.id == incident_id).values(edits))

    async def storm(self) -> Incident | None:
        """Return the open storm incident."""
        async with self._database.read() as connection:
            return await _storm(connection)

    async def of_incident(self, incident_id: str) -> list[IncidentAlert]:
        """Return the alerts of an incident, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(alerts).where(alerts.c.incident_id == incident_id).order_by(alerts.c.id)
            )
            return [_incident_alert(row) for row in rows]

    async def declare_page(
        self, page: PageFromOutside, make: Callable[[str, bool], Changed], at: datetime, limit: StormLimit
    ) -> Incident:
        """Declare an incident for a page from outside by `make(id, is_storm)`, once.

        A page for an alert group that has an open incident is that incident's; in a storm it is the storm's.
        """
        async with self._database.write() as connection:
            await lock_alerts(connection)
            recorded = select(pages.c.incident_id).where(pages.c.pagerduty_id == page.pagerduty_id)
            if existing := (await connection.execute(recorded)).scalar_one_or_none():
                return await _get(connection, existing)
            incident = await _incident_of_group(connection, page.group)
            sender, storm, opened = page.sender, None, None
            if incident is None:
                opened = at
                storm = await _storm(connection)
                is_storm = await _is_storm(connection, at, limit, storm)
                incident = storm if is_storm else None
                if is_storm:  # one page of many must not end the whole storm
                    sender = f"{page.sender} {page.pagerduty_id}"
                if incident is None:
                    origin = f"pagerduty/{page.pagerduty_id}"
                    incident = await declare_within(
                        connection, lambda id: make(id, is_storm), at, idempotency_key=origin
                    )
                else:
                    await _show_alerts(connection, incident.id, at)
            key = page.key or f"{incident.id}/pagerduty/{page.pagerduty_id}"
            values = {"incident_id": incident.id, "team": sender[:64], "state": "sent"}
            statement = dialect_insert(connection, pages).values(key=key, pagerduty_id=page.pagerduty_id, **values)
            change = {**values, "pagerduty_id": page.pagerduty_id}
            await connection.execute(statement.on_conflict_do_update(index_elements=[pages.c.key], set_=change))
            group = dialect_insert(connection, notification_groups).values(
                digest=page.group, key=page.key or "", incident_id=incident.id, opened_at=opened, seen_at=at
            )
            seen = {"incident_id": incident.id, "seen_at": at} | ({"opened_at": opened} if opened else {})
            await connection.execute(
                group.on_conflict_do_update(index_elements=[notification_groups.c.digest], set_=seen)
            )
            return incident

    async def split(
        self, incident_id: str, ids: Sequence[int], make: Callable[[str], Changed], at: datetime, *, key: str
    ) -> tuple[Incident, bool]:
        """Move alerts of an incident into a new one made by `make(id)`, once per idempotency key."""
        async with self._database.write() as connection:
            await lock_alerts(connection)
            origin = select(incidents.c.id).where(incidents.c.origin == key)
            if existing := (await connection.execute(origin)).scalar_one_or_none():
                return await _get(connection, existing), False
            incident = await declare_within(connection, make, at, idempotency_key=key)
            for some in _batches(ids):
                moved = alerts.c.id.in_(some) & (alerts.c.incident_id == incident_id)
                await connection.execute(update(alerts).where(moved).values(incident_id=incident.id))
            left = select(alerts.c.group_digest).where(alerts.c.incident_id == incident_id)
            taken = select(alerts.c.group_digest).where(alerts.c.incident_id == incident.id)
            digest = notification_groups.c.digest
            await connection.execute(
                update(notification_groups)
                .where(digest.in_(taken), digest.not_in(left))
                .values(incident_id=incident.id)
            )
            await _show_alerts(connection, incident_id, at)
            return incident, True

    async def heard(self, key: str, at: datetime, until: datetime, arguments: list[Any]) -> None:
        """Remember that a heartbeat was heard, and watch whether it is again until then."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, heartbeats).values(key=key, heard_at=at)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=[heartbeats.c.key], set_={"heard_at": at})
            )
            id = f"heartbeat/{key}/{at.timestamp():.3f}"
            await enqueue_once(connection, id, WATCH_HEARTBEAT, [key, until.isoformat(), *arguments])

    async def heard_at(self, key: str) -> datetime | None:
        """Return when a heartbeat was last heard."""
        async with self._database.read() as connection:
            heard: datetime | None = (
                await connection.execute(select(heartbeats.c.heard_at).where(heartbeats.c.key == key))
            ).scalar_one_or_none()
        return heard

    async def prune(self, before: datetime) -> None:
        """Delete what was last seen before then and belongs to no open incident."""
        opened = select(incidents.c.id).where(incidents.c.status.in_(OPEN))
        for table in (alerts, notification_groups):
            ended = or_(table.c.incident_id.is_(None), table.c.incident_id.not_in(opened))
            await self._database.execute(delete(table).where(table.c.seen_at < before, ended))


def heartbeat_key(fingerprint: str) -> str:
    """Return the key under which a heartbeat is remembered."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


async def _incident_of_group(connection: AsyncConnection, digest: str) -> Incident | None:
    """Return the open incident of an alert group, inside the caller's transaction."""
    query = select(notification_groups.c.incident_id).where(notification_groups.c.digest == digest)
    id = (await connection.execute(query)).scalar_one_or_none()
    incident = await get_within(connection, id) if id else None
    return incident if incident and incident.status.is_open else None


async def lock_alerts(connection: AsyncConnection) -> None:
    """Let one transaction at a time decide about alerts: on SQLite every writing one is alone already."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def _group(connection: AsyncConnection, notification: Notification, at: datetime) -> Row[Any]:
    digest = notification.digest
    statement = dialect_insert(connection, notification_groups).values(
        digest=digest, key=notification.group_key, seen_at=at
    )
    await connection.execute(statement.on_conflict_do_nothing())
    query = select(notification_groups).where(notification_groups.c.digest == digest)
    return (await connection.execute(query)).one()


async def _load(
    connection: AsyncConnection, notification: Notification, group: Row[Any], at: datetime, policy: Policy
) -> Situation:
    recorded = await _recorded(connection, [alert.fingerprint for alert in notification.complete()])
    ids = {one.incident for one in recorded if one.incident} | ({group.incident_id} if group.incident_id else set())
    matches = {id: one for id in sorted(ids) if (one := await get_within(connection, id))}
    owner = matches.get(group.incident_id or "")
    if not (owner and owner.status.is_open) and (paged := await _paged(connection, group.digest)):
        owner = matches[paged.id] = paged  # Alertmanager has told PagerDuty of this group, and PagerDuty us
    storm = await _storm(connection)
    drilled = await get_within(connection, policy.drill) if policy.drill else None
    return Situation(
        group=owner.id if owner else None,
        recorded=recorded,
        incidents=matches,
        firing=await _count_firing(connection, [*matches, *(one.id for one in (storm, drilled) if one)]),
        drill=drilled if drilled and drilled.status.is_open else None,
        storm=storm,
        is_storm=await _is_storm(connection, at, policy.limit, storm),
    )


async def _recorded(connection: AsyncConnection, fingerprints: Sequence[str]) -> list[KnownAlert]:
    recorded: list[KnownAlert] = []
    for some in _batches(fingerprints):
        rows = await connection.execute(select(alerts).where(alerts.c.fingerprint.in_(some)).order_by(alerts.c.id))
        recorded += [
            KnownAlert(
                id=row.id,
                fingerprint=row.fingerprint,
                sender=row.sender,
                started_at=row.started_at,
                firing=row.firing,
                incident=row.incident_id,
                count=row._mapping["count"],  # a row has a method of this name
                returned=row.returned,
                labels=row.labels,
            )
            for row in rows
        ]
    return recorded


async def _paged(connection: AsyncConnection, key: str) -> Incident | None:
    id = (await connection.execute(select(pages.c.incident_id).where(pages.c.key == key))).scalar_one_or_none()
    incident = await get_within(connection, id) if id else None
    return incident if incident and incident.status.is_open else None


async def _storm(connection: AsyncConnection) -> Incident | None:
    query = (
        select(incidents.c.id)
        .where(incidents.c.source == STORM, incidents.c.status.in_(OPEN))
        .order_by(incidents.c.declared_at.desc())
        .limit(1)
    )
    id = (await connection.execute(query)).scalar_one_or_none()
    return await get_within(connection, id) if id else None


async def _is_storm(connection: AsyncConnection, at: datetime, limit: StormLimit, storm: Incident | None) -> bool:
    async def opened(within: timedelta) -> int:
        query = select(func.count()).select_from(notification_groups)
        return (await connection.execute(query.where(notification_groups.c.opened_at > at - within))).scalar_one()

    if await opened(limit.within) >= limit.incidents:
        return True
    return storm is not None and await opened(limit.within * STORM_LASTS) >= STORM_GROUPS


async def _count_firing(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    query = (
        select(alerts.c.incident_id, func.sum(alerts.c.count))
        .where(alerts.c.incident_id.in_(ids), alerts.c.firing.is_(True))
        .group_by(alerts.c.incident_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def _carry_out(connection: AsyncConnection, decision: Decision, change: Change, at: datetime) -> Applied | None:
    if isinstance(decision, Nothing):
        return None
    if isinstance(decision, Declare):

        def make(id: str) -> Changed:
            changed = change(decision, id, 0)
            if changed is None:
                raise ValueError("a declaration must make an incident")
            return changed

        incident = await declare_within(connection, make, at, idempotency_key=None)
        if decision.storm:
            await _show_alerts(connection, incident.id, at)
        return Applied(decision, incident)
    incident = await _get(connection, decision.incident)
    changed = change(decision, incident, await _times_reported(connection, incident.id))
    if changed is None:
        await _show_alerts(connection, incident.id, at)
        return Applied(decision, incident)
    incident, _ = await change_within(connection, incident.id, lambda _: changed, idempotency_key=None)
    if not isinstance(decision, Raise) and await _has_returned(connection, incident.id):
        await _show_alerts(connection, incident.id, at)
    return Applied(decision, incident)


async def _has_returned(connection: AsyncConnection, incident_id: str) -> bool:
    """Return True if the incident has a line about its alerts."""
    query = select(alerts.c.id).where(alerts.c.incident_id == incident_id, alerts.c.returned > 0).limit(1)
    return (await connection.execute(query)).first() is not None


async def _get(connection: AsyncConnection, id: str) -> Incident:
    incident = await get_within(connection, id)
    if incident is None:
        raise NotFound("no_such_incident", incident=id)
    return incident


async def _times_reported(connection: AsyncConnection, incident_id: str) -> int:
    kinds = (Kind.ALERT_FIRING.value, Kind.ALERT_RESOLVED.value)
    query = (
        select(func.count())
        .select_from(timeline)
        .where(timeline.c.incident_id == incident_id, timeline.c.kind.in_(kinds))
    )
    return (await connection.execute(query)).scalar_one()


async def _show_alerts(connection: AsyncConnection, incident_id: str, at: datetime) -> None:
    """Have the line about the incident's alerts edited, once for all that happens within SHOW_EVERY.

    All that is saved before the edit has the same workflow; `begin_edit` ends that, whatever the clocks say.
    """
    edits = (
        await connection.execute(select(incidents.c.alert_edits).where(incidents.c.id == incident_id))
    ).scalar_one()
    until = (at.timestamp() // SHOW_EVERY.total_seconds() + 1) * SHOW_EVERY.total_seconds()
    await enqueue_once(connection, f"{incident_id}/alerts/{edits}", SHOW_ALERTS, [incident_id, until])


async def _save(
    connection: AsyncConnection,
    facts: Iterable[Fact],
    notification: Notification,
    declared: str | None,
    at: datetime,
    redact: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    new, changed = [], []
    for fact in facts:
        alert, recorded = fact.alert, fact.recorded
        incident = fact.incident or (declared if alert.firing else None)
        if recorded is None:
            new.append(
                {
                    "fingerprint": alert.fingerprint,
                    "sender": notification.sender,
                    "started_at": alert.started_at,
                    "firing": alert.firing,
                    "count": alert.count,
                    "returned": 0,
                    "labels": redact(dict(alert.labels)),
                    "group_digest": notification.digest,
                    "incident_id": incident,
                    "seen_at": at,
                }
            )
            continue
        started_at = alert.started_at if alert.firing else recorded.started_at
        before = (recorded.firing, recorded.incident, recorded.started_at, recorded.count, recorded.sender is None)
        if before == (alert.firing, incident, started_at, alert.count, False) and not fact.is_worse:
            continue
        changed.append(
            {
                "row": recorded.id,
                "now_sender": notification.sender if recorded.sender is None else recorded.sender,
                "now_started": started_at,
                "now_firing": alert.firing,
                "now_count": alert.count if alert.firing else recorded.count,
                "more": int(fact.returned),
                "now_incident": incident,
                "now_labels": redact(dict(alert.labels)),
                "now_group": notification.digest,
                "now": at,
            }
        )
    if new:
        await connection.execute(insert(alerts), new)
    if changed:
        await connection.execute(
            update(alerts)
            .where(alerts.c.id == bindparam("row"))
            .values(
                sender=bindparam("now_sender"),
                started_at=bindparam("now_started"),
                firing=bindparam("now_firing"),
                count=bindparam("now_count"),
                returned=alerts.c.returned + bindparam("more"),
                incident_id=bindparam("now_incident"),
                labels=bindparam("now_labels"),
                group_digest=bindparam("now_group"),
                seen_at=bindparam("now"),
            ),
            changed,
        )


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _VARIABLES):
        yield values[start : start + _VARIABLES]


def _owner(facts: Iterable[Fact], declared: str | None, current: str | None) -> str | None:
    """Return the incident of a group: of its firing alerts, if they belong to any."""
    if declared:
        return declared
    owners = Counter(fact.incident for fact in facts if fact.alert.firing and fact.incident)
    if not owners or current in owners:
        return current
    return max(owners, key=lambda id: (owners[id], id or ""))


def _incident_alert(row: Row[Any]) -> IncidentAlert:
    count = row._mapping["count"]
    return IncidentAlert(row.id, row.fingerprint, row.labels, row.firing, count, row.returned, row.group_digest)
