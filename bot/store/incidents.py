"""Incidents and their timelines: every change and its event are saved in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Float, Row, Select, cast, extract, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.errors import NotFound
from bot.domain.incident import Cause, Changed, Impact, Incident, Milestone, Role, Severity, Status
from bot.domain.people import Person
from bot.domain.statistics import Record
from bot.domain.timeline import GENESIS, TERMINAL, Kind, TimelineEvent
from bot.store.database import Database, dialect_insert, redacted
from bot.store.outbox import enqueue
from bot.store.tables import counters, incidents, timeline

FOLLOW = "event"
_SEVERITIES = {severity.value: severity for severity in Severity}
OPEN = [status.value for status in Status if status.is_open]
_COUNTED = incidents.c.drill.is_(False) & (incidents.c.status != Status.DISMISSED.value)  # by the statistics


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A timeline event to append together with a change elsewhere, once per idempotency key."""

    incident_id: str
    kind: Kind
    facts: Mapping[str, Any]
    by: Person
    at: datetime
    idempotency_key: str


class Incidents:
    """The incidents.

    Every change appends its timeline event and enqueues the workflow that carries it outside (stored as `follow`, with
    the incident's id and the event's number), in one transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def declare(
        self, make: Callable[[str], Changed], at: datetime, *, idempotency_key: str | None
    ) -> tuple[Incident, bool]:
        """Declare an incident with the next number of the year, made by `make(id)`. Returns it and whether it is new.

        A second call with the same idempotency key returns the first incident.
        """
        try:
            async with self._database.write() as connection:
                if idempotency_key and (row := await _fetch_one(connection, incidents.c.origin == idempotency_key)):
                    return _incident(row), False
                return await declare_within(connection, make, at, idempotency_key=idempotency_key), True
        except IntegrityError:  # concurrent calls with the same key, on PostgreSQL
            async with self._database.read() as connection:
                row = await _fetch_one(connection, incidents.c.origin == idempotency_key)
            if row is None:
                raise
            return _incident(row), False

    async def change(
        self, incident_id: str, change: Callable[[Incident], Changed], *, idempotency_key: str | None = None
    ) -> tuple[Incident, TimelineEvent | None]:
        """Apply `change` to the current incident and append its event.

        Returns the incident and the event; if the idempotency key was used before, nothing changes and the event is
        None. Raises NotFound, and whatever `change` raises.
        """
        async with self._database.write() as connection:
            return await change_within(connection, incident_id, change, idempotency_key=idempotency_key)

    async def change_together(
        self, incident_id: str, changes: Mapping[str, Callable[[Incident], Changed | None]]
    ) -> Incident:
        """Apply several changes in one transaction, each by its idempotency key: all of them, or none.

        Each sees what those before it left. One that returns None has nothing to change. Raises what they raise, and
        then nothing is changed.
        """
        async with self._database.write() as connection:
            for idempotency_key, change in changes.items():
                incident, _ = await change_within(connection, incident_id, change, idempotency_key=idempotency_key)
            return incident

    async def get(self, incident_id: str) -> Incident:
        async with self._database.read() as connection:
            row = await _fetch_one(connection, incidents.c.id == incident_id)
        if row is None:
            raise NotFound("no_such_incident", incident=incident_id)
        return _incident(row)

    async def in_channel(self, channel: str) -> Incident | None:
        """Return the incident of this Slack channel."""
        async with self._database.read() as connection:
            row = await _fetch_one(connection, incidents.c.channel == channel)
        return _incident(row) if row else None

    async def list_open(self, limit: int | None = None) -> list[Incident]:
        """Return incidents that are not resolved, by severity, then oldest first."""
        async with self._database.read() as connection:
            return await _fetch_many(
                connection,
                _select_incidents()
                .where(incidents.c.status.in_(OPEN))
                .order_by(incidents.c.severity, incidents.c.declared_at),
                limit,
            )

    async def open_drills(self) -> list[Incident]:
        """Return the drills that are not resolved, oldest first."""
        async with self._database.read() as connection:
            is_open_drill = incidents.c.drill.is_(True) & incidents.c.status.in_(OPEN)
            return await _fetch_many(
                connection, _select_incidents().where(is_open_drill).order_by(incidents.c.declared_at), 50
            )

    async def not_closed(self) -> list[str]:
        """Return the ids of incidents that are not closed."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(incidents.c.id).where(incidents.c.status != Status.CLOSED.value).order_by(incidents.c.id)
            )
            return [row.id for row in rows]

    async def recent(self, limit: int | None = 20) -> list[Incident]:
        """Return the newest incidents first, whatever their status."""
        async with self._database.read() as connection:
            return await _fetch_many(
                connection, _select_incidents().order_by(incidents.c.declared_at.desc(), incidents.c.id.desc()), limit
            )

    async def records(self, since: datetime | None = None) -> list[Record]:
        """Return the statistics records of incidents declared since then (None: ever), without drills."""
        milestones = (incidents.c.detected_at, incidents.c.acknowledged_at, incidents.c.resolved_at)
        epochs = (cast(extract("epoch", column), Float) for column in milestones)
        query = select(incidents.c.severity, *epochs).where(_COUNTED)
        if since is not None:
            query = query.where(incidents.c.declared_at >= since)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
        return [Record(_SEVERITIES[row[0]], row[1], row[2], row[3]) for row in rows]

    async def last_start_before(self, moment: datetime) -> float | None:
        """Return the start of the last incident declared before then, in seconds since 1970; without drills."""
        start = cast(extract("epoch", incidents.c.detected_at), Float)
        query = select(start).where(_COUNTED, incidents.c.declared_at < moment)
        async with self._database.read() as connection:
            result = await connection.execute(query.order_by(incidents.c.declared_at.desc()).limit(1))
            return result.scalar_one_or_none()

    async def outages_before(self, incident: Incident) -> list[tuple[datetime, datetime | None]]:
        """Return when earlier incidents of the same service were detected and resolved, the newest first."""
        query = select(incidents.c.detected_at, incidents.c.resolved_at).where(
            incidents.c.id != incident.id,
            incidents.c.service == incident.service,
            incidents.c.detected_at <= incident.milestones[Milestone.DETECTED],
            incidents.c.status != Status.DISMISSED.value,
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(incidents.c.detected_at.desc()).limit(20))
            return [(row.detected_at, row.resolved_at) for row in rows]

    async def over_before(self, incident: Incident, limit: int = 20) -> list[Incident]:
        """Return earlier incidents of the same service that are resolved, the newest first.

        For a drill they are drills of the same title, else no drills.
        """
        query = _select_incidents().where(
            incidents.c.id != incident.id,
            incidents.c.drill.is_(incident.drill),
            incidents.c.status.in_([Status.RESOLVED.value, Status.CLOSED.value]),
            incidents.c.detected_at < incident.milestones[Milestone.DETECTED],
            incidents.c.title == incident.title if incident.drill else incidents.c.service == incident.service,
        )
        async with self._database.read() as connection:
            return await _fetch_many(connection, query.order_by(incidents.c.detected_at.desc()), limit)

    async def timeline(self, incident_id: str) -> list[TimelineEvent]:
        """Return all events, in order."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(timeline).where(timeline.c.incident_id == incident_id).order_by(timeline.c.seq)
            )
            return [_event(row) for row in rows]

    async def event(self, incident_id: str, seq: int) -> TimelineEvent:
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select(timeline).where(timeline.c.incident_id == incident_id, timeline.c.seq == seq)
                )
            ).one()
        return _event(row)

    async def last_number(self, incident_id: str) -> int:
        """Return the number of the newest event."""
        async with self._database.read() as connection:
            query = select(incidents.c.last_seq).where(incidents.c.id == incident_id)
            return int((await connection.execute(query)).scalar_one())

    async def findings_at(self, incident: Incident, number: int) -> tuple[Impact, Cause]:
        """Return the impact and the cause as they were after the event of this number."""
        kinds = (Kind.IMPACT_SET, Kind.CAUSE_SET)
        query = select(timeline.c.kind, timeline.c.facts).where(
            timeline.c.incident_id == incident.id,
            timeline.c.seq <= number,
            timeline.c.kind.in_([kind.value for kind in kinds]),
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(timeline.c.seq))
            facts = {row.kind: row.facts for row in rows}
        impact, cause = (facts.get(kind.value) for kind in kinds)
        services = (incident.service,) if incident.service else ()
        return _impact(impact) if impact else Impact(services=services), _cause(cause) if cause else Cause()

    async def seqs_of(self, incident_id: str, idempotency_key: str) -> Sequence[int]:
        """Return the numbers of the events of one request: its key, and keys that begin with it and a slash."""
        is_of_request = (timeline.c.cause == idempotency_key) | timeline.c.cause.startswith(
            f"{idempotency_key}/", autoescape=True
        )
        query = select(timeline.c.seq).where(timeline.c.incident_id == incident_id, is_of_request)
        async with self._database.read() as connection:
            return (await connection.execute(query.order_by(timeline.c.seq))).scalars().all()

    async def newest(self, incident_id: str, kind: Kind) -> TimelineEvent | None:
        """Return the last event of a kind."""
        query = select(timeline).where(timeline.c.incident_id == incident_id, timeline.c.kind == kind.value)
        async with self._database.read() as connection:
            row = (await connection.execute(query.order_by(timeline.c.seq.desc()).limit(1))).one_or_none()
        return _event(row) if row else None

    async def confirmed_causes(self, service: str) -> dict[str, int]:
        """Return how often each cause was confirmed in incidents of a service, without drills."""
        query = (
            select(timeline.c.facts)
            .join(incidents, incidents.c.id == timeline.c.incident_id)
            .where(timeline.c.kind == Kind.CAUSE_CONFIRMED.value, incidents.c.service == service, _COUNTED)
        )
        async with self._database.read() as connection:
            causes = [facts["suspect"]["cause"] for (facts,) in await connection.execute(query)]
        return {cause: causes.count(cause) for cause in causes}

    async def ids(self) -> Sequence[str]:
        async with self._database.read() as connection:
            return (await connection.execute(select(incidents.c.id).order_by(incidents.c.id))).scalars().all()

    async def count(self) -> int:
        async with self._database.read() as connection:
            return (await connection.execute(select(func.count()).select_from(incidents))).scalar_one()


async def get_within(connection: AsyncConnection, incident_id: str) -> Incident | None:
    """Return the incident, inside the caller's transaction."""
    row = await _fetch_one(connection, incidents.c.id == incident_id)
    return _incident(row) if row else None


