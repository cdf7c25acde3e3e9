"""Back up and restore the database: incidents and workflows, from the same moment.

SQLite's two files are copied by its own backup; PostgreSQL by `pg_dump` and `pg_restore`, whose password is on no
command line.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, inspect, make_url

from bot.domain.errors import BadInput, Unavailable
from bot.store.migrate import opening

MAIN, WORKFLOWS, DUMP = "bot.db", "bot.db.workflows", "bot.dump"
TIMEOUT_SECONDS = 3600


def backup(url: str, folder: Path) -> list[Path]:
    """Write the database at `url` into the folder; returns the files. Raises BadInput and Unavailable."""
    parsed = make_url(url)
    main = None if parsed.get_backend_name() != "sqlite" else Path(parsed.database or "")
    if main and not main.is_file():
        raise BadInput("no_database", path=str(main))
    with _copying():
        if folder.exists() and any(folder.iterdir()):
            raise BadInput("backup_folder", folder=str(folder))
        folder.mkdir(parents=True, exist_ok=True)
    if main is None:
        _postgresql("pg_dump", parsed, "--format=custom", f"--file={folder / DUMP}")
        return [folder / DUMP]
    written: list[Path] = []
    with _copying(), closing(sqlite3.connect(main, timeout=30, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")  # nothing new is saved meanwhile: both files are of one moment
        for source, name in ((main, MAIN), (Path(f"{main}.workflows"), WORKFLOWS)):
            if source.is_file():
                _copy(source, folder / name)
                written.append(folder / name)
        lock.execute("ROLLBACK")
    return written


def restore(url: str, folder: Path, *, force: bool = False) -> None:
    """Put a backup in the place of the database at `url`. Raises BadInput unless that is empty, or `force`."""
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if not (folder / (MAIN if is_sqlite else DUMP)).is_file():
        raise BadInput("no_backup", folder=str(folder))
    if not force and _has_tables(url, parsed):
        raise BadInput("database_not_empty")
    if not is_sqlite:
        clean = ("--clean", "--if-exists") if force else ()
        _postgresql("pg_restore", parsed, "--no-owner", "--single-transaction", *clean, str(folder / DUMP))
        return
    main = Path(parsed.database or "")
    with _copying():
        main.resolve().parent.mkdir(parents=True, exist_ok=True)
        for name, target in ((MAIN, main), (WORKFLOWS, Path(f"{main}.workflows"))):
            if (folder / name).is_file():
                _copy(folder / name, target)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target, timeout=30)) as new:
        old.backup(new)


def _has_tables(url: str, parsed: URL) -> bool:
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        return False
    with opening(url) as engine, engine.connect() as connection:
        return bool(inspect(connection).get_table_names())


def _postgresql(program: str, url: URL, *arguments: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise BadInput("program_missing", program=program)
    without_password = url.set(drivername="postgresql", password=None)
    environment = {**os.environ, "PGPASSWORD": url.password or "", "PGCONNECT_TIMEOUT": "10"}
    command = [path, f"--dbname={without_password.render_as_string()}", *arguments]
    done = subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    if done.returncode != 0:
        raise Unavailable("database_not_copied", why=(done.stderr.strip().splitlines() or [""])[-1])


@contextmanager
def _copying() -> Iterator[None]:
    """Turn what a file, a folder, a disk or another process refuses into Unavailable."""
    try:
        yield
    except sqlite3.DatabaseError as problem:
        is_none = problem.sqlite_errorcode == sqlite3.SQLITE_NOTADB
        raise Unavailable("database_not_opened" if is_none else "database_not_copied", why=str(problem)) from problem
    except OSError as problem:
        raise Unavailable("database_not_copied", why=f"{problem.filename}: {problem.strerror}") from problem
