"""The line about an incident's alerts: whatever is saved while it is edited has another edit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from bot.domain.alert import Alert, Notification
from bot.domain.alert_rule import Fact, Join, Situation, Verdict
from bot.domain.errors import Unavailable
from bot.domain.incident import Changed, Declaration, Incident, Severity
from bot.domain.people import Person
from bot.store.alerts import SHOW_ALERTS, Policy, StormLimit
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALERTS = 40


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    upgrade(database_url)
    database = Database(database_url)
    yield Store(database, "test")
    await database.close()


async def patiently(call: Callable[[], Awaitable[None]]) -> None:
    """Make a call that may have waited too long for its turn again, as the engine and the senders of alerts do."""
    for _ in range(ALERTS):
        with contextlib.suppress(Unavailable):
            return await call()
    raise AssertionError("its turn never came")


async def declared(store: Store) -> str:
    def render_is_slow(id: str) -> Changed:
        return Incident.declare(id, Declaration("Render lento", Severity.SEV2, by=Person("U0ANA00001"), at=NOW))

    incident, _ = await store.incidents.declare(render_is_slow, NOW, idempotency_key="first")
    return incident.id


async def save(store: Store, incident: str, number: int, at: datetime) -> None:
    """Save one more firing alert of the incident, of which only its line tells."""
    alert = Alert(f"f{number}", True, {"alertname": "Slow"}, {}, at)

    def joins(_: Situation) -> Verdict:
        return Verdict((Join(incident, (alert,), is_news=False),), (Fact(alert, None, incident, is_new=True),))

    policy = Policy(joins, lambda *_: None, StormLimit(3, timedelta(minutes=1)))
    await store.alerts.apply(Notification(f"group {number}", (alert,)), at, policy)


async def edits(store: Store, known: set[str]) -> list[str]:
    """Take the edits out of the outbox, as the engine does: it starts no workflow twice."""
    entries = await store.outbox.pending()
    await store.outbox.mark_dispatched([entry.id for entry in entries])
    new = [entry.workflow_id for entry in entries if entry.workflow == SHOW_ALERTS and entry.workflow_id not in known]
    known |= set(new)
    return new


async def test_what_is_saved_before_an_edit_needs_no_other_and_what_is_saved_after_it_does(store: Store) -> None:
    incident = await declared(store)
    known: set[str] = set()
    await save(store, incident, 1, NOW)
    assert len(await edits(store, known)) == 1
    await save(store, incident, 2, NOW + timedelta(minutes=5))
    assert await edits(store, known) == []
    await store.alerts.begin_edit(incident)
    await save(store, incident, 3, NOW)  # it waited long for its turn
    assert len(await edits(store, known)) == 1


async def test_the_last_edit_shows_all_alerts_whenever_they_were_saved(store: Store) -> None:
    incident = await declared(store)
    shown: list[int] = []
    known: set[str] = set()

    async def edit() -> None:
        await patiently(partial(store.alerts.begin_edit, incident))
        shown.append(await store.alerts.count_firing(incident))

    async def edit_until(saved: asyncio.Future[list[None]]) -> None:
        while True:
            is_last = saved.done()
            for _ in await edits(store, known):
                await edit()
            if is_last:
                return

    saving = (patiently(partial(save, store, incident, number, NOW)) for number in range(ALERTS))
    saved = asyncio.ensure_future(asyncio.gather(*saving))
    await edit_until(saved)
    await saved
    assert shown[-1] == ALERTS
