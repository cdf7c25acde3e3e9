"""The engine by itself, on both databases: steps, outcomes, waits, and what comes after a stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dbos import _dbos

from bot.deps import Deps
from bot.domain.errors import Refused, Unavailable
from bot.integrations.pagerduty import OnCallCache
from bot.integrations.slack import Slack
from bot.messages.translations import load_translations
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from bot.workflows.engine.durable import Workflow, durable_step, sleep_until, start
from bot.workflows.engine.engine import Engine
from sandbox.clock import Clock
from sandbox.deadline import deadline
from tests.harness.measured import TEAM
from tests.real.parts import require
from tests.real.postgresql import postgresql

START = datetime(2026, 1, 7, 2, 0, tzinfo=UTC)


@contextlib.asynccontextmanager
async def engine(url: str, workflows: Mapping[str, Workflow], clock: Clock | None = None) -> AsyncIterator[Deps]:
    """An engine that runs these workflows until the block ends; on the same database it goes on where one stopped."""
    upgrade(url)
    clock, database = clock or Clock(START), Database(url)
    deps = Deps(
        clock=clock,
        team=TEAM,
        store=Store(database, "test"),
        words_by_locale=load_translations(),
        locale="es",
        incident_channel="#tamv-incidents",
        slack=Slack("xoxb-none"),
        on_call=OnCallCache(None, clock),
    )
    running = Engine(deps, workflows, url)
    await running.start()
    try:
        yield deps
    finally:
        await running.stop()
        await database.close()


class Record:
    """What the steps of a test have done, in order; it outlives the engines."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self._more = asyncio.Event()

    def add(self, what: Any) -> None:
        self.done.append(what)
        self._more.set()

    async def until(self, enough: Callable[[list[Any]], object], seconds: float = 20) -> None:
        async with deadline(seconds):
            while not enough(self.done):
                await self._more.wait()
                self._more.clear()


@pytest.fixture
def record() -> Record:
    return Record()


def does(record: Record, what: Any, gives: Any = None) -> Callable[[], Awaitable[Any]]:
    async def do() -> Any:
        record.add(what)
        return gives

    return do


async def test_a_step_is_tried_again_while_its_remote_is_away(database_url: str, record: Record) -> None:
    async def away_twice() -> str:
        record.add("tried")
        if record.done.count("tried") < 3:
            raise Unavailable("slack_unreachable", method="chat.postMessage", retry_after=0.01)
        return "there"

    async def workflow(deps: Deps) -> None:
        outcome = await durable_step("tell", away_twice)
        record.add((outcome.ok, outcome.value))

    async with engine(database_url, {"workflow": workflow}) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: (True, "there") in done)
    assert record.done == ["tried", "tried", "tried", (True, "there")]


async def test_a_database_that_is_away_between_two_steps_loses_no_workflow(database_url: str, record: Record) -> None:
    """What a workflow reads between its steps may not be there either: it begins anew, and nothing is done twice."""

    async def workflow(deps: Deps) -> None:
        await durable_step("before", does(record, "before"))
        record.add("read")
        if record.done.count("read") < 3:
            raise Unavailable("database_unavailable", why="OperationalError")
        await durable_step("after", does(record, "after"))

    async with engine(database_url, {"workflow": workflow}) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: "after" in done)
    assert record.done == ["before", "read", "read", "read", "after"]


async def test_patience_ends_and_what_is_refused_is_not_tried_again(database_url: str, record: Record) -> None:
    async def away() -> None:
        raise Unavailable("slack_unreachable", method="chat.postMessage", retry_after=0.01)

    async def refuses() -> None:
        record.add("refused")
        raise Refused("slack_refused", method="pins.add", error="no_permission")

    async def breaks() -> None:
        raise KeyError("surprise")

    async def workflow(deps: Deps) -> None:
        for name, do in (("away", away), ("refuses", refuses), ("breaks", breaks)):
            outcome = await durable_step(name, do, timedelta(seconds=0.05))
            record.add((name, outcome.error, outcome.facts.get("error")))

    async with engine(database_url, {"workflow": workflow}) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: len(done) == 4)
    assert record.done == [
        ("away", "slack_unreachable", None),
        "refused",
        ("refuses", "slack_refused", "no_permission"),
        ("breaks", "unexpected", None),
    ]


async def test_what_is_done_is_not_done_again_after_a_stop(database_url: str, record: Record) -> None:
    """The next engine hears of the outcomes, errors too, as the first one did, and goes on where that one stopped."""

    async def refuses() -> None:
        record.add("refused")
        raise Refused("slack_refused", method="pins.add", error="no_permission")

    async def waits() -> None:
        record.add("began")
        if record.done.count("began") == 1:
            await asyncio.Event().wait()

    async def workflow(deps: Deps, given: dict[str, Any]) -> None:
        value = await durable_step("value", does(record, "valued", {"ñ": [1, None, 2.5]}))
        refused = await durable_step("refused", refuses)
        await durable_step("waits", waits)
        record.add((value.value, refused.error, dict(refused.facts), given))

    async with engine(database_url, {"workflow": workflow}) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [{"incident": "INC-2026-0001"}])
        await record.until(lambda done: "began" in done)
    async with engine(database_url, {"workflow": workflow}):
        await record.until(lambda done: isinstance(done[-1], tuple))
    assert record.done[:-1] == ["valued", "refused", "began", "began"]
    assert record.done[-1] == (
        {"ñ": [1, None, 2.5]},
        "slack_refused",
        {"method": "pins.add", "error": "no_permission"},
        {"incident": "INC-2026-0001"},
    )


