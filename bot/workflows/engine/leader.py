"""Leader election: exactly one process runs workflows. A file lock for SQLite, an advisory lock for PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
from sqlalchemy import make_url

from bot.tasks import cancel_and_wait

log = logging.getLogger(__name__)

ADVISORY_LOCK = 727562
RETRY_PERIOD = 1.0
RENEW_INTERVAL = 0.3
# How long a leader may start steps before it notices that its connection is lost.
RENEW_DEADLINE = 2 * RENEW_INTERVAL


class Leadership:
    """The leader lock; `acquire` waits for it. `is_leader` is set while this process holds it.

    On PostgreSQL a watchdog checks the connection that holds the lock. If it is lost, `is_leader` is cleared and
    nothing is started until the lock is held again. If another process became the leader meanwhile, `on_lost` is
    called: it has recovered this process's workflows, so this process must end at once.
    """

    def __init__(self, url: str, on_lost: Callable[[], None] = lambda: os._exit(70)) -> None:
        self.is_leader = asyncio.Event()
        self._url = url
        self._on_lost = on_lost
        self._name = uuid.uuid4().hex
        self._file: IO[str] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._watchdog: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        parsed = make_url(self._url)
        if parsed.get_backend_name() == "sqlite":
            await self._lock_file(Path(f"{parsed.database}.lock"))
        else:
            await self._lock_database()
        self.is_leader.set()

    async def release(self) -> None:
        """Release the lock cleanly, so that the next leader need not wait."""
        if self._watchdog:
            await cancel_and_wait([self._watchdog])
        if self._connection:
            if self.is_leader.is_set():
                with contextlib.suppress(psycopg.Error):
                    await self._connection.execute("DELETE FROM leader")
            await self._connection.close()
        if self._file:
            self._file.close()
        self.is_leader.clear()

    async def _lock_file(self, path: Path) -> None:
        self._file = path.open("w")
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                await asyncio.sleep(RETRY_PERIOD / 5)

    async def _lock_database(self) -> None:
        while not (await self._try_lock() and self._connection):  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(RETRY_PERIOD)
        if await self._last_leader(self._connection) not in (None, self._name):
            await asyncio.sleep(RENEW_DEADLINE)
        await self._connection.execute(
            "INSERT INTO leader (id, name) VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            (self._name,),
        )
        self._watchdog = asyncio.create_task(self._watch(self._connection), name="leader-watchdog")

    async def _try_lock(self) -> bool:
        """Return True if this process holds the lock; False, and no connection, while the database is down."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=5,
                    # Both sides must detect a dead peer early enough for a takeover within 15 s.
                    options="-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
                    keepalives_idle=5,
                    keepalives_interval=2,
                    keepalives_count=3,
                )
            cursor = await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,))
            return bool((await cursor.fetchone() or (False,))[0])
        except psycopg.OperationalError as problem:
            log.warning("waiting for the database: %s", type(problem).__name__)
            self._connection = None
            return False

    @staticmethod
    async def _last_leader(connection: psycopg.AsyncConnection[Any]) -> str | None:
        """Return the last leader if it did not release the lock cleanly."""
        row = await (await connection.execute("SELECT name FROM leader")).fetchone()
        return row[0] if row else None

    async def _watch(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    await connection.execute("SELECT 1")
            except (psycopg.Error, TimeoutError):
                log.critical("lost the leader lock; starting nothing until it is held again")
                self.is_leader.clear()
                await connection.close()
                connection = await self._lock_again()
            await asyncio.sleep(RENEW_INTERVAL)

    async def _lock_again(self) -> psycopg.AsyncConnection[Any]:
        """Take the lock again once the database is back, unless another process was the leader meanwhile."""
        self._connection = None
        while True:
            # A refusal proves nothing: the server may still hold the lock for our dead connection.
            locked = await self._try_lock()
            try:
                if self._connection and await self._last_leader(self._connection) != self._name:
                    log.critical("another process is the leader; exiting so that no workflow runs twice")
                    self._on_lost()
                if self._connection and locked:
                    log.warning("holding the leader lock again")
                    self.is_leader.set()
                    return self._connection
            except psycopg.Error:
                self._connection = None
            await asyncio.sleep(RENEW_INTERVAL)
