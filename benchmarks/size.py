"""What the database grows by, table by table: a run of four steps, and an incident from its declaration to its report.

What is removed in time is measured by removing it: the engine's cleanup with a clock that is ahead.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
from dbos import DBOS
from dbos._error import DBOSException

from benchmarks.figures import Figure
from benchmarks.incidents import declared
from benchmarks.place import Place, until
from benchmarks.runs import with_store
from bot.domain.run import RunState
from bot.store.store import Store
from bot.workflows.engine.cleanup import CHART_RETENTION, WORKFLOW_RETENTION, cleanup
from sandbox.clock import Clock
from tests.real.parts import missing
from tests.real.postgresql import postgresql
from tests.workflows.test_engine import engine

BAR = "size of the database, workflows included"
INCIDENTS, RUNS = 10, 100
ALL_INCIDENTS, ALL_RUNS = 1_000, 10_000
YEAR, YEAR_LIMIT = timedelta(days=365), 300.0
SHOWN = 0.02  # of all: the share from which on a table is shown
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
    with tempfile.TemporaryDirectory() as folder:
        database = url or f"sqlite:///{folder}/bot.db"
        async with with_store(database, {"look": LOOK}) as (here, store):
            empty = _sizes(database)
            await _runs(here, store)
        runs = _sizes(database)
        await _cleaned(database, WORKFLOW_RETENTION)
        before = _sizes(database)
        async with with_store(database, {"look": LOOK}) as (here, store):
            for _ in range(INCIDENTS):
                await _incident(here, store)
        incidents = _sizes(database)
        await _cleaned(database, CHART_RETENTION)
        without_charts = _sizes(database)
        await _cleaned(database, WORKFLOW_RETENTION)
        kept = _sizes(database)
    run, run_kept = _share(runs, empty, RUNS), _share(before, empty, RUNS)
    incident, uncharted, incident_kept = (
        _share(after, before, INCIDENTS) for after in (incidents, without_charts, kept)
    )
    month, week = WORKFLOW_RETENTION / YEAR, CHART_RETENTION / YEAR
    of_runs = run_kept.total() + month * (run.total() - run_kept.total())
    of_incidents = (
        incident_kept.total()
        + month * (uncharted.total() - incident_kept.total())
        + week * (incident.total() - uncharted.total())
    )
    year = (ALL_RUNS * of_runs + ALL_INCIDENTS * of_incidents) / 1e6
    computed = (
        f"computed from {INCIDENTS} incidents and {RUNS} runs: {ALL_INCIDENTS:,} and {ALL_RUNS:,}, evenly over a year, "
        "after retention"
    )
    return [
        Figure(BAR, f"{kind}, empty", empty.total() / 1e6, "MB"),
        *_rows(f"{kind}, an incident to its report", incident, incident_kept),
        *_rows(f"{kind}, a run of four steps", run, run_kept),
        Figure(BAR, f"{kind}, a busy year", year, "MB", YEAR_LIMIT, computed),
    ]


def _share(after: Counter[str], before: Counter[str], count: int) -> Counter[str]:
    """Bytes that one of `count` has added to each table."""
    return Counter({table: (after[table] - before[table]) / count for table in after | before})


def _rows(what: str, fresh: Counter[str], kept: Counter[str]) -> list[Figure]:
    """All tables together, then each that matters."""
    tables = [table for table, size in fresh.most_common() if size >= SHOWN * fresh.total()]
    return [
        Figure(BAR, name, size / 1e3, "kB", note=f"{left / 1e3:.1f} kB of it for long")
        for name, size, left in (
            (what, fresh.total(), kept.total()),
            *((f"— `{table}`", fresh[table], kept[table]) for table in tables),
        )
    ]


async def _cleaned(url: str, age: timedelta) -> None:
    """Remove what the bot removes from things of that age."""
    async with engine(url, {}, Clock(datetime.now(UTC) + age + timedelta(hours=1))) as deps:
        await until(_launched)
        await cleanup(deps)


async def _launched() -> bool:
    with suppress(DBOSException):
        await DBOS.list_workflows_async(limit=1)
        return True
    return False


async def _incident(here: Place, store: Store) -> None:
    incident = await declared(here)
    for command in LIFE:
        before = len(await store.incidents.timeline(incident.id))
        await here.send(here.workspace.command(f"/incident {command}", incident.channel))
        await until(partial(_grown, store, incident.id, before), 400)
    await until(partial(_reported, store, incident.id), 400)


async def _grown(store: Store, incident: str, before: int) -> bool:
    return len(await store.incidents.timeline(incident)) > before


async def _reported(store: Store, incident: str) -> bool:
    is_over = not (await store.incidents.get(incident)).status.is_open
    return is_over and any(name.endswith(".html") for name in await store.documents.names(incident))


async def _runs(here: Place, store: Store) -> None:
    for _ in range(RUNS):
        await here.send(here.workspace.command("/runbook run look"))

    async def all_ended() -> bool:
        known = await store.runs.list_by_runbook("look")
        return len(known) == RUNS and all(run.state is RunState.SUCCEEDED for run in known)

    await until(all_ended, 600, every=0.5)
    await here.quiet()


def _sizes(url: str) -> Counter[str]:
    """The bytes of each table with its indexes, without what is free in the files."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM FULL")
            tables = connection.execute(
                "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace IN "
                "(SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'dbos'))"
            ).fetchall()
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row
        return Counter(dict(tables) | {"(catalogue)": row[0] - sum(size for _, size in tables)})
    found: Counter[str] = Counter()
    main = Path(url.removeprefix("sqlite:///"))
    with tempfile.TemporaryDirectory() as folder:
        for file in (main, Path(f"{main}.workflows")):
            copy = f"{folder}/{file.name}"
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("VACUUM INTO ?", (copy,))
            with closing(sqlite3.connect(copy)) as connection:
                found.update(
                    dict(
                        connection.execute(
                            "SELECT coalesce(tbl_name, stat.name), sum(pgsize) FROM dbstat AS stat "
                            "LEFT JOIN sqlite_schema AS known ON known.name = stat.name GROUP BY 1"
                        ).fetchall()
                    )
                )
    return found
