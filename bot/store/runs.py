"""Runs of runbooks, step by step, and what waits for somebody else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Update, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.errors import NotFound, WrongState
from bot.domain.people import Person
from bot.domain.run import Approval, ApprovalState, Decision, Effect, Run, RunState, StepRun, StepState
from bot.domain.snapshot import Assessment as Verdict
from bot.domain.statistics import Attempt
from bot.store.database import Database, dialect_insert
from bot.store.incidents import TimelineEntry, append_entry
from bot.store.locks import ANNOUNCE
from bot.store.outbox import NOTIFY, enqueue
from bot.store.tables import approvals, decisions, incidents, run_steps, runs, targets

RUN = "run"


class Runs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, run: Run, idempotency_key: str, entry: TimelineEntry | None = None) -> tuple[Run, bool]:
        """Keep a new run with its steps, tell the timeline, owe its workflow; the same `origin` finds the first one."""
        async with self._database.write() as connection:
            if entry:  # first: two runs that refer to one incident already would wait for each other to lock it
                await append_entry(connection, entry)
            made = await connection.execute(
                dialect_insert(connection, runs)
                .values(run_columns(run) | {"origin": idempotency_key})
                .on_conflict_do_nothing()
                .returning(runs.c.id)
            )
            if made.first() is None:
                existing = (
                    await connection.execute(select(runs.c.id).where(runs.c.origin == idempotency_key))
                ).scalar_one()
                return await _load(connection, existing), False
            steps = [{"run_id": run.id, "position": at, **step_columns(step)} for at, step in enumerate(run.steps)]
            await connection.execute(insert(run_steps), steps)
            await enqueue(connection, run.id, RUN, [run.id])
            return run, True

    async def get(self, id: str) -> Run:
        """Raises NotFound."""
        async with self._database.read() as connection:
            return await _load(connection, id)

    async def refresh(self, run: Run) -> Run:
        """The run as it is now. While it goes on only its steps change, and that somebody has cancelled it."""
        query = select(run_steps, runs.c.cancel_by).join(runs, runs.c.id == run_steps.c.run_id)
        async with self._database.read() as connection:
            rows = await connection.execute(query.where(runs.c.id == run.id).order_by(run_steps.c.position))
        return with_steps(run, rows.all())

    async def list_running(self) -> list[Run]:
        """The oldest first."""
        return await self._found(select(runs).where(runs.c.state == RunState.RUNNING.value).order_by(runs.c.started_at))

    async def recent(self, limit: int = 20) -> list[Run]:
        """The newest first."""
        return await self._found(select(runs).order_by(runs.c.started_at.desc()).limit(limit))

    async def last_started(self, runbooks: Collection[str]) -> datetime | None:
        """When one of these runbooks was last run, rehearsals left out."""
        query = select(func.max(runs.c.started_at)).where(runs.c.runbook.in_(runbooks), runs.c.dry_run.is_(False))
        async with self._database.read() as connection:
            last: datetime | None = (await connection.execute(query)).scalar_one()
        return last

    async def was_watched(self, service: str, since: datetime) -> bool:
        """Whether the figures of a service were watched after this moment, and held."""
        steps = run_steps.c
        query = select(steps.parameters).where(
            steps.uses == "prometheus.watch", steps.state == StepState.DONE.value, steps.began_at >= since
        )
        real = query.join(runs, runs.c.id == steps.run_id).where(runs.c.dry_run.is_(False))
        async with self._database.read() as connection:
            scalar_result = (await connection.execute(real)).scalars()
            return any((result or {}).get("service") == service for result in scalar_result)

    async def list_by_incident(self, incident_id: str) -> list[Run]:
        """All runs of an incident, oldest first."""
        return await self._found(select(runs).where(runs.c.incident_id == incident_id).order_by(runs.c.started_at))

    async def list_by_runbook(self, runbook: str) -> list[Run]:
        """All runs of a runbook, oldest first."""
        return await self._found(select(runs).where(runs.c.runbook == runbook).order_by(runs.c.started_at))

    async def _found(self, query: Select[Any]) -> list[Run]:
        async with self._database.read() as connection:
            return await _read(connection, query)

    async def set_step(self, run_id: str, step_id: str, entry: TimelineEntry | None = None, /, **values: Any) -> None:
        """Change columns of a step (`state`, `parameters`, `effects`, `result`, …), and tell the timeline of it."""
        statement = _step_changed(run_id, step_id, values)
        if entry is None:
            await self._database.execute(statement)
            return
        async with self._database.write() as connection:
            await connection.execute(statement)
            await append_entry(connection, entry)

    async def end(
        self,
        run_id: str,
        state: RunState,
        at: datetime,
        *,
        settles: datetime | None = None,
        entry: TimelineEntry | None = None,
    ) -> None:
        """The first end stays. What the run has changed cools down until `settles`, and the timeline is told."""
        async with self._database.write() as connection:
            await connection.execute(
                update(runs)
                .where(runs.c.id == run_id, runs.c.state == RunState.RUNNING.value)
                .values(state=state.value, ended_at=at)
            )
            await connection.execute(update(targets).where(targets.c.run_id == run_id).values(held_until=settles or at))
            if entry:
                await append_entry(connection, entry)

    async def cancel(self, run_id: str, by: Person, idempotency_key: str) -> Run:
        """Ask a run to stop, and wake it. Raises NotFound, WrongState when it has ended."""
        async with self._database.write() as connection:
            run = await _load(connection, run_id)
            if run.state.ended:
                raise WrongState("run_ended", run=run_id, state=run.state.value)
            if run.cancel_by is None:
                await connection.execute(update(runs).where(runs.c.id == run_id).values(cancel_by=asdict(by)))
            await enqueue(connection, f"{idempotency_key}/wake", NOTIFY, [run_id])
            return run

    async def cancelled(self, run_id: str) -> bool:
        async with self._database.read() as connection:
            cursor_result = await connection.execute(select(runs.c.cancel_by).where(runs.c.id == run_id))
            return cursor_result.scalar_one_or_none() is not None

    async def request_approval(self, approval: Approval, **values: Any) -> None:
        """Ask for an approval: its step waits, and has these columns (see `set_step`).

        Asking again for the same digest changes nothing about what was decided, for another it begins anew.
        """
        async with self._database.write() as connection:
            columns = approval_columns(approval)
            statement = dialect_insert(connection, approvals).values(
                run_id=approval.run_id, step_id=approval.step_id, **columns
            )
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[approvals.c.run_id, approvals.c.step_id],
                    set_=columns,
                    where=approvals.c.digest != approval.digest,
                )
            )
            waits = {"state": StepState.WAITING, **values}
            await connection.execute(_step_changed(approval.run_id, approval.step_id, waits))

    async def approval(self, run_id: str, step_id: str) -> Approval | None:
        async with self._database.read() as connection:
            return next(iter(approvals_of(await connection.execute(_asked(_of(run_id, step_id))))), None)

    async def approval_status(self, run_id: str, step_id: str) -> tuple[Approval | None, bool]:
        """An approval, and whether its run was cancelled, in one question: many runs wait at a time."""
        query = _asked(_of(run_id, step_id)).add_columns(runs.c.cancel_by).join(runs, runs.c.id == approvals.c.run_id)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return next(iter(approvals_of(rows)), None), any(row.cancel_by is not None for row in rows)

    async def decide(
        self,
        run_id: str,
        step_id: str,
        decision: Decision,
        idempotency_key: str,
        *,
        entry_for: Callable[[Approval], TimelineEntry | None],
        announced: Mapping[str, Any] | None = None,
    ) -> Approval:
        """Count a decision and wake the run. Raises WrongState when it is too late, for another digest, or doubled.

        Who may decide is for the caller to judge; the row is locked, so that of two clicks at once each counts once.
        When it is agreed, the timeline is `told`; a broken glass is `announced` to everybody, with these facts.
        """
        async with self._database.write() as connection:
            approval = await _locked(connection, run_id, step_id)
            if approval is None:
                raise NotFound("no_such_approval", run=run_id, step=step_id)
            if approval.state is not ApprovalState.WAITING:
                raise WrongState("already_decided", state=approval.state.value)
            if approval.digest != decision.digest:
                raise WrongState("other_parameters")
            if decision.at >= approval.expires_at:
                raise WrongState("approval_expired")
            if any(d.person == decision.person for d in approval.decisions):
                raise WrongState("decided_before")
            await connection.execute(
                insert(decisions).values(
                    run_id=run_id,
                    step_id=step_id,
                    person=decision.person,
                    digest=decision.digest,
                    verdict=decision.verdict.value,
                    reason=decision.reason,
                    at=decision.at,
                )
            )
            state = approval.after(decision)
            await self._settle(connection, approval, state)
            await enqueue(connection, f"{idempotency_key}/wake", NOTIFY, [run_id])
            decided = replace(approval, state=state, decisions=(*approval.decisions, decision))
            if state.agreed and (event := entry_for(decided)):
                await append_entry(connection, event)
            if state is ApprovalState.BROKEN_GLASS and announced is not None:
                key = f"{run_id}/{step_id}"
                await enqueue(connection, f"{key}/{ANNOUNCE}", ANNOUNCE, [key, state.value, dict(announced)])
            return decided

    async def expire(self, run_id: str, step_id: str) -> None:
        """Nobody decided in time."""
        async with self._database.write() as connection:
            approval = await _locked(connection, run_id, step_id)
            if approval and approval.state is ApprovalState.WAITING:
                await self._settle(connection, approval, ApprovalState.EXPIRED)

    async def waiting(self) -> list[Approval]:
        """Approvals that wait, the oldest first."""
        async with self._database.read() as connection:
            query = _asked(approvals.c.state == ApprovalState.WAITING.value)
            return approvals_of(await connection.execute(query))

    @staticmethod
    async def _settle(connection: AsyncConnection, approval: Approval, state: ApprovalState) -> None:
        await connection.execute(
            update(approvals).where(_of(approval.run_id, approval.step_id)).values(state=state.value)
        )


async def _load(connection: AsyncConnection, id: str) -> Run:
    matches = await _read(connection, select(runs).where(runs.c.id == id))
    if not matches:
        raise NotFound("no_such_run", run=id)
    return matches[0]


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[Run]:
    """The runs of a query with their steps: two questions, however many they are."""
    rows = (await connection.execute(query)).all()
    steps: dict[str, list[StepRun]] = {row.id: [] for row in rows}
    of_them = select(run_steps).where(run_steps.c.run_id.in_(steps)).order_by(run_steps.c.position)
    for step in await connection.execute(of_them):
        steps[step.run_id].append(step_of(step))
    return [run_of(row, steps[row.id]) for row in rows]


def _asked(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Approvals, each with what was said about it for the digest that it is for now: see `approvals_of`."""
    same = and_(
        decisions.c.run_id == approvals.c.run_id,
        decisions.c.step_id == approvals.c.step_id,
        decisions.c.digest == approvals.c.digest,
    )
    columns = (decisions.c.person, decisions.c.verdict, decisions.c.at, decisions.c.reason)
    return (
        select(approvals, *columns)
        .outerjoin(decisions, same)
        .where(*conditions)
        .order_by(approvals.c.asked_at, decisions.c.at)
    )