async def declare_within(
    connection: AsyncConnection, make: Callable[[str], Changed], at: datetime, *, idempotency_key: str | None
) -> Incident:
    """Declare inside the caller's transaction: number, incident, first event and outbox entry."""
    number = await _next_number(connection, at.year)
    incident, event = redacted(connection, make(f"INC-{at.year}-{number:04d}"))
    first = event.chained(incident.id, GENESIS, 1)
    values = _columns(incident) | {"origin": idempotency_key, "last_seq": 1, "last_hash": first.hash}
    await connection.execute(insert(incidents).values(values))
    await _append(connection, incident.id, first, idempotency_key)
    return incident


async def change_within(
    connection: AsyncConnection,
    incident_id: str,
    change: Callable[[Incident], Changed | None],
    *,
    idempotency_key: str | None,
) -> tuple[Incident, TimelineEvent | None]:
    """Do `Incidents.change` inside the caller's transaction. A `change` that returns None changes nothing."""
    row = (
        await connection.execute(_select_incidents().where(incidents.c.id == incident_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise NotFound("no_such_incident", incident=incident_id)
    before = _incident(row)
    if idempotency_key is not None:
        existing = select(timeline.c.seq).where(
            timeline.c.incident_id == incident_id, timeline.c.cause == idempotency_key
        )
        if (await connection.execute(existing)).first():
            return before, None
    changed = change(before)
    if changed is None:
        return before, None
    after, event = redacted(connection, changed)
    event = event.chained(incident_id, row.last_hash, row.last_seq + 1)
    values = _columns(after) | {"last_seq": event.seq, "last_hash": event.hash}
    await connection.execute(update(incidents).where(incidents.c.id == incident_id).values(values))
    await _append(connection, incident_id, event, idempotency_key)
    return after, event


async def append_entry(connection: AsyncConnection, entry: TimelineEntry) -> bool:
    """Append an event in the transaction of its change. Returns False if it was appended before."""

    def with_entry(incident: Incident) -> Changed:
        return incident.with_event(entry.kind, entry.facts, by=entry.by, at=entry.at)

    _, event = await change_within(connection, entry.incident_id, with_entry, idempotency_key=entry.idempotency_key)
    return event is not None


async def _append(
    connection: AsyncConnection, incident_id: str, event: TimelineEvent, idempotency_key: str | None
) -> None:
    await connection.execute(
        insert(timeline).values(
            incident_id=incident_id,
            seq=event.seq,
            kind=event.kind.value,
            at=event.at,
            by_id=event.by.id,
            by_name=event.by.name,
            facts=dict(event.facts),
            hash=event.hash,
            cause=idempotency_key,
        )
    )
    await enqueue(connection, f"{incident_id}/{event.seq}", FOLLOW, [incident_id, event.seq])


async def _next_number(connection: AsyncConnection, year: int) -> int:
    statement = dialect_insert(connection, counters).values(year=year, last=1)
    statement = statement.on_conflict_do_update(index_elements=[counters.c.year], set_={"last": counters.c.last + 1})
    number: int = (await connection.execute(statement.returning(counters.c.last))).scalar_one()
    return number


def _select_incidents() -> Select[Any]:
    return select(incidents)


async def _fetch_one(connection: AsyncConnection, condition: Any) -> Row[Any] | None:
    row: Row[Any] | None = (await connection.execute(_select_incidents().where(condition))).one_or_none()
    return row


async def _fetch_many(connection: AsyncConnection, query: Select[Any], limit: int | None) -> list[Incident]:
    return [_incident(row) for row in await connection.execute(query if limit is None else query.limit(limit))]


def _columns(incident: Incident) -> dict[str, Any]:
    by = incident.declared_by
    return {
        "id": incident.id,
        "title": incident.title,
        "severity": incident.severity.value,
        "status": incident.status.value,
        "service": incident.service,
        "drill": incident.drill,
        "source": incident.source,
        "channel": incident.channel,
        "declared_by": {"id": by.id, "name": by.name, "locale": by.locale},
        "roles": {role.value: person for role, person in incident.roles.items()},
        "impact": asdict(incident.impact),
        "cause": asdict(incident.cause),
        "updated_at": incident.updated_at,
        **{f"{milestone.value}_at": incident.milestones.get(milestone) for milestone in Milestone},
    }


def _incident(row: Row[Any]) -> Incident:
    return Incident(
        id=row.id,
        title=row.title,
        severity=Severity(row.severity),
        declared_by=Person.from_json(row.declared_by),
        service=row.service,
        status=Status(row.status),
        drill=row.drill,
        source=row.source,
        channel=row.channel,
        roles={Role(role): person for role, person in row.roles.items()},
        milestones=_milestones(row),
        impact=_impact(row.impact),
        cause=_cause(row.cause),
        updated_at=row.updated_at,
    )


def _impact(raw: Mapping[str, Any]) -> Impact:
    return Impact(**{**raw, "services": tuple(raw["services"])})


def _cause(raw: Mapping[str, Any]) -> Cause:
    return Cause(**{**raw, "contributing": tuple(raw["contributing"]), "lessons": tuple(raw["lessons"])})


def _milestones(row: Row[Any]) -> dict[Milestone, datetime]:
    times = ((milestone, getattr(row, f"{milestone.value}_at")) for milestone in Milestone)
    return {milestone: at for milestone, at in times if at is not None}


def _event(row: Row[Any]) -> TimelineEvent:
    by = Person(row.by_id, row.by_name, terminal=row.facts.get(TERMINAL) or "")
    return TimelineEvent(Kind(row.kind), row.at, by, row.facts, row.seq, row.hash)
