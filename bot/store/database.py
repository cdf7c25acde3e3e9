"""The connection: SQLite with a write-ahead log, or PostgreSQL; both asynchronous."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, CursorResult, Executable, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.domain.errors import Unavailable

BUSY_SECONDS = 2  # of the three that Slack waits for
IDLE_SECONDS = 1.0  # after which a connection is asked whether it is still alive, before it is used
USED_AT = "used_at"
ENQUEUED = "enqueued"

BUSY_TIMEOUT_MS = 20
RETRY_PAUSE_SECONDS = 0.02  # seconds
SQLITE_WRITES = "writes"  # an execution option: the transaction is going to write
SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "secure_delete=ON",  # what the inbox has handled leaves nothing in the file
)


def mark_enqueued(connection: AsyncConnection) -> None:
    """Have `Database.on_enqueued` called once the transaction is committed."""
    connection.info[ENQUEUED] = True


def dialect_insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, in the dialect of the connection."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


class Database:
    """Transactions on one database.

    `url` is `sqlite:///path` or `postgresql://…`. A database that is locked, full or gone raises Unavailable.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.url = url
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).resolve().parent.mkdir(parents=True, exist_ok=True)
        self.on_enqueued: Callable[[], None] = lambda: None  # called after a commit that enqueued a workflow
        self._engine = sqlite_engine(parsed) if self.is_sqlite else _postgresql(parsed)
        # On SQLite each connection begins its transactions by itself.
        self._reading = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may change something: committed at the end, rolled back by any exception.

        On SQLite it takes the write lock at once, so that what it reads cannot change before it writes.
        """
        with translate_errors():
            async with self._connected(self._engine) as connection:
                if self.is_sqlite:
                    connection = await connection.execution_options(**{SQLITE_WRITES: True})
                async with asyncio.timeout(BUSY_SECONDS):
                    await retry_while_locked(connection.begin)
                connection.info.pop(ENQUEUED, None)  # left by a transaction that was rolled back
                yield connection
                await connection.commit()
                if connection.info.pop(ENQUEUED, None):
                    self.on_enqueued()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For questions that change nothing.

        On SQLite all of them see one state. On PostgreSQL each sees what was committed before it, as in a transaction
        (READ COMMITTED), but without the two round trips that a transaction costs.
        """
        with translate_errors():
            async with self._connected(self._reading) as connection:
                yield connection

    async def execute(self, statement: Executable) -> CursorResult[Any]:
        """One statement that is a transaction by itself; its rows, if it gives any, are here already."""
        if self.is_sqlite:
            async with self.write() as connection:
                return await connection.execute(statement)
        async with self.read() as connection:
            return await connection.execute(statement)

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; whatever is not committed when it goes back is rolled back."""
        if not self.is_sqlite:
            async with engine.connect() as connection:
                yield connection
            return
        # SQLAlchemy's `async with` gives it back in a task of its own, lest a cancellation cut that off. Nothing waits
        # on SQLite, so nothing can be cut off, and the next one can have it at once: one connection is enough.
        connection = await engine.connect()
        try:
            yield connection
        finally:
            await connection.close()

    async def ready(self) -> None:
        """Raises Unavailable when the database does not answer."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def _postgresql(url: URL) -> AsyncEngine:
    made = create_async_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=10,
        pool_timeout=BUSY_SECONDS * 3,  # a queue is no outage
        pool_use_lifo=True,  # the one that was used last is not idle
        connect_args={
            "connect_timeout": BUSY_SECONDS,
            "options": f"-c statement_timeout={BUSY_SECONDS * 5}s -c lock_timeout={BUSY_SECONDS}s",
        },
    )

    # SQLAlchemy's pool_pre_ping asks before each use, which is a fifth of all that goes to and fro.
    @event.listens_for(made.sync_engine, "checkin")
    def used(_connection: Any, record: Any) -> None:
        record.info[USED_AT] = time.monotonic()

    @event.listens_for(made.sync_engine, "checkout")
    def alive(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(USED_AT, time.monotonic()) < IDLE_SECONDS:
            return
        try:
            made.dialect.do_ping(connection)
        except made.dialect.loaded_dbapi.Error as problem:
            raise InvalidatePoolError from problem  # it and all that are as old: the pool makes a new one

    return made


@contextmanager
def translate_errors() -> Iterator[None]:
    """Database errors that pass by themselves become Unavailable; a broken rule of ours stays what it is."""
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (DBAPIError, PoolTimeout, OSError) as problem:
        raise Unavailable("database_unavailable", why=type(problem).__name__) from problem


class _SqliteInLoop(aiosqlite.Connection):
    """aiosqlite's connection as SQLAlchemy knows it, without its thread."""

    def __await__(self) -> Generator[Any, None, aiosqlite.Connection]:
        return self._opened().__await__()

    async def _opened(self) -> aiosqlite.Connection:
        self._connection = self._connector()
        return self

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def sqlite_engine(url: URL) -> AsyncEngine:
    """An engine on a file of SQLite, with a write-ahead log; `url` names the file."""
    made = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), connect_args={"async_creator_fn": _open_sqlite, "isolation_level": None}
    )

    @event.listens_for(made.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in SQLITE_PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(made.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # Python's sqlite3 would begin before the first change only; isolation_level None leaves it to us.
        writes = connection.get_execution_options().get(SQLITE_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return made


async def retry_while_locked(begin: Callable[[], Awaitable[object]]) -> None:
    """`begin`, again and again while another process writes to the file. Raises whatever else is wrong."""
    while True:
        try:
            await begin()
            return
        except OperationalError as problem:
            if getattr(problem.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise
        await asyncio.sleep(RETRY_PAUSE_SECONDS)


def _open_sqlite(database: str, **given: Any) -> aiosqlite.Connection:
    return _SqliteInLoop(partial(sqlite3.connect, database, **given), iter_chunk_size=64)
