"""`db backup` and `restore`: both files of SQLite, both schemas of PostgreSQL, and nothing overwritten by mistake."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from bot.domain.errors import BadInput
from bot.store.backup import backup, restore
from bot.store.migrate import upgrade
from tests.real.postgresql import PostgreSQL


def test_what_was_backed_up_is_restored(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    upgrade(url)
    with sqlite3.connect(tmp_path / "a.db.workflows") as workflows:
        workflows.execute("CREATE TABLE w (x)")
        workflows.execute("INSERT INTO w VALUES (7)")
    assert len(backup(url, tmp_path / "copy")) == 2
    restore(f"sqlite:///{tmp_path}/b.db", tmp_path / "copy")
    assert sqlite3.connect(tmp_path / "b.db.workflows").execute("SELECT x FROM w").fetchall() == [(7,)]
    tables = "SELECT name FROM sqlite_master ORDER BY name"
    old, new = (sqlite3.connect(tmp_path / name).execute(tables).fetchall() for name in ("a.db", "b.db"))
    assert old == new


@pytest.mark.real("postgresql")
def test_both_schemas_of_postgresql_are_restored_into_another_database(
    postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    old, new = postgresql_server.new_database(), postgresql_server.new_database()
    upgrade(old)
    with psycopg.connect(old) as connection:
        connection.execute("CREATE SCHEMA dbos")
        connection.execute("CREATE TABLE dbos.w (x int)")
        connection.execute("INSERT INTO dbos.w VALUES (7)")
        connection.execute("INSERT INTO counters VALUES (2026, 41)")
    assert [path.name for path in backup(old, tmp_path / "copy")] == ["bot.dump"]
    restore(new, tmp_path / "copy")
    with psycopg.connect(new) as connection:
        assert connection.execute("SELECT x, last FROM dbos.w, counters").fetchall() == [(7, 41)]
        connection.execute("UPDATE counters SET last = 99")
    with pytest.raises(BadInput, match="database_not_empty"):
        restore(new, tmp_path / "copy")
    restore(new, tmp_path / "copy", force=True)
    with psycopg.connect(new) as connection:
        assert connection.execute("SELECT last FROM counters").fetchall() == [(41,)]


def test_nothing_is_overwritten_unless_it_is_forced(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with pytest.raises(BadInput, match="no_database"):
        backup(url, tmp_path / "copy")
    upgrade(url)
    backup(url, tmp_path / "copy")
    with pytest.raises(BadInput, match="backup_folder"):
        backup(url, tmp_path / "copy")
    with pytest.raises(BadInput, match="database_not_empty"):
        restore(url, tmp_path / "copy")
    restore(url, tmp_path / "copy", force=True)
    with pytest.raises(BadInput, match="no_backup"):
        restore(url, tmp_path)
