"""Connections that were cut while nobody used them."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from bot.domain.errors import Unavailable
from bot.store.database import IDLE_SECONDS, Database

OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> {}"


async def used(database: Database, connections: int = 5) -> None:
    await asyncio.gather(*(database.ready() for _ in range(connections)))


def cut(url: str) -> None:
    """As a restart of the database does, or a firewall."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(OTHERS.format(connection.info.backend_pid).encode())


@pytest.mark.real("postgresql")
async def test_whoever_comes_after_a_while_does_not_notice(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    await used(database)
    cut(postgresql_url)
    await asyncio.sleep(IDLE_SECONDS)
    await used(database)
    await database.close()


@pytest.mark.real("postgresql")
async def test_whoever_comes_at_once_is_told_to_try_again_and_then_all_is_well(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    await used(database)
    cut(postgresql_url)
    with pytest.raises(Unavailable, match="database_unavailable"):
        await database.ready()
    await used(database)
    await database.close()
