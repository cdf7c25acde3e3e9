"""Exactly one process runs workflows: a lock on the file beside SQLite, or an advisory lock of PostgreSQL."""

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
# How long a leader whose connection was cut may begin steps before it notices.
RENEW_DEADLINE = 2 * RENEW_INTERVAL


class Leadership:
    """Held by one process at a time; `acquire` waits for it. `held` is set while it is ours.

    On PostgreSQL a watchdog asks all the time whether the connection that holds the lock is alive. When it is not,
    the database is away or has let go of us: `held` is cleared, and everything waits until the lock is ours again.
    When another process has led meanwhile, `lost` is called: the workflows in this one are another's now, so it must
    end at once.
    """

    def __init__(self, url: str, lost: Callable[[], None] = lambda: os._exit(70)) -> None:
        self.is_leader = asyncio.Event()
        self._url = url
        self._lost = lost
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
        """Let go, in order: the next one need not wait for us."""
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
        while not (await self._locked() and self._connection):  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(RETRY_PERIOD)
        if await self._last_leader(self._connection) not in (None, self._name):
            await asyncio.sleep(RENEW_DEADLINE)
        await self._connection.execute(
            "INSERT INTO leader (id, name) VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            (self._name,),
        )
        self._watchdog = asyncio.create_task(self._watch(self._connection), name="leader-watchdog")

    async def _locked(self) -> bool:
        """Whether the lock is ours now; False, and no connection, while the database is away."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=5,
                    # Both sides must notice a dead peer in time for another to take over within 15 s.
                    options="-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
                    keepalives_idle=5,
                    keepalives_interval=2,
                    keepalives_count=3,
                )
            answer = await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,))
            return bool((await answer.fetchone() or (False,))[0])
        except psycopg.OperationalError as problem:
            log.warning("waiting for the database: %s", type(problem).__name__)
            self._connection = None
            return False

    @staticmethod
    async def _last_leader(connection: psycopg.AsyncConnection[Any]) -> str | None:
        """Who led last and did not let go in order."""
        row = await (await connection.execute("SELECT name FROM leader")).fetchone()
        return row[0] if row else None

    async def _watch(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    await connection.execute("SELECT 1")
            except (psycopg.Error, TimeoutError):
                log.critical("the leader lock is gone; nothing is begun until it is back")
                self.is_leader.clear()
                await connection.close()
                connection = await self._lock_again()
            await asyncio.sleep(RENEW_INTERVAL)

    async def _lock_again(self) -> psycopg.AsyncConnection[Any]:
        """Take the lock again as soon as the database is back, unless somebody else has led meanwhile."""
        self._connection = None
        while True:
            # Not being given it proves nothing: the server may not have noticed yet that our old connection is dead.
            locked = await self._locked()
            try:
                if self._connection and await self._last_leader(self._connection) != self._name:
                    log.critical("another process leads; this one ends so that no workflow runs twice")
                    self._lost()
                if self._connection and locked:
                    log.warning("the leader lock is back")
                    self.is_leader.set()
                    return self._connection
            except psycopg.Error:
                self._connection = None
            await asyncio.sleep(RENEW_INTERVAL)
