"""What the database grows by: an incident from its declaration to its report, and a run of four steps."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.figures import Figure
from benchmarks.incidents import declared
from benchmarks.place import Place, until
from benchmarks.runs import with_store
from bot.domain.run import RunState
from bot.store.store import Store
from tests.real.parts import missing
from tests.real.postgresql import postgresql

BAR = "size of the database, workflows included"
INCIDENTS, RUNS = 10, 100
ALL_INCIDENTS, ALL_RUNS = 1_000, 10_000
LIFE = ("ack", "update Subimos réplicas", "note La cola baja", "mitigate", "resolve")
LOOK = """\
name: look
title: {es: Mirar, en: Look}
steps:
  - {id: pods, uses: kubernetes.pods, with: {service: tamv-core}}
  - {id: events, uses: kubernetes.events, with: {service: tamv-core}}
  - {id: rollout, uses: kubernetes.rollout_status, with: {deployment: tamv-core}}
  - {id: check, uses: flow.check, with: {that: true}}
"""


async def of_sqlite() -> list[Figure]:
    return await _measured("SQLite", None)


async def of_postgresql() -> list[Figure]:
    if why := missing("postgresql"):
        return [Figure(BAR, "PostgreSQL", None, "MB", None, why)]
    with postgresql() as server:
        return await _measured("PostgreSQL", server.new_database())


async def _measured(kind: str, url: str | None) -> list[Figure]:
    async with with_store(url, {"look": LOOK}) as (here, store):
        database = url or here.bot.environ()["DATABASE_URL"]
        empty = _bytes(database)
        for _ in range(INCIDENTS):
            incident = await declared(here)
            for command in LIFE:
                before = len(await store.incidents.timeline(incident.id))
                await here.send(here.workspace.command(f"/incident {command}", incident.channel))
                await until(partial(_grown, store, incident.id, before), 60)
            await until(partial(_reported, store, incident.id), 120)
        with_incidents = _bytes(database)
        await _run(here, store)
        with_runs = _bytes(database)
    incident_size, run_size = (with_incidents - empty) / INCIDENTS, (with_runs - with_incidents) / RUNS
    both = (ALL_INCIDENTS * incident_size + ALL_RUNS * run_size) / 1e6
    computed = f"computed from the two: {ALL_INCIDENTS:,} incidents and {ALL_RUNS:,} runs"
    return [
        Figure(BAR, f"{kind}, empty", empty / 1e6, "MB"),
        Figure(BAR, f"{kind}, an incident to its report", incident_size / 1e3, "kB", note=f"{INCIDENTS} of them"),
        Figure(BAR, f"{kind}, a run of four steps", run_size / 1e3, "kB", note=f"{RUNS} of them"),
        Figure(BAR, f"{kind}, of a busy year", both, "MB", note=computed),
    ]


async def _grown(store: Store, incident: str, before: int) -> bool:
    return len(await store.incidents.timeline(incident)) > before


async def _reported(store: Store, incident: str) -> bool:
    is_over = not (await store.incidents.get(incident)).status.is_open
    return is_over and any(name.endswith(".html") for name in await store.documents.names(incident))


async def _run(here: Place, store: Store) -> None:
    for _ in range(RUNS):
        await here.send(here.workspace.command("/runbook run look"))

    async def all_ended() -> bool:
        known = await store.runs.list_by_runbook("look")
        return len(known) == RUNS and all(run.state is RunState.SUCCEEDED for run in known)

    await until(all_ended, 600, every=0.5)
    await here.quiet()


def _bytes(url: str) -> int:
    """The size without what is free in its files."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM FULL")
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row
            return int(row[0])
    main = Path(url.removeprefix("sqlite:///"))
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate((main, Path(f"{main}.workflows"))):
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("VACUUM INTO ?", (f"{folder}/{number}",))
        return sum(copy.stat().st_size for copy in Path(folder).iterdir())
