"""The engine of runs: what a step costs, how soon an approved change begins, what runs cost that wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.figures import Figure, median, percentile
from benchmarks.incidents import Incident, declared
from benchmarks.place import Place, place, until
from bot.domain.run import Approval, Run, StepState
from bot.store.database import Database
from bot.store.store import Store
from tests.real.parts import missing
from tests.real.postgresql import postgresql

STEP_BAR, APPROVE_BAR, WAIT_BAR = (
    "engine: what one step costs above its action",
    "approve click → the step's effect begins",
    "2,000 runs that wait for an approval",
)
STORM_BAR = "storm of runs on PostgreSQL"
FEW, MANY, APPROVALS, WAITING, STORM = 4, 16, 8, 2000, 60
IDLE = 10.0
STEP_LIMIT = 5.0
APPROVE_LIMIT = 30.0
CHECKS = """\
name: {name}
title: {{es: Miradas, en: Checks}}
steps:
{steps}
"""
CHECK = "  - {{id: check-{number}, uses: flow.check, with: {{that: true}}}}"
SCALE = """\
name: scale
title: {es: Réplicas, en: Replicas}
inputs:
  replicas: {type: integer, default: 4}
steps:
  - id: scale
    uses: kubernetes.scale
    with: {deployment: tamv-core, replicas: "{{ inputs.replicas }}"}
    approval: {role: responder, expires: 1h}
