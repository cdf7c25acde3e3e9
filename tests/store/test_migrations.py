"""The migrations make what the tables say, and several processes may run them at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from bot.cli.doctor import Doctor
from bot.store.migrate import MIGRATIONS, newer, pending, upgrade
from bot.store.tables import metadata
from demo.environment import demo_environment, sandbox_settings
from sandbox.server import Sandbox
from sandbox.slack.person import Person


def upgrade_from_first_version(url: str) -> None:
    """The way of a database that is as old as the bot: through every migration."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with connect(url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    upgrade(url)


WAYS = pytest.mark.parametrize("way", [upgrade, upgrade_from_first_version])


def connect(url: str) -> Connection:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1)).connect()


@WAYS
def test_tables_equal_the_declared_ones(database_url: str, way: Callable[[str], None]) -> None:
    way(database_url)
    assert pending(database_url) == []
    with connect(database_url) as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    assert differences == []


@WAYS
def test_unique_rules_and_keys_equal_the_declared_ones(
    database_url: str, tmp_path: Path, way: Callable[[str], None]
) -> None:
    """Alembic compares neither primary keys nor, on SQLite, what a constraint is called."""
    way(database_url)
    declared = create_engine(f"sqlite:///{tmp_path}/declared.db")
    metadata.create_all(declared)
    with connect(database_url) as migrated, declared.connect() as wanted:
        there, here = inspect(migrated), inspect(wanted)
        for table in metadata.tables:
            assert (
                there.get_pk_constraint(table)["constrained_columns"]
                == (here.get_pk_constraint(table)["constrained_columns"])
            )
            assert {tuple(rule["column_names"]) for rule in there.get_unique_constraints(table)} == {
                tuple(rule["column_names"]) for rule in here.get_unique_constraints(table)
            }, table


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    upgrade(database_url)


async def test_three_processes_migrate_at_once(database_url: str) -> None:
    program = f"from bot.store.migrate import upgrade; upgrade({database_url!r})"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    ends = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, [end[1].decode()[-500:] for end in ends]


def test_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    upgrade(database_url)
    with connect(database_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    upgrade(database_url)
    assert (pending(database_url), newer(database_url)) == ([], "9999")
    with connect(database_url) as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"


async def test_a_bot_rolled_back_by_one_version_serves_the_newer_database(tmp_path: Path) -> None:
    """The newer version has added a column and a table; incidents are declared and told as before."""
    url = f"sqlite:///{tmp_path}/bot.db"
    upgrade(url)
    assert newer(url) is None
    with connect(url) as connection:
        connection.exec_driver_sql("ALTER TABLE incidents ADD COLUMN of_tomorrow TEXT")
        connection.exec_driver_sql("CREATE TABLE of_tomorrow (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    sandbox = Sandbox()
    async with demo_environment(sandbox, url, prometheus_url=None) as stage:
        await Person(sandbox.slack, "ana").run("/incident declare Render lento sev=SEV2")
        await sandbox.slack.wait_for(
            lambda: next((one for one in sandbox.slack.channels.values() if one.name.startswith("inc-")), None), 20
        )
        findings = await Doctor(stage.bot.deps, sandbox_settings(stage.url, sandbox, url)).findings()
        found = [finding.text for finding in findings if finding.subject == "database"]
    assert any("9999" in text for text in found)


@WAYS
@pytest.mark.parametrize("change", ["UPDATE timeline SET facts = '{}'", "DELETE FROM timeline"])
def test_timeline_is_append_only(database_url: str, change: str, way: Callable[[str], None]) -> None:
    way(database_url)
    by_whom = (
        "INSERT INTO incidents (id, title, severity, status, drill, source, declared_by, roles, impact, cause,"
        " detected_at, declared_at, updated_at, last_seq, last_hash) VALUES ('INC-2026-0001', 't', 'SEV3', 'declared',"
        " false, 'slack', '{}', '{}', '{}', '{}', '2026-01-01', '2026-01-01', '2026-01-01', 1, 'x')"
    )
    event = (
        "INSERT INTO timeline (incident_id, seq, kind, at, by_id, by_name, facts, hash)"
        " VALUES ('INC-2026-0001', 1, 'declared', '2026-01-01', 'U', 'n', '{\"a\": 1}', 'x')"
    )
    with connect(database_url) as connection:
        for statement in (by_whom, event):
            connection.exec_driver_sql(statement)
        connection.commit()
        with pytest.raises(DBAPIError, match="append-only"):
            connection.exec_driver_sql(change)
        connection.rollback()
        assert connection.exec_driver_sql("SELECT count(*) FROM timeline").scalar_one() == 1


async def test_a_migration_cut_off_half_way_is_done_by_the_next(database_url: str) -> None:
    """The process is gone the moment that it makes its eighth table."""
    program = f"""
import os
from sqlalchemy import Engine, event
from bot.store.migrate import MIGRATIONS, pending, upgrade

made = 0

@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *_):
    global made
    made += "CREATE TABLE" in statement
    if made == 8:
        os._exit(9)

upgrade({database_url!r})
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 9
    test_tables_equal_the_declared_ones(database_url, upgrade)