def _of(run_id: str, step_id: str) -> ColumnElement[bool]:
    return and_(approvals.c.run_id == run_id, approvals.c.step_id == step_id)


async def _locked(connection: AsyncConnection, run_id: str, step_id: str) -> Approval | None:
    """An approval that nobody else decides about meanwhile.

    Locked first and read then: one statement for both would not see the decision that it has been waiting for.
    """
    await connection.execute(select(approvals.c.digest).where(_of(run_id, step_id)).with_for_update())
    return next(iter(approvals_of(await connection.execute(_asked(_of(run_id, step_id))))), None)


def _step_changed(run_id: str, step_id: str, values: dict[str, Any]) -> Update:
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    if "effects" in plain:
        plain["effects"] = [effect.to_json() for effect in plain["effects"]]
    return update(run_steps).where(run_steps.c.run_id == run_id, run_steps.c.id == step_id).values(**plain)


def run_columns(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "incident_id": run.incident_id,
        "channel": run.channel,
        "runbook": run.runbook,
        "book": dict(run.book),
        "inputs": dict(run.inputs),
        "environment": run.environment,
        "dry_run": run.dry_run,
        "by": asdict(run.by),
        "state": run.state.value,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
    }


def run_of(row: Row[Any], steps: Iterable[StepRun]) -> Run:
    return Run(
        id=row.id,
        runbook=row.runbook,
        book=row.book,
        inputs=row.inputs,
        environment=row.environment,
        by=Person(**row.by),
        started_at=row.started_at,
        incident_id=row.incident_id,
        channel=row.channel,
        dry_run=row.dry_run,
        state=RunState(row.state),
        ended_at=row.ended_at,
        cancel_by=_person(row.cancel_by),
        steps=tuple(steps),
    )


