"""The databases that tests run on: SQLite, and a real PostgreSQL that is started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.parts import require
from tests.real.postgresql import PostgreSQL, postgresql

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.real("postgresql"))]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    require("postgresql")
    with postgresql() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQL) -> str:
    """An empty database of PostgreSQL's."""
    return postgresql_server.new_database()


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bot.db"
    return str(request.getfixturevalue("postgresql_url"))
