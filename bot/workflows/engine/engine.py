"""The engine of durable workflows: DBOS, fed by the outbox.

A workflow is a plain async function `(parts, *arguments)` whose arguments are JSON. Between its steps it must be
deterministic: what it learns about the world it learns in a `step`. What it reads from the store between them may not
be there: it then raises Unavailable, and the workflow goes on by a replay, as after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, WorkflowStatus
from sqlalchemy import make_url

from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.integrations.base import in_thread, retry
from bot.metrics import Metrics
from bot.store.outbox import NOTIFY
from bot.tasks import cancel_and_wait
from bot.workflows.engine.cleanup import cleanup_loop
from bot.workflows.engine.leader import Leadership

log = logging.getLogger(__name__)

Workflow = Callable[..., Coroutine[Any, Any, Any]]

# Bump it ONLY together with a plan for the workflows in flight: they are recovered by this name alone.
WORKFLOW_VERSION = "workflows-1"
OUTBOX_POLL_SECONDS = 0.2
SHORTEST_SLEEP = 0.001
RECOVERY_INTERVAL_SECONDS = 5.0
MIGRATION_TIMEOUT_SECONDS = 120.0

_registered: dict[str, Workflow] = {}
_current: ContextVar[tuple[str, Metrics | None]] = ContextVar("workflow")  # whose step it is, and who counts it
# Set while the process of the workflow leads: without the leadership no step begins.
_is_leader: ContextVar[asyncio.Event] = ContextVar("held")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to: its value, or the mistake that ended it. Plain JSON, so that a replay sees the same."""

    value: Any = None
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.error is None


async def durable_step(
    name: str, call: Callable[[], Awaitable[Any]], give_up_after: timedelta | None = None
) -> Outcome:
    """Do something outside, once it is recorded as done never again; until then at least once.

    `do` gives plain JSON, or an Outcome (see `attempt`), and may be called again after a crash, so a second time must
    do no harm. While it raises Unavailable it is tried again for `patience` (None: until it works). Never raises: look
    at the outcome.
    """

    async def recorded() -> dict[str, Any]:  # DBOS logs the arguments of a step that is cut off: this has none
        came_to = await run_with_retries(name, call, give_up_after)
        return {"value": came_to.value} if came_to.ok else {"error": came_to.error, "facts": dict(came_to.facts)}

    envelope = await DBOS.run_step_async({"name": name}, recorded)
    return Outcome(**envelope)


async def run_with_retries(
    name: str, call: Callable[[], Awaitable[Any]], give_up_after: timedelta | None = None
) -> Outcome:
    """A part of a step, as patient as it should be: what a `step` does before its outcome is recorded.

    Recording costs more than most steps do. So a step may be made of several attempts, of which each can be made again
    after a crash; then its `do` gives an Outcome.
    """
    workflow, metrics = _current.get(("", None))

    async def waiting(problem: Unavailable) -> None:
        log.warning("step %s of %s waits: %s", name, DBOS.workflow_id, problem)
        if metrics:
            metrics.step_waits(workflow, name)

    def counted(error: str) -> None:
        if metrics:
            metrics.step_failed(workflow, name, error)

    async def led() -> Any:
        await _is_leader.get().wait()
        return await call()

    try:
        outcome = await retry(led, give_up_after, on_retry=waiting)
        return outcome if isinstance(outcome, Outcome) else Outcome(outcome)
    except BotError as problem:
        counted(problem.key)
        log.warning("step %s of %s failed: %s", name, DBOS.workflow_id, problem)
        return Outcome(error=problem.key, facts=_to_json_facts(problem.facts))
    except Exception:
        counted("unexpected")
        reference = uuid.uuid4().hex[:8]
        log.exception("step %s of %s broke, reference %s", name, DBOS.workflow_id, reference)
        return Outcome(error="unexpected", facts={"reference": reference})


