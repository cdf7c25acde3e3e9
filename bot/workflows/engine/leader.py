"""Leader election: exactly one process runs workflows. A file lock for SQLite, an advisory lock for PostgreSQL.

On PostgreSQL the lock lives as long as the leader's session, and the leader asks something over it all the time: that
is its heartbeat, whose time the database itself keeps (`pg_stat_activity`). Whoever waits for the lock ends the
sessions of a leader that has been silent for SILENT_SECONDS. A leader that hangs begins nothing more before that, by
its own clock: see `gate`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
from sqlalchemy import make_url

from bot.store.database import session_name
from bot.tasks import cancel_and_wait

log = logging.getLogger(__name__)

ADVISORY_LOCK = 727562
RETRY_PERIOD = 1.0
RENEW_INTERVAL = 0.3
# How long a leader may start steps before it notices that its connection is lost.
RENEW_DEADLINE = 2 * RENEW_INTERVAL
SILENT_SECONDS = 8.0  # a leader that asked nothing for so long hangs, by the database's clock
# How long a leader begins effects after its last heartbeat: shorter, so that it stops before another one starts.
CONFIRMED_SECONDS = 5.0
LOOP_GRACE_SECONDS = 2.0  # for the event loop to find out what happened while the whole process was stopped

_SILENT_SESSIONS = """
    SELECT other.pid FROM pg_locks AS lock
    JOIN pg_stat_activity AS leader ON leader.pid = lock.pid
    JOIN pg_stat_activity AS other ON other.pid = leader.pid
        OR (other.application_name = leader.application_name AND other.application_name LIKE 'tamv-bot/%%'
            AND other.datname = leader.datname)
    WHERE lock.locktype = 'advisory' AND lock.granted AND lock.classid = 0 AND lock.objid = %s
        AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND leader.state = 'idle' AND leader.state_change < clock_timestamp() - make_interval(secs => %s)
        AND other.application_name <> %s
"""


class Leadership:
    """The leader lock; `acquire` waits for it. `is_leader` is set while this process holds it.

    On PostgreSQL a watchdog checks the connection that holds the lock. If it is lost, `is_leader` is cleared and
    nothing is started until the lock is held again. If another process became the leader meanwhile, `on_lost` is
    called: it has recovered this process's workflows, so this process must end at once. So it must when its event loop
    hangs, while threads of libraries go on.
    """

    def __init__(self, url: str, on_lost: Callable[[], None] = lambda: os._exit(70)) -> None:
        self.is_leader = asyncio.Event()
        self._url = url
        self._on_lost = on_lost
        self._name = uuid.uuid4().hex
        self._file: IO[str] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._confirmed_at = float("inf")  # the last heartbeat; on SQLite nobody else can have taken over
        self._answered_since: float | None = None  # since when the database answers this process without a pause

    @property
    def confirmed(self) -> bool:
        """True while no other process can have become the leader."""
        return self.is_leader.is_set() and _seconds() - self._confirmed_at < CONFIRMED_SECONDS

    async def gate(self) -> None:
        """Wait until this process is surely the leader. Whatever acts outside passes here before it begins."""
        while not self.confirmed:
            await self.is_leader.wait()
            if not self.confirmed:
                await asyncio.sleep(RENEW_INTERVAL / 3)

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
        while not (connection := await self._become_leader()):
            if not await self._end_silent_leader():
                await asyncio.sleep(RETRY_PERIOD)
        self._confirmed_at = _seconds()
        self._watchdog = asyncio.create_task(self._watch(connection), name="leader-watchdog")
        threading.Thread(target=self._watch_loop, name="leader-loop-watchdog", daemon=True).start()

    async def _become_leader(self) -> psycopg.AsyncConnection[Any] | None:
        """Take the lock and write this process down, once an earlier leader has noticed that it is not any more.

        Returns the connection that holds the lock; None if that is not possible now.
        """
        if not (await self._try_lock() and self._connection):
            return None
        try:
            if await self._last_leader(self._connection) not in (None, self._name):
                await asyncio.sleep(RENEW_DEADLINE)
            await self._connection.execute(
                "INSERT INTO leader (id, name) VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                (self._name,),
            )
        except psycopg.Error as problem:  # the database is read-only, or gone again
            log.warning("cannot become the leader: %s", type(problem).__name__)
            await self._connection.close()
            self._connection = self._answered_since = None
        return self._connection

    async def _try_lock(self) -> bool:
        """Return True if this process holds the lock; False, and no connection, while the database is down."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=5,
                    # Both sides must detect a dead peer early enough for a takeover within 15 s.
                    application_name=session_name(),
                    options="-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
                    keepalives_idle=5,
                    keepalives_interval=2,
                    keepalives_count=3,
                )
            asked = _seconds()
            cursor = await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,))
            locked = bool((await cursor.fetchone() or (False,))[0])
            if self._answered_since is None or _seconds() - asked > RETRY_PERIOD:
                self._answered_since = _seconds()
            return locked
        except psycopg.OperationalError as problem:
            log.warning("waiting for the database: %s", type(problem).__name__)
            self._connection = self._answered_since = None
            return False

    async def _end_silent_leader(self) -> bool:
        """End all sessions of a leader that hangs, and its lock with them. Returns True if there was one.

        After a pause of the database everybody has been silent, so nobody is judged until it has answered for a while.
        """
        since = self._answered_since
        if self._connection is None or since is None or _seconds() - since < SILENT_SECONDS:
            return False
        with contextlib.suppress(psycopg.Error):
            cursor = await self._connection.execute(
                f"SELECT pid, pg_terminate_backend(pid) FROM ({_SILENT_SESSIONS}) AS silent",  # noqa: S608 - constant
                (ADVISORY_LOCK, SILENT_SECONDS, session_name()),
            )
            if ended := await cursor.fetchall():
                log.critical("the leader has been silent for %s s: ended its %s sessions", SILENT_SECONDS, len(ended))
                return True
        return False

    @staticmethod
    async def _last_leader(connection: psycopg.AsyncConnection[Any]) -> str | None:
        """Return the last leader if it did not release the lock cleanly."""
        row = await (await connection.execute("SELECT name FROM leader")).fetchone()
        return row[0] if row else None

    async def _watch(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            asked = _seconds()
            try:
                async with asyncio.timeout(5):
                    await connection.execute("SELECT 1")
                self._confirmed_at = asked
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
                    self._confirmed_at = _seconds()
                    self.is_leader.set()
                    return self._connection
            except psycopg.Error:
                self._connection = None
            await asyncio.sleep(RENEW_INTERVAL)

    def _watch_loop(self) -> None:
        """End the process when its event loop hangs: the threads of DBOS would go on taking work that never runs."""
        while self._watchdog and not self._watchdog.done():
            before = _seconds()
            time.sleep(1)
            if _seconds() - before > LOOP_GRACE_SECONDS:  # the whole process was stopped
                time.sleep(LOOP_GRACE_SECONDS)
            elif self.is_leader.is_set() and _seconds() - self._confirmed_at > SILENT_SECONDS:
                log.critical("the event loop hangs; exiting so that no workflow runs twice")
                self._on_lost()


def _seconds() -> float:
    """Return seconds of a clock that goes on while the process is stopped and while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
