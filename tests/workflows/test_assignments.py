"""Leases and assignments on a real PostgreSQL: who takes over from whom, and what a fence keeps out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
import pytest
from dbos import DBOS
from sqlalchemy import text

from bot.metrics import Metrics
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.outbox import OutboxEntry
from bot.workflows.engine.assignments import Assignments, chosen
from bot.workflows.engine.lease import LEADER_LOCK, Lease
from sandbox.deadline import deadline

NOW = datetime(2026, 1, 7, 2, 0, tzinfo=UTC)
pytestmark = pytest.mark.real("postgresql")


class Replica:
    """A process as the others see it: a lease and what is assigned to it."""

    def __init__(self, url: str, database: Database, *, spare: bool = False) -> None:
        self.ended = asyncio.Event()
        self.database = database
        self.lease = Lease(url, spare=spare, on_lost=self.ended.set)
        self.assignments = Assignments(database, self.lease, Metrics())

    async def own(self, *subjects: str) -> list[str]:
        entries = [OutboxEntry(number, subject, "wake", [subject]) for number, subject in enumerate(subjects)]
        return [entry.subject for entry in await self.assignments.own(entries, NOW)]

    async def owns(self, subject: str) -> bool:
        await self.assignments.take_over(NOW, [])
        return await self.own(subject) == [subject]


@contextlib.asynccontextmanager
async def replicas(url: str, count: int) -> AsyncIterator[list[Replica]]:
    upgrade(url)
    await asyncio.to_thread(DBOS.migrate, url)
    database = Database(url)
    made = [Replica(url, database) for _ in range(count)]
    try:
        for one in made:
            await one.lease.wait()
            await one.lease.join()
        async with deadline(20):
            while any(len(one.lease.executors) < count for one in made):  # noqa: ASYNC110 - a heartbeat says so
                await asyncio.sleep(0.05)
        yield made
    finally:
        for one in made:
            await one.lease.leave()
        await database.close()


async def until_owned(replica: Replica, subject: str, seconds: float) -> None:
    async with deadline(seconds):
        while not await replica.owns(subject):  # noqa: ASYNC110 - a lease ends in the database
            await asyncio.sleep(0.1)


def test_new_subjects_go_to_all_alike_and_stay_when_one_joins() -> None:
    subjects = [f"INC-2026-{number:04d}" for number in range(300)]
    shares = Counter(chosen(subject, ["a", "b", "c"]) for subject in subjects)
    assert shares.keys() == {"a", "b", "c"} and min(shares.values()) > 60
    moved = [one for one in subjects if chosen(one, ["a", "b"]) != chosen(one, ["b", "a", "c"])]
    assert all(chosen(subject, ["a", "b", "c"]) == "c" for subject in moved)


async def test_a_subject_has_one_owner_until_that_leaves(postgresql_url: str) -> None:
    async with replicas(postgresql_url, 2) as (one, other):
        subjects = [f"run-{number}" for number in range(20)]
        shares = await asyncio.gather(one.own(*subjects), other.own(*subjects))
        assert sorted(shares[0] + shares[1]) == sorted(subjects) and all(shares)
        await one.lease.leave()
        await other.assignments.take_over(NOW, [])
        assert await other.own(*subjects) == subjects  # at once: it gave its lease back


async def test_one_whose_session_is_cut_goes_on_and_one_that_is_silent_is_fenced(postgresql_url: str) -> None:
    async with replicas(postgresql_url, 2) as (one, other):
        subject = next(name for name in map(str, range(99)) if chosen(name, one.lease.executors) == one.lease.id)
        assert await one.own(subject) == [subject]
        async with await psycopg.AsyncConnection.connect(postgresql_url, autocommit=True) as connection:
            cut = "SELECT pg_terminate_backend(pid) FROM executors WHERE id = %s"
            await connection.execute(cut, (one.lease.id,))
        async with deadline(20):
            await one.lease.gate()
        assert not one.ended.is_set() and not await other.owns(subject)

        beating = one.lease._beating
        assert beating
        beating.cancel()  # its session lives: it hangs
        async with one.database.write() as transaction:
            await one.lease.fence(transaction)  # begun in time: nobody takes over before it ends
            await transaction.execute(text("UPDATE executors SET expires_at = now() - interval '1 s' WHERE id = :id"),
                                      {"id": one.lease.id})  # fmt: skip
            assert not await other.owns(subject)
        await until_owned(other, subject, 20)
        async with one.database.write() as transaction:
            await one.lease.fence(transaction)
        assert one.ended.is_set()


async def test_a_spare_one_and_a_version_that_elects_a_leader_wait_for_each_other(postgresql_url: str) -> None:
    async with replicas(postgresql_url, 1) as (one,):
        spare = Replica(postgresql_url, one.database, spare=True)
        waiting = asyncio.create_task(spare.lease.wait())
        async with await psycopg.AsyncConnection.connect(postgresql_url, autocommit=True) as leader:
            take = f"SELECT pg_try_advisory_lock({LEADER_LOCK})"
            assert await (await leader.execute(take)).fetchone() == (False,)
            assert not waiting.done()
            await one.lease.leave()
            async with deadline(20):
                await waiting
            await spare.lease.leave()
            async with deadline(20):  # the server frees what a closed session held a moment later
                while (await (await leader.execute(take)).fetchone()) == (False,):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert not await spare.lease._may_join()
