"""Migrations, run by the bot itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url

from bot.store.database import translate_errors

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest version. Several processes may do it at once; one does the work.

    Raises Unavailable without the database.
    """
    driver = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}[make_url(url).get_backend_name()]
    path = make_url(url).database
    if driver == "sqlite" and path:
        Path(path).resolve().parent.mkdir(parents=True, exist_ok=True)
    engine = _sqlite(url) if driver == "sqlite" else create_engine(make_url(url).set(drivername=driver))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with translate_errors(), engine.begin() as connection:
        if driver != "sqlite":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727563)")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


def _sqlite(url: str) -> Engine:
    """All of it in one transaction, which Python's sqlite3 begins by itself only for INSERT and the like.

    Otherwise a process that is killed in the middle leaves half of the tables, and the next one cannot start.
    """
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def plainly(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout=30000")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def pending(url: str) -> list[str]:
    """The migrations that the database at `url` still lacks, oldest first; nothing is changed or made.

    Raises Unavailable without the database; a SQLite file that is not there lacks all of them.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not (parsed.database and Path(parsed.database).exists()):
            return scripts
        engine = create_engine(url)
    else:
        engine = create_engine(parsed.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 5})
    with translate_errors(), engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    return scripts[scripts.index(current) + 1 :] if current in scripts else scripts
