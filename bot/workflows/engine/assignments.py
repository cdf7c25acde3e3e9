"""Which executor runs what, where several share a PostgreSQL: all workflows about one subject in the same process.

A subject is what a workflow's first argument names: an incident, a run. What is ordered (the events of an incident, the
states of a message, who is notified) is ordered inside one process, so a subject stays with its executor for as long as
that holds its lease. A new subject goes to one of the living by its hash, which spreads a storm.

A takeover is one transaction: it removes the executors whose lease is over and takes their subjects and workflows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select, text

from bot.metrics import Metrics
from bot.store.database import Database, dialect_insert
from bot.store.outbox import OutboxEntry
from bot.store.tables import SUBJECT_LIMIT, assignments
from bot.workflows.engine.lease import GONE_SECONDS, LEASE_SECONDS, Lease

log = logging.getLogger(__name__)

QUEUE_PREFIX = "executor/"

# Who gave its lease back may be taken over by everybody, the others by who may judge them. An executor that died has no
# session any more; that says nothing when the server itself was just started. One that is in the middle of a
# transaction (Lease.fence) is left to the next round.
_REMOVE = text("""
    DELETE FROM executors WHERE id IN (
        SELECT executor.id FROM executors AS executor
        WHERE executor.id <> :id AND (
            executor.expires_at = '-infinity'
            OR :judges AND executor.expires_at < clock_timestamp()
            OR :judges AND executor.expires_at < clock_timestamp() + :early * interval '1 s'
                AND NOT EXISTS (SELECT 1 FROM pg_stat_activity AS session WHERE session.pid = executor.pid)
                AND pg_postmaster_start_time() < clock_timestamp() - :lease * interval '1 s'
        )
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, expires_at = '-infinity' AS left_in_order
""")
_TAKE_SUBJECTS = text("UPDATE assignments SET executor = :id WHERE executor NOT IN (SELECT id FROM executors)")
# DBOS has no such operation: `resume_workflow` takes a workflow from the living, too. In its tables a workflow runs in
# an executor (PENDING), or waits in a queue for one (ENQUEUED); its token `owner_xid` is what a step is recorded with.
_TAKE_WORKFLOWS = text("""
    UPDATE dbos.workflow_status
    SET status = 'ENQUEUED', queue_name = :queue, owner_xid = NULL, started_at_epoch_ms = NULL,
        updated_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    WHERE status = 'PENDING' AND executor_id = :id AND workflow_uuid = ANY(:interrupted)
        OR status = 'PENDING' AND executor_id NOT IN (SELECT id FROM executors)
        OR status = 'ENQUEUED' AND starts_with(queue_name, :prefix)
            AND queue_name NOT IN (SELECT :prefix || id FROM executors)
    RETURNING workflow_uuid
""")
_REMOVE_QUEUES = text("""
    DELETE FROM dbos.queues
    WHERE starts_with(name, :prefix) AND name NOT IN (SELECT :prefix || id FROM executors)
""")


class Assignments:
    """The subjects and workflows of the executors that share a database, as the holder of `lease` sees them."""

    def __init__(self, database: Database, lease: Lease, metrics: Metrics) -> None:
        self._database = database
        self._lease = lease
        self._metrics = metrics
        self._known: dict[str, str] = {}  # subject → executor, of the living
        self._living: frozenset[str] = frozenset()

    @property
    def queue(self) -> str:
        """The queue of DBOS from which this process alone takes workflows."""
        return f"{QUEUE_PREFIX}{self._lease.id}"

    async def own(self, entries: Sequence[OutboxEntry], now: datetime) -> list[OutboxEntry]:
        """Return the entries whose subjects are assigned to this process; assigns new subjects. Raises Unavailable."""
        if self._living != self._lease.executors:
            self._living = self._lease.executors
            self._known = {subject: known for subject, known in self._known.items() if known in self._living}
        if unknown := sorted({entry.subject for entry in entries} - self._known.keys()):
            found = await self._read(unknown)
            if new := [subject for subject in unknown if subject not in found]:
                await self._assign(new, now)
                found |= await self._read(new)
            self._known |= found
        return [entry for entry in entries if self._known.get(entry.subject) == self._lease.id]

    async def take_over(self, now: datetime, interrupted: Collection[str]) -> list[str]:
        """Take over from executors whose lease is over, and enqueue own workflows that were `interrupted` again.

        Takes all that belongs to nobody who lives, also what an earlier version has left, or somebody who woke up late.
        Returns the ids of the workflows. Raises Unavailable.
        """
        own = {"id": self._lease.id, "queue": self.queue, "prefix": QUEUE_PREFIX, "interrupted": list(interrupted)}
        async with self._database.write() as connection:
            await self._lease.fence(connection)
            removed = await connection.execute(
                _REMOVE,
                {
                    "id": self._lease.id,
                    "judges": self._lease.judges,
                    "early": LEASE_SECONDS - GONE_SECONDS,  # its last heartbeat was GONE_SECONDS ago
                    "lease": LEASE_SECONDS,
                },
            )
            executors = removed.all()
            await connection.execute(_TAKE_SUBJECTS, {"id": self._lease.id})
            workflows = [row.workflow_uuid for row in await connection.execute(_TAKE_WORKFLOWS, own)]
            if executors:
                await connection.execute(_REMOVE_QUEUES, {"prefix": QUEUE_PREFIX})
            if workflows:
                values = [
                    {"subject": subject, "executor": self._lease.id, "since": now}
                    for subject in sorted({workflow.split("/")[0][:SUBJECT_LIMIT] for workflow in workflows})
                ]
                await connection.execute(dialect_insert(connection, assignments).on_conflict_do_nothing(), values)
        if executors:
            self._known.clear()
        for executor in executors:
            if executor.left_in_order:
                log.info("executor %s has left", executor.id)
            else:
                self._metrics.executors_taken_over.inc()
                log.warning("took over from executor %s", executor.id)
        if workflows:
            log.info("%s workflows are resumed", len(workflows))
        return workflows

    async def _read(self, subjects: Sequence[str]) -> dict[str, str]:
        query = select(assignments.c.subject, assignments.c.executor).where(assignments.c.subject.in_(subjects))
        async with self._database.read() as connection:
            return {row.subject: row.executor for row in await connection.execute(query)}

    async def _assign(self, subjects: Sequence[str], now: datetime) -> None:
        """Assign subjects to the living; whoever is first decides."""
        values = [
            {"subject": subject, "executor": chosen(subject, self._lease.executors), "since": now}
            for subject in subjects
        ]
        async with self._database.write() as connection:
            await connection.execute(dialect_insert(connection, assignments).on_conflict_do_nothing(), values)


def chosen(subject: str, executors: Collection[str]) -> str:
    """Return the executor for a new subject: each gets as many, in whatever order they joined (rendezvous hashing)."""
    return max(executors, key=lambda executor: hashlib.sha256(f"{executor}/{subject}".encode()).digest())