def with_steps(run: Run, rows: Sequence[Row[Any]]) -> Run:
    """Each row is a step, with the run's `cancel_by`."""
    return replace(run, cancel_by=_person(rows[0].cancel_by), steps=tuple(step_of(row) for row in rows))


def _person(raw: Mapping[str, Any] | None) -> Person | None:
    return Person(**raw) if raw else None


def step_columns(step: StepRun) -> dict[str, Any]:
    return {
        "id": step.id,
        "uses": step.uses,
        "state": step.state.value,
        "digest": step.digest,
        "effects": [],
        "facts": dict(step.facts),
    }


def step_of(row: Row[Any]) -> StepRun:
    return StepRun(
        id=row.id,
        uses=row.uses,
        state=StepState(row.state),
        parameters=row.parameters,
        digest=row.digest,
        effects=tuple(Effect.from_json(effect) for effect in row.effects),
        rehearsed=row.rehearsed,
        result=row.result,
        verified=row.verified,
        verdict=Verdict(row.verdict) if row.verdict else None,
        error=row.error,
        facts=row.facts,
        began_at=row.began_at,
        ended_at=row.ended_at,
    )


def approval_columns(approval: Approval) -> dict[str, Any]:
    return {
        "digest": approval.digest,
        "needed": approval.needed,
        "role": approval.role,
        "asked_at": approval.asked_at,
        "expires_at": approval.expires_at,
        "state": approval.state.value,
    }


