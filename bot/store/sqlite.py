"""SQLite for SQLAlchemy's asynchronous engine, in the event loop's own thread.

aiosqlite hands every statement to a thread and back, four times each. A transaction of ours takes SQLite a fifth of
a millisecond; all that handing over takes longer, and beside a thread that draws charts a hundred times as long,
while acknowledgements wait. So there is no thread, and nothing here may wait: the lock for writing is tried for
`PATIENCE_MS`, and whoever does not get it tries again a little later.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import URL, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

BUSY_TIMEOUT_MS = 20
RETRY_PAUSE_SECONDS = 0.02  # seconds
WRITES = "writes"  # an execution option: the transaction is going to write
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "secure_delete=ON",  # what the inbox has handled leaves nothing in the file
)


class _InLoop(aiosqlite.Connection):
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


def engine(url: URL) -> AsyncEngine:
    """An engine on a file of SQLite, with a write-ahead log; `url` names the file."""
    made = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), connect_args={"async_creator_fn": _connection, "isolation_level": None}
    )

    @event.listens_for(made.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(made.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # Python's sqlite3 would begin before the first change only; isolation_level None leaves it to us.
        writes = connection.get_execution_options().get(WRITES)
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


def _connection(database: str, **given: Any) -> aiosqlite.Connection:
    return _InLoop(partial(sqlite3.connect, database, **given), iter_chunk_size=64)
