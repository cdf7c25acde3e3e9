"""The engine: runs workflows with DBOS, starts them from the outbox, and takes over those of processes that died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, SetWorkflowID, WorkflowStatus
from sqlalchemy import make_url

from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.integrations.base import REASON_LIMIT, in_thread
from bot.integrations.effects import effect_gate
from bot.store.database import IDLE_IN_TRANSACTION_SECONDS, SESSION_NAME, Fence
from bot.store.outbox import NOTIFY
from bot.tasks import cancel_and_wait
from bot.workflows.engine.assignments import Assignments
from bot.workflows.engine.cleanup import cleanup_loop
from bot.workflows.engine.durable import Running, Workflow, current, registered
from bot.workflows.engine.lease import Lease, lease_on
from bot.workflows.engine.serialization import json_serializer

log = logging.getLogger(__name__)

# Change it ONLY with a plan for workflows in flight: DBOS recovers workflows of this version only.
WORKFLOW_VERSION = "workflows-1"
OUTBOX_POLL_SECONDS = 0.2
RETRY_SECONDS = 5.0
TAKEOVER_INTERVAL_SECONDS = 1.0
QUEUE_POLL_SECONDS = 0.5  # of workflows that are resumed; all others start at once
START_ATTEMPTS = 3  # with a database that answers; then something is wrong that waiting does not mend
MIGRATION_TIMEOUT_SECONDS = 120.0
INTERRUPT_ATTEMPTS = 100
INTERRUPT_PAUSE_SECONDS = 0.02


Loop = Callable[[Deps, asyncio.Event], Coroutine[Any, Any, None]]  # works while the event is set


class EngineState(StrEnum):
    """What the engine of a process does. It stands by where another process must run the workflows alone."""

    RUNS = "runs"
    STANDS_BY = "stands by"
    STARTING = "starting"
    NO_LEASE = "no lease"  # for as long as the database does not confirm it, it begins nothing
    FAILED = "failed"


class Engine:
    """Runs workflows: in every process on PostgreSQL, in one at a time on SQLite. A `spare` one only if no other does.

    Processes that do not run workflows only write to the outbox.
    """

    def __init__(
        self,
        deps: Deps,
        workflows: Mapping[str, Workflow],
        database_url: str,
        loops: Sequence[Loop] = (),
        *,
        spare: bool = False,
    ) -> None:
        self._deps = deps
        self._loops = (cleanup_loop, *loops)
        self._workflows = workflows
        self._url = database_url
        self._lease = lease_on(database_url, spare=spare)
        self._assignments: Assignments | None = None  # None: everything is this process's
        if isinstance(self._lease, Lease):
            self._assignments = Assignments(deps.store.database, self._lease, deps.metrics)
        self._outbox_notified = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._interrupted: set[str] = set()  # ids of workflows to replay
        self._takeover_requested = asyncio.Event()
        self._may_run = False
        self._launched = False
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._dbos: DBOS | None = None
        self._client: DBOSClient | None = None  # reads steps of workflows of other processes

    @property
    def runs_workflows(self) -> bool:
        """True if this process runs workflows now."""
        return self._launched and self._lease.held.is_set()

    @property
    def state(self) -> EngineState:
        """What the engine of this process does now."""
        if self._failure.done():
            return EngineState.FAILED
        if self._launched:
            return EngineState.RUNS if self._lease.confirmed else EngineState.NO_LEASE
        return EngineState.STARTING if self._may_run else EngineState.STANDS_BY

    async def failed(self) -> str:
        """Wait until the engine cannot start, for a reason that waiting does not mend; returns the reason."""
        return await asyncio.shield(self._failure)

    async def start(self) -> None:
        """Start to run workflows as soon as this process may; returns immediately."""
        self._deps.store.database.on_enqueued = self.notify
        self._deps.store.database.fence = self._fence
        task = asyncio.create_task(self._run(), name="engine")
        task.add_done_callback(self._note_failure)
        self._tasks.append(task)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        problem = None if task.cancelled() else task.exception()
        if problem and not self._failure.done():
            log.error("the engine ended", exc_info=problem)
            self._failure.set_result(_reason(problem))

    async def stop(self) -> None:
        await cancel_and_wait(self._tasks)
        self._launched = False
        if self._dbos:  # also one that was about to start
            # DBOS logs an error for every interrupted workflow; they continue at the next start, as after a crash.
            dbos_log = logging.getLogger("dbos")
            level = dbos_log.level
            dbos_log.setLevel(logging.CRITICAL)
            await self._interrupt_workflows()
            await self._deps.message_refresher.stop()
            self._destroy_dbos()
            dbos_log.setLevel(level)
        if self._client:
            self._client.destroy()
        self._deps.store.database.fence = lambda: None
        await self._lease.leave()

    async def _interrupt_workflows(self) -> None:
        """Cancel what runs, including a workflow that was started a moment ago: it is known once its task has begun."""
        for _ in range(INTERRUPT_ATTEMPTS):
            await cancel_and_wait(self._running)
            await asyncio.sleep(INTERRUPT_PAUSE_SECONDS)
            if not self._running and not (self._dbos and self._dbos._active_workflows_set.activeList()):
                return
        log.warning("stopping with workflows that could not be interrupted; they continue at the next start")

    def _destroy_dbos(self) -> None:
        """Shut DBOS down. Its threads were the running loop's executor and end with it, so the loop gets a new one."""
        if self._dbos and self._dbos._sys_db_field:
            # A thread that records a step would retry while the database is down, and keep the process alive.
            self._dbos._sys_db_field._retry_connection_errors = False
        self._dbos = None
        DBOS.destroy(destroy_registry=True)
        registered.clear()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))

    async def has_completed(self, workflow_id: str, step: str) -> bool:
        """Return True if the workflow completed this step, in any process."""
        if self._client is None:
            url = _system_database(self._url)
            self._client = DBOSClient(system_database_url=url, serializer=json_serializer(), lazy=True)
        steps = await self._client.list_workflow_steps_async(workflow_id)
        return any(step_info["function_name"] == step for step_info in steps)

    def notify(self) -> None:
        """Wake the engine: the outbox has new entries."""
        self._outbox_notified.set()

    def _fence(self) -> Fence | None:
        """Let a workflow save nothing once another process has taken it over; requests are not held up."""
        in_workflow = current.get(None) is not None
        return self._lease.fence if in_workflow and isinstance(self._lease, Lease) else None

    async def _run(self) -> None:
        attempts = 0
        while not self._launched:
            await self._lease.wait()
            self._may_run = True
            try:
                # In a thread: on PostgreSQL it blocks until all open transactions have ended, including our own.
                url = _system_database(self._url)
                await in_thread(DBOS.migrate, url, deadline=MIGRATION_TIMEOUT_SECONDS, service="DBOS")
                await self._lease.join()
                await self._launch()
                self._launched = True
                log.info("running workflows as executor %s", self._lease.id)
            except Exception as problem:
                await self._lease.leave()
                attempts = attempts + 1 if await self._database_answers() else 0
                if attempts >= START_ATTEMPTS:
                    log.exception("the engine cannot start")
                    self._failure.set_result(_reason(problem))
                    return
                log.exception("the engine failed to start; next attempt in %s s", RETRY_SECONDS)
                self._destroy_dbos()
                await asyncio.sleep(RETRY_SECONDS)
        self._tasks.append(asyncio.create_task(self._take_over_forever(), name="engine-takeover"))
        for loop in self._loops:
            task = asyncio.create_task(loop(self._deps, self._lease.held), name=f"engine-{loop.__name__}")
            self._tasks.append(task)
        while True:
            await self._lease.gate()
            try:
                await self._dispatch_outbox()
            except Unavailable as problem:
                log.warning("cannot read the outbox: %s", problem)
            except Exception:
                log.exception("dispatching the outbox failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OUTBOX_POLL_SECONDS):
                    await self._outbox_notified.wait()
            self._outbox_notified.clear()

    async def _database_answers(self) -> bool:
        try:
            await self._deps.store.database.ready()
        except Unavailable:
            return False
        return True

    async def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "tamv-bot",
            "system_database_url": _system_database(self._url),
            "application_version": WORKFLOW_VERSION,
            "executor_id": self._lease.id,
            "serializer": json_serializer(),
            # DBOS retries lost connections itself; the last used connection has its statements prepared.
            "db_engine_kwargs": {"pool_pre_ping": False, "pool_use_lifo": True} | _session(self._url),
            "sys_db_idle_transaction_timeout_sec": IDLE_IN_TRANSACTION_SECONDS,
            # We do not use DBOS's notifications, but stopping waits for its listener, which sleeps this long.
            "notification_listener_polling_interval_sec": 0.1,
            "log_level": "WARNING",
        }
        self._dbos = DBOS(config=config)
        for name, workflow in self._workflows.items():
            registered[name] = self._register(name, workflow)
        if self._assignments is None:
            DBOS.launch()
            return
        DBOS.listen_queues([self._assignments.queue])
        DBOS.launch()
        await DBOS.register_queue_async(self._assignments.queue, polling_interval_sec=QUEUE_POLL_SECONDS)

    def _register(self, name: str, workflow: Workflow) -> Workflow:
        deps = self._deps

        async def run(*arguments: Any) -> Any:
            if task := asyncio.current_task():
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            current.set(Running(name, deps.metrics, self._lease.gate, deps.redaction.of))
            effect_gate.set(self._lease.gate)
            try:
                value = await workflow(deps, *arguments)
            except Unavailable as problem:
                log.warning("workflow %s was interrupted and will be replayed: %s", DBOS.workflow_id, problem)
                if task and (interrupted := DBOS.workflow_id):
                    task.add_done_callback(lambda _: self._replay(interrupted))
                raise asyncio.CancelledError from problem  # the only exception that DBOS does not record
            except Exception:
                deps.metrics.workflow_ended(name, succeeded=False)
                raise
            deps.metrics.workflow_ended(name, succeeded=True)
            return value

        run.__name__ = run.__qualname__ = name
        wrapped: Workflow = DBOS.workflow(name=name, max_recovery_attempts=1_000_000)(run)
        return wrapped

    def _replay(self, workflow_id: str) -> None:
        self._interrupted.add(workflow_id)
        self._takeover_requested.set()

    async def _dispatch_outbox(self) -> None:
        """Start this process's workflows in the outbox, page by page.

        Names unknown to this version are left to a newer one during a rollout.
        """
        runnable, last = {NOTIFY, *registered}, 0
        while page := await self._deps.store.outbox.pending(after=last):
            last = page[-1].id
            entries = [entry for entry in page if entry.workflow in runnable]
            if self._assignments:
                entries = await self._assignments.own(entries, self._deps.clock.now())
            for entry in entries:
                if entry.workflow == NOTIFY:
                    self._deps.notify(*entry.arguments)
                    continue
                with SetWorkflowID(entry.workflow_id):
                    await DBOS.start_workflow_async(registered[entry.workflow], *entry.arguments)
            if entries:
                await self._deps.store.outbox.mark_dispatched([entry.id for entry in entries])

    async def _take_over_forever(self) -> None:
        """Resume workflows that no process runs: interrupted ones, and those of processes that died or hang."""
        while True:
            await self._lease.gate()
            self._takeover_requested.clear()
            try:
                if self._assignments:
                    await self._take_over(self._assignments)
                else:
                    await self._resume_all()
            except Unavailable as problem:
                log.warning("taking over workflows failed: %s", problem)
            except Exception:
                log.exception("taking over workflows failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TAKEOVER_INTERVAL_SECONDS if self._assignments else RETRY_SECONDS):
                    await self._takeover_requested.wait()

    async def _take_over(self, assignments: Assignments) -> None:
        # discard first: they may be interrupted again as soon as they are resumed
        interrupted, self._interrupted = self._interrupted, set()
        try:
            resumed = await assignments.take_over(self._deps.clock.now(), interrupted)
        except BaseException:
            self._interrupted |= interrupted
            raise
        if resumed:
            self.notify()  # what the outbox has for their subjects is this process's now

    async def _resume_all(self) -> None:
        """Resume workflows, where there is one process: interrupted ones, and those of processes before it."""
        running = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
        for workflow in running:
            if workflow.executor_id != DBOS.executor_id or workflow.workflow_id in self._interrupted:
                await self._resume_if_possible(workflow)

    async def _resume_if_possible(self, workflow: WorkflowStatus) -> None:
        """Resume a workflow; one that cannot be resumed (its row is not JSON) does not stop the others."""
        log.info("resuming workflow %s", workflow.workflow_id)
        try:
            await self._resume(workflow)
        except Exception as problem:
            log.error("workflow %s cannot be resumed: %s", workflow.workflow_id, type(problem).__name__)

    async def _resume(self, workflow: WorkflowStatus) -> None:
        interrupted = workflow.workflow_id in self._interrupted
        # discard first: it may be interrupted again as soon as it is resumed
        self._interrupted.discard(workflow.workflow_id)
        try:
            await DBOS.resume_workflow_async(workflow.workflow_id, queue_name=workflow.queue_name)
        except Exception:
            if interrupted:
                self._interrupted.add(workflow.workflow_id)
            raise


def _reason(problem: BaseException) -> str:
    """Return an error as one short line."""
    return " ".join(str(problem).split())[:REASON_LIMIT] or type(problem).__name__


def _session(url: str) -> dict[str, Any]:
    """Return the options of DBOS's connections: in PostgreSQL they are named like the rest of this process's."""
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"factory": _SqliteConnection}}
    return {"connect_args": {"application_name": SESSION_NAME}}


class _SqliteConnection(sqlite3.Connection):
    """A connection that knows `unixepoch('subsec')`, which DBOS uses on Python 3.12 and SQLite has since 3.42."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if sqlite3.sqlite_version_info < (3, 42):
            self.create_function("unixepoch", 1, lambda _moment: round(time.time(), 3))


def _system_database(url: str) -> str:
    """Return the URL of DBOS's tables: the same on PostgreSQL (own schema), a separate file for SQLite.

    With one SQLite file, every step of a workflow would compete with acknowledgements for the write lock.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return url
    path = f"{parsed.database}.workflows"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return f"sqlite:///{path}"