async def sleep_until(deps: Deps, moment: datetime) -> None:
    """Wait for a moment of the bot's clock; a restart does not start the wait anew."""
    seconds = (moment - deps.clock.now()).total_seconds() / deps.clock.speed
    # DBOS does not record a sleep of no time: replayed after the moment, every later step would be off by one.
    await DBOS.sleep_async(max(SHORTEST_SLEEP, seconds))


async def start(name: str, workflow_id: str, *arguments: Any) -> None:
    """Start another workflow from inside one, unless it has been started before."""
    with SetWorkflowID(workflow_id):
        await DBOS.start_workflow_async(_registered[name], *arguments)


class Engine:
    """Runs workflows by their names in one process at a time (see Leadership); the others only write to the outbox."""

    def __init__(self, deps: Deps, workflows: Mapping[str, Workflow], database_url: str) -> None:
        self._deps = deps
        self._workflows = workflows
        self._url = database_url
        self._leadership = Leadership(database_url)
        self._outbox_notified = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._interrupted: set[str] = set()  # ids of workflows that go on by a replay
        self._recovery_requested = asyncio.Event()
        self._launched = False
        self._dbos: DBOS | None = None
        self._client: DBOSClient | None = None  # for what other processes run

    @property
    def leads(self) -> bool:
        """Whether the workflows run in this process, now."""
        return self._launched and self._leadership.is_leader.is_set()

    async def start(self) -> None:
        """Begin to compete for the leadership; returns at once."""
        self._tasks.append(asyncio.create_task(self._run(), name="engine"))

    async def stop(self) -> None:
        await cancel_and_wait(self._tasks)
        if self._launched:
            self._launched = False
            # DBOS complains of every workflow that is cut off. They go on at the next start, as after a crash.
            of_dbos = logging.getLogger("dbos")
            level = of_dbos.level
            of_dbos.setLevel(logging.CRITICAL)
            await cancel_and_wait(self._running)
            await self._deps.message_refresher.stop()
            _destroy(self._dbos)
            of_dbos.setLevel(level)
        if self._client:
            self._client.destroy()
        await self._leadership.release()

    async def has_completed(self, workflow_id: str, step: str) -> bool:
        """Whether a workflow has come to the end of this step, whichever process runs it."""
        if self._client is None:
            url = _system_database(self._url)
            self._client = DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer(), lazy=True)
        steps = await self._client.list_workflow_steps_async(workflow_id)
        return any(step_info["function_name"] == step for step_info in steps)

    def notify(self) -> None:
        """There is work in the outbox."""
        self._outbox_notified.set()

    async def _run(self) -> None:
        await self._leadership.acquire()
        while not self._launched:
            try:
                # In a thread: on PostgreSQL it waits until every transaction that is open has ended, ours too.
                url = _system_database(self._url)
                await in_thread(DBOS.migrate, url, deadline=MIGRATION_TIMEOUT_SECONDS, service="DBOS")
                self._launch()
                self._launched = True
            except Exception:
                log.exception("the engine does not start; it is tried again in %s s", RECOVERY_INTERVAL_SECONDS)
                _destroy(self._dbos)
                await asyncio.sleep(RECOVERY_INTERVAL_SECONDS)
        self._tasks.append(asyncio.create_task(self._recover_workflows(), name="engine-orphans"))
        self._tasks.append(
            asyncio.create_task(cleanup_loop(self._deps, self._leadership.is_leader), name="engine-tidy")
        )
        while True:
            await self._leadership.is_leader.wait()
            try:
                await self._dispatch_outbox()
            except Unavailable as problem:
                log.warning("the outbox cannot be read: %s", problem)
            except Exception:
                log.exception("the outbox broke")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OUTBOX_POLL_SECONDS):
                    await self._outbox_notified.wait()
            self._outbox_notified.clear()

    def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "tamv-bot",
            "system_database_url": _system_database(self._url),
            "application_version": WORKFLOW_VERSION,
            "executor_id": uuid.uuid4().hex,
            "serializer": DBOSPortableJSONSerializer(),
            # DBOS tries again by itself when a connection is gone, and what one has prepared serves the next call.
            "db_engine_kwargs": {"pool_pre_ping": False, "pool_use_lifo": True},
            # We send no notifications by DBOS. Its listener on SQLite sleeps so long, and a stop waits for it.
            "notification_listener_polling_interval_sec": 0.1,
            "log_level": "WARNING",
        }
        self._dbos = DBOS(config=config)
        for name, workflow in self._workflows.items():
            _registered[name] = self._register(name, workflow)
        DBOS.launch()

    def _register(self, name: str, workflow: Workflow) -> Workflow:
        deps = self._deps

        async def run(*arguments: Any) -> Any:
            _is_leader.set(self._leadership.is_leader)
            if task := asyncio.current_task():
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            _current.set((name, deps.metrics))
            try:
                value = await workflow(deps, *arguments)
            except Unavailable as problem:
                log.warning("%s was interrupted, and goes on by a replay: %s", DBOS.workflow_id, problem)
                if task and (interrupted := DBOS.workflow_id):
                    task.add_done_callback(lambda _: self._replay(interrupted))
                raise asyncio.CancelledError from problem  # the one end that DBOS does not record
            except Exception:
                deps.metrics.workflow_ended(name, well=False)
                raise
            deps.metrics.workflow_ended(name, well=True)
            return value

        run.__name__ = run.__qualname__ = name
        registered: Workflow = DBOS.workflow(name=name, max_recovery_attempts=1_000_000)(run)
        return registered

    def _replay(self, workflow_id: str) -> None:
        self._interrupted.add(workflow_id)
        self._recovery_requested.set()

    async def _dispatch_outbox(self) -> None:
        """What this version does not know is left to a newer one, which is being rolled out."""
        runnable = {NOTIFY, *_registered}
        while owed := [work for work in await self._deps.store.outbox.pending() if work.workflow in runnable]:
            for work in owed:
                if work.workflow == NOTIFY:
                    self._deps.notify(*work.arguments)
                    continue
                with SetWorkflowID(work.workflow_id):
                    await DBOS.start_workflow_async(_registered[work.workflow], *work.arguments)
            await self._deps.store.outbox.mark_dispatched([work.id for work in owed])

    async def _recover_workflows(self) -> None:
        """Workflows that nobody runs go on here: the interrupted, and what runs under another executor's id."""
        while True:
            await self._leadership.is_leader.wait()
            self._recovery_requested.clear()
            try:
                running = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
                for workflow in running:
                    if workflow.executor_id != DBOS.executor_id or workflow.workflow_id in self._interrupted:
                        log.info("going on with %s", workflow.workflow_id)
                        await self._resume(workflow)
            except Exception:
                log.exception("looking for orphans broke; it goes on in %s s", RECOVERY_INTERVAL_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECOVERY_INTERVAL_SECONDS):
                    await self._recovery_requested.wait()

    async def _resume(self, workflow: WorkflowStatus) -> None:
        interrupted = workflow.workflow_id in self._interrupted
        # Before: as soon as it is resumed, it may be interrupted again.
        self._interrupted.discard(workflow.workflow_id)
        try:
            await DBOS.resume_workflow_async(workflow.workflow_id, queue_name=workflow.queue_name)
        except Exception:
            if interrupted:
                self._interrupted.add(workflow.workflow_id)
            raise


def _destroy(dbos: DBOS | None) -> None:
    """End DBOS. It has put its own threads into the running loop, and they end with it: the loop gets others."""
    if dbos and dbos._sys_db_field:
        # A thread that is recording a step would try again while the database is away, and keep the process alive.
        dbos._sys_db_field._retry_connection_errors = False
    DBOS.destroy(destroy_registry=True)
    _registered.clear()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))


def _system_database(url: str) -> str:
    """DBOS's tables: a schema of their own on PostgreSQL, a file of their own beside SQLite's.

    One file for both would make every step of a workflow wait for the lock that the acknowledgements need.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return url
    path = f"{parsed.database}.workflows"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return f"sqlite:///{path}"


def _to_json_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None), list, dict)
    return {name: value if isinstance(value, plain) else str(value) for name, value in facts.items()}
