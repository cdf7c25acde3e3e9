"""Who may run workflows. On PostgreSQL every process that holds a lease; on SQLite the one that holds a file's lock.

A lease is a row of the table `executors` that says until when its process lives, by the database's clock. The process
renews it with a heartbeat; whoever lives takes over from one whose lease is over (`assignments.py`). So that it does
nothing more then, it passes three fences:

- `gate`, before a step and before an effect begins: its own clock says that nobody can have taken over yet;
- `fence`, in a transaction that changes the bot's tables: its row is still there, and stays until the commit;
- DBOS's token of the execution (`owner_xid`), where a step is recorded: a takeover makes it void.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store.database import SESSION_NAME
from bot.tasks import cancel_and_wait

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
BEAT_SECONDS = 0.5
BEAT_TIMEOUT_SECONDS = 4.0
# How long a process begins steps and effects after a heartbeat, by its own clock: it stops before others may take over.
CONFIRMED_SECONDS = 2.5
GONE_SECONDS = 3.0  # without a heartbeat and without its session, a process has died or is cut off
LEASE_SECONDS = 7.0  # without a heartbeat, although its session lives, it hangs
# So long between two own heartbeats, the database may have paused for everybody: less than a lease lasts.
PAUSE_SECONDS = 5.0
# Versions that elected a leader held it exclusively. It is shared here, so that they and this one exclude each other.
LEADER_LOCK = 727562

_JOIN = """
    INSERT INTO executors (id, pid, expires_at) VALUES (%s, pg_backend_pid(), clock_timestamp() + %s * interval '1 s')
"""
_BEAT = """
    WITH beat AS (
        UPDATE executors SET expires_at = clock_timestamp() + %s * interval '1 s', pid = pg_backend_pid()
        WHERE id = %s AND expires_at > '-infinity' RETURNING id
    )
    SELECT array(SELECT id FROM executors WHERE expires_at > clock_timestamp()) FROM beat
