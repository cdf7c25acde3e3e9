"""Database migrations, run by the bot itself.

A new database gets the current tables directly, and a database that is up to date is left alone, because importing
Alembic takes half a second. A test compares the tables of both ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import Unavailable
from bot.lazy import LazyModule
from bot.store.database import make_folder_of
from bot.store.tables import metadata

if TYPE_CHECKING:
    from alembic import command
    from alembic import config as alembic_config
else:
    command, alembic_config = LazyModule("alembic.command"), LazyModule("alembic.config")

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version"
CONNECT_TIMEOUT_SECONDS = 5


def revisions() -> list[str]:
    """Return the migrations' numbers, oldest first: the prefixes of their file names."""
    files = (MIGRATIONS / "versions").glob("*.py")
    return sorted(number[0] for file in files if (number := re.match(r"\d{4}", file.name)))


def upgrade(url: str) -> None:
    """Migrate the database at `url` to the newest version. Concurrent calls are safe: one process does the work.

    A database of a newer version of the bot is left unchanged. Raises Unavailable without the database.
    """
    with opening(url) as engine, engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            _try_workflows(engine.url)
        else:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727563)")
        current = _current(connection)
        if current is None and not inspect(connection).get_table_names():
            _create(connection)
        elif current is None or current in revisions()[:-1]:
            config = alembic_config.Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        else:  # SQLite opens a file that may not be written, too, and PostgreSQL lets in who may not write
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = version_num")  # noqa: S608


def pending(url: str) -> list[str]:
    """Return the migrations that the database at `url` still needs, oldest first; changes and creates nothing.

    A SQLite file that does not exist needs all of them. Raises Unavailable without the database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not (parsed.database and Path(parsed.database).exists()):
        return revisions()
    with opening(url) as engine, engine.connect() as connection:
        current = _current(connection)
    return [revision for revision in revisions() if revision > (current or "")]


def newer(url: str) -> str | None:
    """Return the revision of a database that a newer version of the bot has migrated; None if this one knows it.

    It is served all the same: migrations only add. Raises Unavailable without the database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not (parsed.database and Path(parsed.database).exists()):
        return None
    with opening(url) as engine, engine.connect() as connection:
        current = _current(connection)
    return current if current is not None and current not in revisions() else None


@contextmanager
def opening(url: str) -> Iterator[Engine]:
    """Yield the engine of a database that may not be there, not let this user in, or be none. Raises Unavailable."""
    try:
        engine = engine_of(url)
        yield engine
        engine.dispose()
    except (SQLAlchemyError, OSError) as problem:
        raise Unavailable("database_not_opened", why=_reason(problem)) from problem


def _reason(problem: Exception) -> str:
    """Return what the database or the system says, without the client's sentence around it."""
    said = getattr(problem, "strerror", None) or str(getattr(problem, "orig", None) or problem)
    first = (said.strip().splitlines() or [""])[0]
    return re.sub(r"^.*(?:FATAL:|failed:)\s*|\[Errno -?\d+\] ", "", first).rstrip(".")


def _try_workflows(main: URL) -> None:
    """Raise SQLAlchemyError if the engine could not open its file beside the main one; it would only say so later."""
    if not Path(f"{main.database}.workflows").exists():
        return
    engine = create_engine(f"{main}.workflows")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("PRAGMA user_version = 0")  # as it is
    finally:
        engine.dispose()


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:newest)"), {"newest": revisions()[-1]})  # noqa: S608


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608


def engine_of(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            make_folder_of(parsed.database)
        return _sqlite(url)
    parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(parsed, connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS})


def _sqlite(url: str) -> Engine:
    """Return an engine that runs the migration in one transaction; Python's sqlite3 begins one only for INSERT and the
    like.

    Otherwise a process that is killed in the middle leaves half of the tables, and the next one cannot start.
    """
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout=30000")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
