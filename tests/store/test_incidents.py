"""Incidents under concurrency: numbers without gaps, one incident for one origin, an unbroken chain."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.errors import BadInput, WrongState
from bot.domain.incident import Changed, Declaration, Incident, Role, Severity, Status
from bot.domain.people import Person
from bot.domain.timeline import Kind, first_broken_link
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANA = Person("U0ANA00001", "Ana Torres", "es")
ROOT = Path(__file__).parents[2]

# What one replica does: it declares, some of it twice, some of it in vain, all at once.
DECLARE = """
import asyncio, json, sys
from tests.store.test_incidents import opened, declare_many

async def main():
    async for store in opened(sys.argv[1]):
        print(json.dumps(await declare_many(store, sys.argv[2])))

asyncio.run(main())
"""


async def opened(url: str) -> AsyncIterator[Store]:
    database = Database(url)
    yield Store(database, "test")
    await database.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    upgrade(database_url)
    async for store in opened(database_url):
        yield store


def render_is_slow(id: str) -> Changed:
    return Incident.declare(id, Declaration("Render lento", Severity.SEV2, by=ANA, at=NOW))


def without_title(id: str) -> Changed:
    return Incident.declare(id, Declaration(" ", Severity.SEV2, by=ANA, at=NOW))


async def declare(store: Store, origin: str | None = None) -> str:
    incident, _ = await store.incidents.declare(render_is_slow, NOW, idempotency_key=origin)
    return incident.id


async def declare_many(store: Store, replica: str) -> list[str]:
    """20 incidents of this replica's own, and 5 that every replica is told of; a bad one between each two."""

    async def in_vain() -> None:
        with pytest.raises(BadInput):
            await store.incidents.declare(without_title, NOW, idempotency_key=None)

    own = [declare(store, f"{replica}/{number}") for number in range(20)]
    told = [declare(store, f"told/{number % 5}") for number in range(10)]
    found = await asyncio.gather(*own, *told, *(in_vain() for _ in range(20)))
    return [id for id in found if id]


async def test_numbers_have_no_gaps_at_once(store: Store) -> None:
    await declare_many(store, "here")
    assert list(await store.incidents.ids()) == [f"INC-2026-{number:04d}" for number in range(1, 26)]


async def test_numbers_have_no_gaps_over_three_processes(database_url: str, store: Store) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", DECLARE, database_url, f"replica-{number}",
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for number in range(3)
    ]  # fmt: skip
    ends = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, [end[1].decode()[-1500:] for end in ends]
    found = [set(json.loads(end[0])) for end in ends]
    assert list(await store.incidents.ids()) == [f"INC-2026-{number:04d}" for number in range(1, 66)]
    assert len(set.intersection(*found)) == 5  # what all were told of is the same incident for all


async def test_each_year_counts_for_itself(store: Store) -> None:
    for year in (2026, 2027, 2026):
        await store.incidents.declare(render_is_slow, NOW.replace(year=year), idempotency_key=None)
    assert list(await store.incidents.ids()) == ["INC-2026-0001", "INC-2026-0002", "INC-2027-0001"]


async def test_the_chain_holds_under_concurrent_changes(store: Store) -> None:
    id, connections = await declare(store), asyncio.Semaphore(20)

    async def note(number: int) -> None:
        # Each cause comes twice at the same moment.
        async with connections:
            await store.incidents.change(
                id, lambda now: now.note(f"nota {number // 2}", by=ANA, at=NOW), idempotency_key=f"note/{number // 2}"
            )

    await asyncio.gather(*(note(number) for number in range(60)))
    timeline = await store.incidents.timeline(id)
    assert [event.seq for event in timeline] == list(range(1, 32))
    assert sorted(event.facts["text"] for event in timeline[1:]) == sorted(f"nota {number}" for number in range(30))
    assert first_broken_link(id, timeline) is None
    # and each event owes its consequence, once
    owed = await store.outbox.pending()
    assert [work.arguments for work in owed] == [[id, seq] for seq in range(1, 32)]


async def test_a_change_that_cannot_be_leaves_nothing(store: Store) -> None:
    id = await declare(store)
    await store.incidents.change(id, lambda now: now.acknowledge(by=ANA, at=NOW), idempotency_key="one")
    with pytest.raises(WrongState):
        await store.incidents.change(id, lambda now: now.acknowledge(by=ANA, at=NOW), idempotency_key="two")
    assert len(await store.incidents.timeline(id)) == 2
    assert len(await store.outbox.pending()) == 2


async def test_what_one_request_changes_is_changed_together(store: Store) -> None:
    """If the second part cannot be, the first has not been either; done again, each part is done once."""
    id = await declare(store, "a")

    def assign(now: Incident) -> Changed | None:
        return now.assign(Role.COMMANDER, ANA.id, by=ANA, at=NOW)

    def acknowledge(now: Incident) -> Changed | None:
        return now.acknowledge(by=ANA, at=NOW) if now.status is Status.DECLARED else None

    def fails(now: Incident) -> Changed | None:
        raise WrongState("already_closed", incident=now.id)

    with pytest.raises(WrongState):
        await store.incidents.change_together(id, {"k/command": assign, "k/more": fails})
    assert not (await store.incidents.get(id)).roles
    for _ in range(2):
        changed = await store.incidents.change_together(id, {"k/command": assign, "k/acknowledge": acknowledge})
    assert (changed.roles[Role.COMMANDER], changed.status) == (ANA.id, Status.ACKNOWLEDGED)
    kinds = [event.kind for event in await store.incidents.timeline(id)]
    assert kinds == [Kind.DECLARED, Kind.ROLE_ASSIGNED, Kind.ACKNOWLEDGED]


async def test_the_chain_tells_what_was_changed_behind_its_back(store: Store) -> None:
    id = await declare(store)
    for text in ("uno", "dos", "tres"):
        await store.incidents.change(id, lambda now, text=text: now.note(text, by=ANA, at=NOW))  # type: ignore[misc]
    timeline = await store.incidents.timeline(id)
    assert first_broken_link(id, timeline) is None
    assert first_broken_link(id, [*timeline[:1], *timeline[2:]]) == 2
    assert first_broken_link("INC-2026-0002", timeline) == 1
