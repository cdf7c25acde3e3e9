"""Asynchronous connections to SQLite (with a write-ahead log) or PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import URL, CursorResult, Executable, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.domain.errors import Unavailable
from bot.tasks import yield_to_requests

T = TypeVar("T")
Fence = Callable[[AsyncConnection], Awaitable[None]]

SESSION_NAME = "tamv-bot"  # in PostgreSQL
BUSY_SECONDS = 2  # of the 3 s that Slack waits for an acknowledgement
IDLE_SECONDS = 1.0  # a connection that was idle for longer is tested before use
IDLE_IN_TRANSACTION_SECONDS = 5  # a process that stops in the middle of a transaction holds its locks no longer
WRITE_CHECK_SECONDS = 2.0
USED_AT = "used_at"
REDACT = "redact"
ENQUEUED = "enqueued"

BUSY_TIMEOUT_MS = 20
RETRY_PAUSE_SECONDS = 0.02
SQLITE_WRITES = "writes"  # execution option: the transaction will write
SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "secure_delete=ON",  # overwrite the bodies of handled deliveries
)


def mark_enqueued(connection: AsyncConnection) -> None:
    """Request a call of `Database.on_enqueued` after the transaction is committed."""
    connection.info[ENQUEUED] = True


def redacted(connection: AsyncConnection, value: T) -> T:
    """Return a value as it may be kept: without secrets (see `Database.redact`)."""
    redact: Callable[[T], T] | None = connection.info.get(REDACT)
    return redact(value) if redact else value


def dialect_insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that supports ON CONFLICT, in the connection's dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def make_folder_of(file: str) -> None:
    """Make the folder that an SQLite file will be in. Raises Unavailable."""
    try:
        Path(file).resolve().parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Unavailable("database_not_opened", why=f"{file}: {problem.strerror}") from problem


class Database:
    """Transactions on one database.

    `url` is `sqlite:///path` or `postgresql://…`. `redact` takes secrets out of what remotes and people said, before it
    is stored. Raises Unavailable if the database is locked, full or down.
    """

    def __init__(self, url: str, redact: Callable[[Any], Any] = lambda value: value) -> None:
        parsed = make_url(url)
        self.redact = redact
        self.url = url
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            make_folder_of(parsed.database)
        self.on_enqueued: Callable[[], None] = lambda: None  # called after a commit that enqueued a workflow
        # Gives what is awaited in a transaction of the current task before it writes, or None.
        self.fence: Callable[[], Fence | None] = lambda: None
        self._write_checked_at = float("-inf")
        self._write_problem: Unavailable | None = None
        self._engine = sqlite_engine(parsed) if self.is_sqlite else _postgresql(parsed)
        # On SQLite each connection begins its own transactions.
        self._reading = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Run a read-write transaction: committed at the end, rolled back on an exception.

        On SQLite it takes the write lock immediately, so that nothing it reads can change before it writes.
        """
        with translate_errors():
            async with self._connected(self._engine) as connection:
                if self.is_sqlite:
                    connection = await connection.execution_options(**{SQLITE_WRITES: True})
                async with asyncio.timeout(BUSY_SECONDS):
                    await retry_while_locked(connection.begin)
                connection.info[REDACT] = self.redact
                connection.info.pop(ENQUEUED, None)  # left by a transaction that was rolled back
                if fence := self.fence():
                    await fence(connection)
                yield connection
                await connection.commit()
                if connection.info.pop(ENQUEUED, None):
                    self.on_enqueued()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Run queries without writing.

        On SQLite all of them see the same state. On PostgreSQL each sees the latest commits, as in a READ COMMITTED
        transaction, but without the two round trips of one.
        """
        with translate_errors():
            async with self._connected(self._reading) as connection:
                yield connection

    async def execute(self, statement: Executable) -> CursorResult[Any]:
        """Execute one statement in its own transaction. Its rows are already fetched."""
        if self.is_sqlite or self.fence():
            async with self.write() as connection:
                return await connection.execute(statement)
        async with self.read() as connection:
            return await connection.execute(statement)

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Take a connection from the pool, after a turn; uncommitted changes are rolled back when it returns."""
        await yield_to_requests()
        if not self.is_sqlite:
            async with engine.connect() as connection:
                yield connection
            return
        # SQLAlchemy's `async with` returns the connection in a separate task, to survive a cancellation. SQLite calls
        # never wait, so this cannot be cancelled, and the connection is free immediately: one is enough.
        connection = await engine.connect()
        try:
            yield connection
        finally:
            await connection.close()

    async def ready(self) -> None:
        """Raise Unavailable if the database does not answer."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def writable(self) -> None:
        """Raise Unavailable if nothing can be saved: the database is down, full, locked or read-only.

        Writes a row as it is. At most every WRITE_CHECK_SECONDS; in between, the last answer holds.
        """
        if time.monotonic() - self._write_checked_at >= WRITE_CHECK_SECONDS:
            # Holds if whoever asks has not the patience to wait for the answer.
            self._write_problem = Unavailable("database_unavailable", why="TimeoutError")
            self._write_checked_at = time.monotonic()
            try:
                async with self.write() as connection:
                    await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
                self._write_problem = None
            except Unavailable as problem:
                self._write_problem = problem
        if self._write_problem:
            raise self._write_problem

    async def close(self) -> None:
        await self._engine.dispose()


def _postgresql(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=10,
        pool_timeout=BUSY_SECONDS * 3,  # waiting in the queue is not an outage
        pool_use_lifo=True,  # the most recently used connection needs no ping
        connect_args={
            "connect_timeout": BUSY_SECONDS,
            "application_name": SESSION_NAME,
            "options": f"-c statement_timeout={BUSY_SECONDS * 5}s -c lock_timeout={BUSY_SECONDS}s "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s",
        },
    )

    # pool_pre_ping would test before each use, which adds a fifth to all round trips.
    @event.listens_for(engine.sync_engine, "checkin")
    def mark_used(_connection: Any, record: Any) -> None:
        record.info[USED_AT] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def ping_if_idle(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(USED_AT, time.monotonic()) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as problem:
            raise InvalidatePoolError from problem  # also drops the other idle connections

    return engine


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn temporary database errors into Unavailable; violated constraints are passed on."""
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (DBAPIError, PoolTimeout, OSError) as problem:
        raise Unavailable("database_unavailable", why=type(problem).__name__) from problem


class _SqliteInLoop(aiosqlite.Connection):
    """aiosqlite's connection, as SQLAlchemy expects it, but without its thread."""

    def __await__(self) -> Generator[Any, None, aiosqlite.Connection]:
        return self._open().__await__()

    async def _open(self) -> aiosqlite.Connection:
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
    """Return an engine on a SQLite file with a write-ahead log."""
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), connect_args={"async_creator_fn": _open_sqlite, "isolation_level": None}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in SQLITE_PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # Python's sqlite3 begins only before the first change; isolation_level None turns that off.
        writes = connection.get_execution_options().get(SQLITE_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


async def retry_while_locked(begin: Callable[[], Awaitable[object]]) -> None:
    """Call `begin` until no other process is writing to the file. Raises all other errors."""
    while True:
        try:
            await begin()
            return
        except OperationalError as problem:
            if getattr(problem.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise
        await asyncio.sleep(RETRY_PAUSE_SECONDS)


def _open_sqlite(database: str, **options: Any) -> aiosqlite.Connection:
    return _SqliteInLoop(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