"""


def _checks_book(name: str, steps: int) -> str:
    return CHECKS.format(name=name, steps="\n".join(CHECK.format(number=number) for number in range(steps)))


RUNBOOKS = {"few": _checks_book("few", FEW), "many": _checks_book("many", MANY), "scale": SCALE}


async def of_sqlite() -> list[Figure]:
    return await _measured("SQLite", None)


async def of_postgresql() -> list[Figure]:
    if why := missing("postgresql"):
        return [Figure(STEP_BAR, "PostgreSQL", None, "ms", STEP_LIMIT, why)]
    with postgresql() as server:
        return await _measured("PostgreSQL", server.new_database())


async def of_replicas() -> list[Figure]:
    """A storm of runs, played by one replica and by two."""
    if why := missing("postgresql"):
        return [Figure(STORM_BAR, "1 replica", None, "s", note=why)]
    figures = []
    with postgresql() as server:
        for replicas in (1, 2):
            url = server.new_database()
            async with with_store(url, RUNBOOKS, measures=False, replicas=replicas) as (here, store):
                took = await _storm(here, store)
            name = f"{replicas} replica{'s' if replicas > 1 else ''}"
            figures.append(Figure(STORM_BAR, name, took, "s", note=f"{STORM} runs of {MANY} steps, begun together"))
    return figures


async def _storm(here: Place, store: Store) -> float:
    """Seconds from the first command until the last run has ended."""
    began = time.perf_counter()
    for _ in range(STORM):
        await here.send(here.workspace.command("/runbook run many"))

    async def all_ended() -> bool:
        known = await store.runs.list_by_runbook("many")
        return len(known) == STORM and all(run.state.ended for run in known)

    await until(all_ended, 300, every=0.1)
    return time.perf_counter() - began


async def _measured(kind: str, url: str | None) -> list[Figure]:
    # Nothing is measured after a change: the next one may begin.
    async with with_store(url, RUNBOOKS, measures=False) as (here, store):
        incident = await declared(here)
        took = [await _step(here, store, incident) for _ in range(6)][1:]
        began = [await _approved(here, store, incident, number) for number in range(APPROVALS + 2)][2:]
        resident, busy = await _waiting(here, store)
    return [
        Figure(STEP_BAR, kind, median(took), "ms", STEP_LIMIT, f"runs of {FEW} and of {MANY} steps compared"),
        Figure(APPROVE_BAR, f"{kind}, median", median(began), "ms", APPROVE_LIMIT, f"{APPROVALS} times"),
        Figure(APPROVE_BAR, f"{kind}, p95", percentile(began, 95), "ms"),
        Figure(WAIT_BAR, f"{kind}, memory", resident, "MB more", 60.0),
        Figure(WAIT_BAR, f"{kind}, processor", busy, "% of a core more", 3.0),
    ]


@asynccontextmanager
async def with_store(
    url: str | None, runbooks: Mapping[str, str], *, measures: bool = True, replicas: int = 1
) -> AsyncIterator[tuple[Place, Store]]:
    """A place whose bot knows these runbooks (name → YAML), and its store; on SQLite without `url`."""
    team = {"cool_down: 30s": "cool_down: 0s"}  # one measurement does not wait for the one before
    async with place(database=url, runbooks=runbooks, team=team, measures=measures, replicas=replicas) as here:
        database = Database(url or here.bot.environ()["DATABASE_URL"])
        try:
            yield here, Store(database, "bench")
        finally:
            await database.close()


async def _step(here: Place, store: Store, incident: Incident) -> float:
    """Milliseconds for one step more, of a run whose actions do next to nothing."""
    few, many = [await _checks(here, store, incident, name) for name in ("few", "many")]
    return (many - few) / (MANY - FEW)


async def _checks(here: Place, store: Store, incident: Incident, name: str) -> float:
    run = await _begun(here, store, incident, f"/runbook run {name}")
    ended = await _ended(here, store, run.id)
    assert ended.ended_at and all(step.state is StepState.DONE for step in ended.steps), ended
    return (ended.ended_at - ended.started_at).total_seconds() * 1000


async def _approved(here: Place, store: Store, incident: Incident, number: int) -> float:
    """Milliseconds from the press of *approve* until the cluster has been asked for the change."""
    asked = await _asked(here, store, incident, 3 + number % 2)
    await here.quiet(0.3)
    await here.forget()
    began = time.time()
    await here.send(here.workspace.button("approve", f"{asked.run_id}|scale|{asked.digest}", by="bruno"))

    async def changed() -> float | None:
        calls = await here.calls("/deployments/tamv-core/scale") + await here.calls("/deployments/tamv-core")
        changes = [one for one in calls if one["method"] in ("PATCH", "PUT") and "dryRun" not in one["query"]]
        return min((float(one["at"]) for one in changes), default=None)

    at = await until(changed)
    await _ended(here, store, asked.run_id)  # until its pods are up nobody else changes them
    return (at - began) * 1000


async def _waiting(here: Place, store: Store) -> tuple[float, float]:
    """Megabytes and per cent of a core that the waiting runs cost beyond what the bot costs anyway."""
    before, idle = here.bot.memory_info().rss / 1e6, await _busy(here)
    for number in range(WAITING):
        await here.send(here.workspace.command(f"/runbook run scale replicas={6 + number % 4}"))

    async def all_wait() -> bool:
        going_on = await store.runs.list_running()
        return len(going_on) == WAITING and all(run.steps[0].state is StepState.WAITING for run in going_on)

    await until(all_wait, 900, every=5)
    await here.quiet(2.0)
    return here.bot.memory_info().rss / 1e6 - before, await _busy(here) - idle


async def _busy(here: Place) -> float:
    before = here.bot.cpu_times()
    await asyncio.sleep(IDLE)
    after = here.bot.cpu_times()
    return (after.user + after.system - before.user - before.system) / IDLE * 100


async def _asked(here: Place, store: Store, incident: Incident, replicas: int) -> Approval:
    run = await _begun(here, store, incident, f"/runbook run scale replicas={replicas}")
    return await until(lambda: store.runs.approval(run.id, "scale"))


async def _begun(here: Place, store: Store, incident: Incident, line: str) -> Run:
    """The run that the command begins."""
    known = {run.id for run in await store.runs.list_by_incident(incident.id)}
    await here.send(here.workspace.command(line, incident.channel))

    async def begun() -> Run | None:
        return next((run for run in await store.runs.list_by_incident(incident.id) if run.id not in known), None)

    return await until(begun)


async def _ended(here: Place, store: Store, run_id: str) -> Run:
    async def over() -> Run | None:
        known = await store.runs.get(run_id)
        return known if known.state.ended else None

    ended = await until(over, 60)
    await here.quiet(0.3)
    return ended