def approvals_of(rows: Iterable[Row[Any]]) -> list[Approval]:
    """Each row is an approval with one decision about it, or with none (`person` is None); in the order of the rows."""
    approvals_by_step: dict[tuple[str, str], Approval] = {}
    for row in rows:
        key = (row.run_id, row.step_id)
        approval = approvals_by_step.setdefault(
            key,
            Approval(*key, row.digest, row.needed, row.role, row.asked_at, row.expires_at, ApprovalState(row.state)),
        )
        if row.person is not None:
            decision = Decision(row.person, ApprovalState(row.verdict), row.digest, row.at, row.reason)
            approvals_by_step[key] = replace(approval, decisions=(*approval.decisions, decision))
    return list(approvals_by_step.values())


async def attempts(
    database: Database, actions: Collection[str], environment: str, since: datetime | None
) -> list[Attempt]:
    """What was performed by these actions in ended runs; rehearsals and drills left out. Raises Unavailable."""
    query = (
        select(runs.c.id, runs.c.state, run_steps.c.uses, run_steps.c.state)
        .join(run_steps, run_steps.c.run_id == runs.c.id)
        .outerjoin(incidents, incidents.c.id == runs.c.incident_id)
        .where(
            runs.c.environment == environment,
            runs.c.dry_run.is_(False),
            runs.c.ended_at.is_not(None),
            run_steps.c.uses.in_(actions),
            run_steps.c.began_at.is_not(None),
            or_(incidents.c.id.is_(None), incidents.c.drill.is_(False)),
        )
    )
    if since:
        query = query.where(runs.c.started_at >= since)
    async with database.read() as connection:
        return [
            Attempt(run, RunState(ended), uses, StepState(state))
            for run, ended, uses, state in await connection.execute(query)
        ]