"""
_LEAVE = "UPDATE executors SET expires_at = '-infinity' WHERE id = %s"
_FENCE = text("SELECT 1 FROM executors WHERE id = :id FOR KEY SHARE")  # lets heartbeats pass, not a takeover


class FileLease:
    """The lease on SQLite, where one process at a time runs workflows: a lock that ends with its process."""

    def __init__(self, database: str) -> None:
        self.id = ""
        self.held = asyncio.Event()
        self._path = Path(f"{database}.lock")
        self._file: IO[str] | None = None

    @property
    def confirmed(self) -> bool:
        """True while no other process can have taken over."""
        return self.held.is_set()

    async def gate(self) -> None:
        """Wait until this process surely holds the lease."""
        await self.held.wait()

    async def wait(self) -> None:
        """Wait until no other process runs workflows."""
        self._file = self._file or self._path.open("w")
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                await asyncio.sleep(RETRY_SECONDS / 5)

    async def join(self) -> None:
        """Begin to hold the lease, under a new id."""
        self.id = uuid.uuid4().hex
        self.held.set()

    async def leave(self) -> None:
        """Give the lease back, so that the next process need not wait."""
        self.held.clear()
        if self._file:
            self._file.close()
            self._file = None


class Lease:
    """The lease on PostgreSQL. `held` is set while the database confirms it, `executors` are those that hold one.

    A process whose lease was taken over must end at once: `on_lost` is called. With `spare`, it waits until no other
    process holds a lease.
    """

    def __init__(self, url: str, *, spare: bool = False, on_lost: Callable[[], None] = lambda: os._exit(70)) -> None:
        self.id = ""
        self.held = asyncio.Event()
        self.executors: frozenset[str] = frozenset()
        self._url = url
        self._spare = spare
        self._on_lost = on_lost
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._confirmed_at = float("-inf")  # when the last heartbeat was sent
        self._paused_at = float("-inf")  # when one came after a pause for the last time

    @property
    def confirmed(self) -> bool:
        """True while no other process can have taken over."""
        return self.held.is_set() and _seconds() - self._confirmed_at < CONFIRMED_SECONDS

    @property
    def judges(self) -> bool:
        """True if a late heartbeat of others is their own fault: after a pause of the database everybody's is late."""
        return self.confirmed and _seconds() - self._paused_at > LEASE_SECONDS

    async def gate(self) -> None:
        """Wait until this process surely holds its lease. Whatever acts outside passes here before it begins."""
        while not self.confirmed:
            await self.held.wait()
            if not self.confirmed:
                await asyncio.sleep(BEAT_SECONDS / 3)

    async def fence(self, connection: AsyncConnection) -> None:
        """Let nobody take over before this transaction has ended; if somebody has, the process ends."""
        if (await connection.execute(_FENCE, {"id": self.id})).first() is None:
            self._lost("another process has taken over")

    async def wait(self) -> None:
        """Wait until the database answers and this process may run workflows."""
        while not await self._may_join():  # noqa: ASYNC110 - what it waits for happens in the database
            await asyncio.sleep(RETRY_SECONDS)

    async def join(self) -> None:
        """Begin to hold a lease, under a new id: whoever takes over from an earlier one of this process harms nothing.

        Raises psycopg.Error.
        """
        self.id = uuid.uuid4().hex
        connection = self._connection or await self._connect()
        asked = _seconds()
        await connection.execute(_JOIN, (self.id, LEASE_SECONDS))
        self._confirmed_at = asked
        self.executors = frozenset({self.id})
        self.held.set()
        self._beating = asyncio.create_task(self._beat_forever(), name="lease")

    async def leave(self) -> None:
        """Give the lease back, so that others take over at once."""
        self.held.clear()
        if self._beating:
            await cancel_and_wait([self._beating])
            self._beating = None
        if self._connection:
            with contextlib.suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(BEAT_TIMEOUT_SECONDS):
                    await self._connection.execute(_LEAVE, (self.id,))
        await self._disconnect()

    async def _may_join(self) -> bool:
        try:
            async with asyncio.timeout(BEAT_TIMEOUT_SECONDS):
                connection = self._connection or await self._connect()
                others = "SELECT 1 FROM executors WHERE expires_at > clock_timestamp()"
                return not (self._spare and await (await connection.execute(others)).fetchone())
        except _LeaderRuns:
            return False
        except (psycopg.Error, TimeoutError) as problem:
            log.warning("waiting for the database: %s", type(problem).__name__)
            await self._disconnect()
            return False

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        """Open the session of the heartbeats. Raises _LeaderRuns while a version that elects a leader runs."""
        self._connection = connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=3,
            application_name=SESSION_NAME,
            # The server must detect a dead peer early enough for a takeover within 15 s.
            options="-c statement_timeout=3s -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2"
            " -c tcp_keepalives_count=3",
        )
        shared = await connection.execute("SELECT pg_try_advisory_lock_shared(%s)", (LEADER_LOCK,))
        if not (await shared.fetchone() or (False,))[0]:
            await self._disconnect()
            raise _LeaderRuns
        return connection

    async def _disconnect(self) -> None:
        if self._connection:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                async with asyncio.timeout(BEAT_TIMEOUT_SECONDS):
                    await self._beat()
            except _LeaderRuns:
                self._lost("another version of the bot runs the workflows")
            except (psycopg.Error, TimeoutError) as problem:
                if self.held.is_set():
                    log.critical("no heartbeat (%s); beginning nothing until it is back", type(problem).__name__)
                self.held.clear()
                await self._disconnect()

    async def _beat(self) -> None:
        connection = self._connection or await self._connect()
        asked = _seconds()  # before it is sent: by this clock the lease ends before it ends by the database's
        row = await (await connection.execute(_BEAT, (LEASE_SECONDS, self.id))).fetchone()
        if row is None:
            self._lost("another process has taken over")
            return
        if asked - self._confirmed_at > PAUSE_SECONDS:
            self._paused_at = asked
        self._confirmed_at = asked
        self.executors = frozenset({self.id, *row[0]})
        if not self.held.is_set():
            log.warning("the heartbeat is back")
            self.held.set()

    def _lost(self, why: str) -> None:
        log.critical("%s; exiting so that nothing is done twice", why)
        self.held.clear()
        self._on_lost()


class _LeaderRuns(Exception):
    pass


def lease_on(url: str, *, spare: bool = False) -> FileLease | Lease:
    """Return the lease for a database."""
    parsed = make_url(url)
    return FileLease(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else Lease(url, spare=spare)


def _seconds() -> float:
    """Return seconds of a clock that goes on while the process is stopped and while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