async def test_a_deadline_is_kept_over_a_stop(database_url: str, record: Record) -> None:
    """Ten minutes of a clock that runs fast; the stop in the middle neither starts them anew nor ends them."""
    clock = Clock(START, speed=120)

    async def workflow(deps: Deps) -> None:
        begun = await durable_step("begin", does(record, "begun", START.isoformat()))
        await sleep_until(deps, datetime.fromisoformat(begun.value) + timedelta(minutes=10))
        await durable_step("remind", does(record, "reminded"))
        record.add(clock.now() - START)

    async with engine(database_url, {"workflow": workflow}, clock) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: "begun" in done)
    assert "reminded" not in record.done
    async with engine(database_url, {"workflow": workflow}, clock):
        await record.until(lambda done: isinstance(done[-1], timedelta))
    *begun, reminded, taken = record.done  # begun a second time when the stop came before its record
    assert (set(begun), reminded) == ({"begun"}, "reminded")
    # The restart itself takes seconds of ours, which are minutes of this clock.
    assert timedelta(minutes=10) <= taken < timedelta(minutes=40)


async def test_a_wait_that_is_over_is_gone_through_again_after_a_stop(database_url: str, record: Record) -> None:
    """In the replay the moment has passed long ago, and the steps after it must still be the same ones."""
    clock = Clock(START, speed=60)

    async def waits() -> None:
        record.add("began")
        if record.done.count("began") == 1:
            await asyncio.Event().wait()

    async def workflow(deps: Deps) -> None:
        async def in_a_minute() -> str:
            return (clock.now() + timedelta(minutes=1)).isoformat()

        until = await durable_step("until when", in_a_minute)
        await sleep_until(deps, datetime.fromisoformat(until.value))
        await durable_step("waits", waits)
        await durable_step("last", does(record, "last"))

    async with engine(database_url, {"workflow": workflow}, clock) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: "began" in done)
    async with engine(database_url, {"workflow": workflow}, clock):
        await record.until(lambda done: "last" in done)
    assert record.done == ["began", "began", "last"]


async def test_what_is_owed_or_started_twice_runs_once(database_url: str, record: Record) -> None:
    async def child(deps: Deps, name: str) -> None:
        await durable_step("child", does(record, f"child {name}"))

    async def workflow(deps: Deps) -> None:
        for name in ("a", "a", "b"):
            await start("child", f"child/{name}", name)
        await durable_step("last", does(record, "last"))

    async with engine(database_url, {"workflow": workflow, "child": child}) as deps:
        for _ in range(3):
            await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: len(done) == 3)
        await deps.store.outbox.enqueue_once("one", "workflow", [])

        async with deadline(10):
            while await deps.store.outbox.pending():  # noqa: ASYNC110 - the engine looks by itself
                await asyncio.sleep(0.02)
    assert sorted(record.done) == ["child a", "child b", "last"]


async def test_a_workflow_of_a_newer_version_stays_owed_and_holds_up_nothing(database_url: str, record: Record) -> None:
    async def workflow(deps: Deps) -> None:
        await durable_step("known", does(record, "known"))

    async with engine(database_url, {"workflow": workflow}) as deps:
        await deps.store.outbox.enqueue_once("new", "of_a_newer_version", [])
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        await record.until(lambda done: "known" in done)
        assert [work.workflow for work in await deps.store.outbox.pending()][:1] == ["of_a_newer_version"]
    newer = {"workflow": workflow, "of_a_newer_version": workflow}
    async with engine(database_url, newer):
        await record.until(lambda done: done == ["known", "known"])


async def test_an_engine_stopped_while_it_starts_leaves_nothing_to_the_next(database_url: str, record: Record) -> None:
    async def workflow(deps: Deps) -> None:
        await durable_step("it", does(record, "done"))

    async with engine(database_url, {"workflow": workflow}) as deps:
        await deps.store.outbox.enqueue_once("one", "workflow", [])
        async with deadline(20):
            while _dbos._dbos_global_instance is None:  # noqa: ASYNC110 - DBOS tells nobody
                await asyncio.sleep(0)
    assert _dbos._dbos_global_instance is None
    async with engine(database_url, {"workflow": workflow}):
        await record.until(lambda done: "done" in done)


@pytest.mark.real("postgresql")
async def test_what_cannot_be_recorded_any_more_keeps_no_process_alive(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """A step is done while the database is away. Until it is back it is tried again; not when the engine is stopped."""
    require("postgresql")
    gone, there_before = asyncio.Event(), set(threading.enumerate())

    async def until_it_is_gone() -> None:
        record.add("begun")
        await gone.wait()

    async def workflow(deps: Deps) -> None:
        await durable_step("it", until_it_is_gone)

    with postgresql() as server:
        async with engine(server.new_database(), {"workflow": workflow}) as deps:
            await deps.store.outbox.enqueue_once("one", "workflow", [])
            await record.until(lambda done: "begun" in done)
            logging.getLogger("dbos").addHandler(caplog.handler)
            await asyncio.to_thread(server.stop)
            gone.set()
            async with deadline(20):
                while "Database connection failed" not in caplog.text:  # noqa: ASYNC110 - it is said in a thread
                    await asyncio.sleep(0.02)
        left = [one for one in set(threading.enumerate()) - there_before if one.name.startswith("dbos")]
        for one in left:
            await asyncio.to_thread(one.join, 20)
        assert not [one for one in left if one.is_alive()]
