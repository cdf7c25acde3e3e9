"""Runs of runbooks with their steps and approvals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Update, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.errors import NotFound, WrongState
from bot.domain.people import Person
from bot.domain.pipeline import Trial
from bot.domain.run import (
    APPROVAL_ROUNDS,
    DECIDED_FROM,
    Approval,
    ApprovalState,
    Decision,
    Effect,
    Run,
    RunState,
    StepRun,
    StepState,
    base_step_id,
    is_undo,
)
from bot.domain.snapshot import Assessment as Verdict
from bot.domain.statistics import Attempt
from bot.store.database import Database, dialect_insert, redacted
from bot.store.incidents import TimelineEntry, append_entry
from bot.store.outbox import NOTIFY, enqueue
from bot.store.tables import approvals, decisions, incidents, run_steps, runs, targets

RUN = "run"
MOST_RESULTS = 200
_AS_GIVEN = frozenset({"parameters", "digest"})
QueuedWorkflow = tuple[str, str, list[Any]]  # its id, its name, its arguments


class RunIdTaken(Exception):
    """Another run, started by another key, has this id."""


class Runs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, run: Run, idempotency_key: str, entry: TimelineEntry | None = None) -> tuple[Run, bool]:
        """Save a new run with its steps and timeline entry, and enqueue its workflow. Returns it and whether it is new.

        A second call with the same idempotency key returns the first run. Raises RunIdTaken, and saves nothing, if
        another run has the id.
        """
        async with self._database.write() as connection:
            if entry:  # first, as it locks the incident: inserting the run before would let two runs deadlock
                await append_entry(connection, entry)
            inserted = await connection.execute(
                dialect_insert(connection, runs)
                .values(run_columns(run) | {"origin": idempotency_key})
                .on_conflict_do_nothing()
                .returning(runs.c.id)
            )
            if inserted.first() is None:
                existing_id = (
                    await connection.execute(select(runs.c.id).where(runs.c.origin == idempotency_key))
                ).scalar_one_or_none()
                if existing_id is None:
                    raise RunIdTaken(run.id)
                return await _load(connection, existing_id), False
            steps = [{"run_id": run.id, "position": at, **step_columns(step)} for at, step in enumerate(run.steps)]
            await connection.execute(insert(run_steps), steps)
            await enqueue(connection, run.id, RUN, [run.id])
            return run, True

    async def get(self, id: str) -> Run:
        """Return a run. Raises NotFound."""
        async with self._database.read() as connection:
            return await _load(connection, id)

    async def refresh(self, run: Run) -> Run:
        """Return the run's current state: while it runs, only its steps and its cancellation change."""
        query = select(run_steps, runs.c.cancel_by).join(runs, runs.c.id == run_steps.c.run_id)
        async with self._database.read() as connection:
            rows = await connection.execute(query.where(runs.c.id == run.id).order_by(run_steps.c.position))
        return with_steps(run, rows.all())

    async def list_running(self) -> list[Run]:
        """Return the running runs, oldest first."""
        return await self._query(select(runs).where(runs.c.state == RunState.RUNNING.value).order_by(runs.c.started_at))

    async def recent(self, limit: int = 20) -> list[Run]:
        """Return the newest runs first."""
        return await self._query(select(runs).order_by(runs.c.started_at.desc()).limit(limit))

    async def last_started(self, runbooks: Collection[str]) -> datetime | None:
        """Return when one of these runbooks was last started, without dry runs."""
        query = select(func.max(runs.c.started_at)).where(runs.c.runbook.in_(runbooks), runs.c.dry_run.is_(False))
        async with self._database.read() as connection:
            last: datetime | None = (await connection.execute(query)).scalar_one()
        return last

    async def was_watched(self, service: str, since: datetime) -> bool:
        """Return True if the service's metrics were watched after `since`, and stayed within their limits."""
        steps = run_steps.c
        query = select(steps.parameters).where(
            steps.uses == "prometheus.watch", steps.state == StepState.DONE.value, steps.began_at >= since
        )
        not_dry = query.join(runs, runs.c.id == steps.run_id).where(runs.c.dry_run.is_(False))
        async with self._database.read() as connection:
            parameters = (await connection.execute(not_dry)).scalars()
            return any((values or {}).get("service") == service for values in parameters)

    async def trials(self, service: str, tag: str, environment: str) -> list[Trial]:
        """Return the runs that deployed this version of a service there, oldest first, without dry runs."""
        deploying, tested = run_steps.c, run_steps.alias().c
        smoke = (
            select(tested.id)
            .where(tested.run_id == runs.c.id, tested.uses == "http.check", tested.state == StepState.DONE.value)
            .exists()
        )
        query = (
            select(runs.c.id, runs.c.state, runs.c.started_at, deploying.parameters, smoke)
            .join(run_steps, runs.c.id == deploying.run_id)
            .where(
                deploying.uses == "helm.upgrade",
                runs.c.environment == environment,
                runs.c.dry_run.is_(False),
                runs.c.state != RunState.RUNNING.value,
            )
            .order_by(runs.c.started_at)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Trial(started_at, state == RunState.SUCCEEDED.value, bool(smoke_tested), id)
            for id, state, started_at, given, smoke_tested in rows
            if given and (given.get("release"), given.get("tag")) == (service, tag)
        ]

    async def results_of(self, uses: str, environment: str) -> list[dict[str, Any]]:
        """Return the newest results of an action in runs there that succeeded, newest first, without dry runs."""
        steps = run_steps.c
        query = (
            select(steps.result)
            .join(runs, runs.c.id == steps.run_id)
            .where(
                steps.uses == uses,
                steps.state == StepState.DONE.value,
                runs.c.environment == environment,
                runs.c.dry_run.is_(False),
                runs.c.state == RunState.SUCCEEDED.value,
            )
            .order_by(runs.c.started_at.desc())
            .limit(MOST_RESULTS)
        )
        async with self._database.read() as connection:
            return [result for result in (await connection.execute(query)).scalars() if result]

    async def list_by_incident(self, incident_id: str) -> list[Run]:
        """Return all runs of an incident, oldest first."""
        return await self._query(select(runs).where(runs.c.incident_id == incident_id).order_by(runs.c.started_at))

    async def list_by_runbook(self, runbook: str) -> list[Run]:
        """Return all runs of a runbook, oldest first."""
        return await self._query(select(runs).where(runs.c.runbook == runbook).order_by(runs.c.started_at))

    async def _query(self, query: Select[Any]) -> list[Run]:
        async with self._database.read() as connection:
            return await _read(connection, query)

    async def set_step(self, run_id: str, step_id: str, entry: TimelineEntry | None = None, /, **values: Any) -> None:
        """Change columns of a step (`state`, `parameters`, `effects`, `result`, …), and append the timeline entry."""
        statement = _step_update(run_id, step_id, self._redacted(values))
        if entry is None:
            await self._database.execute(statement)
            return
        async with self._database.write() as connection:
            await connection.execute(statement)
            await append_entry(connection, entry)

    async def append(self, entry: TimelineEntry) -> None:
        """Append a timeline entry about a run, once."""
        async with self._database.write() as connection:
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
        """End a run that is running; the first end wins.

        Its locks cool down until `settles`; appends the timeline entry.
        """
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
        """Request a run to stop and wake it. Raises NotFound, or WrongState if it has ended."""
        async with self._database.write() as connection:
            run = await _load(connection, run_id)
            if run.state.ended:
                raise WrongState("run_ended", run=run_id, state=run.state.value)
            if run.cancel_by is None:
                await connection.execute(update(runs).where(runs.c.id == run_id).values(cancel_by=by.to_json()))
            await enqueue(connection, f"{idempotency_key}/wake", NOTIFY, [run_id])
            return run

    async def cancelled(self, run_id: str) -> bool:
        async with self._database.read() as connection:
            result = await connection.execute(select(runs.c.cancel_by).where(runs.c.id == run_id))
            return result.scalar_one_or_none() is not None

    async def request_approval(self, approval: Approval, **values: Any) -> None:
        """Request an approval; its step waits and gets these columns (see `set_step`). A step that is undone has ended.

        A second request for the same digest keeps the decisions; one for another digest starts again.
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
            values = self._redacted(values)
            waits = values if is_undo(approval.step_id) else {"state": StepState.WAITING, **values}
            await connection.execute(_step_update(approval.run_id, base_step_id(approval.step_id), waits))

    async def approval(self, run_id: str, step_id: str) -> Approval | None:
        async with self._database.read() as connection:
            return next(
                iter(parse_approvals(await connection.execute(_select_approvals(_is_step(run_id, step_id))))), None
            )

    async def approvals_of(self, incident_id: str) -> list[Approval]:
        """Return all approvals of an incident's runs, oldest first."""
        of_incident = select(runs.c.id).where(runs.c.incident_id == incident_id)
        async with self._database.read() as connection:
            query = _select_approvals(approvals.c.run_id.in_(of_incident))
            return parse_approvals(await connection.execute(query))

    async def approvals_since(self, since: datetime) -> list[Approval]:
        """Return the approvals that were asked for since then, oldest first."""
        async with self._database.read() as connection:
            return parse_approvals(await connection.execute(_select_approvals(approvals.c.asked_at >= since)))

    async def approval_status(self, run_id: str, step_id: str) -> tuple[Approval | None, bool]:
        """Return an approval, and whether its run was cancelled, in one query: many runs poll it."""
        query = (
            _select_approvals(_is_step(run_id, step_id))
            .add_columns(runs.c.cancel_by)
            .join(runs, runs.c.id == approvals.c.run_id)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return next(iter(parse_approvals(rows)), None), any(row.cancel_by is not None for row in rows)

    async def decide(
        self,
        run_id: str,
        step_id: str,
        decision: Decision,
        idempotency_key: str,
        *,
        entry_for: Callable[[Approval], TimelineEntry | None],
        queued: Sequence[QueuedWorkflow] = (),
    ) -> Approval:
        """Save a decision and wake the run. Raises WrongState if it is late, for another digest, or the person's
        second.

        The caller checks who may decide; the row is locked, so that of two concurrent clicks each counts once. Once the
        step is approved, `entry_for(approval)` is appended to the timeline. The workflows `queued` tell people of it.
        """
        async with self._database.write() as connection:
            approval = await _lock_approval(connection, run_id, step_id)
            if approval is None:
                raise NotFound("no_such_approval", run=run_id, step=step_id)
            if approval.state is not ApprovalState.WAITING:
                raise _already_decided(approval)
            if approval.digest != decision.digest:
                raise WrongState("other_parameters")
            if decision.at >= approval.expires_at:
                raise WrongState("approval_expired")
            if any(d.person == decision.person for d in approval.decisions):
                raise WrongState("decided_before")
            values = {
                "digest": decision.digest,
                "verdict": decision.verdict.value,
                "reason": redacted(connection, decision.reason),
                "at": decision.at,
            }
            statement = dialect_insert(connection, decisions).values(
                run_id=run_id, step_id=step_id, person=decision.person, **values
            )
            await connection.execute(  # a decision about other parameters, which it replaces, counts no more
                statement.on_conflict_do_update(
                    index_elements=[decisions.c.run_id, decisions.c.step_id, decisions.c.person], set_=values
                )
            )
            state = approval.after(decision)
            await self._set_approval_state(connection, approval, state)
            await enqueue(connection, f"{idempotency_key}/wake", NOTIFY, [run_id])
            decided = replace(approval, state=state, decisions=(*approval.decisions, decision))
            if state.agreed and (entry := entry_for(decided)):
                await append_entry(connection, entry)
            if decision.terminal:
                await _record_terminal(connection, run_id, step_id, decision)
            for workflow_id, name, arguments in queued:
                await enqueue(connection, workflow_id, name, arguments)
            return decided

    async def expire(self, run_id: str, step_id: str) -> None:
        """Expire an approval that is still waiting."""
        async with self._database.write() as connection:
            approval = await _lock_approval(connection, run_id, step_id)
            if approval and approval.state is ApprovalState.WAITING:
                await self._set_approval_state(connection, approval, ApprovalState.EXPIRED)

    async def ask_again(self, run_id: str, step_id: str, at: datetime, idempotency_key: str) -> Approval:
        """Ask for a refused or expired approval again, for as long as the first time, and wake the run.

        Approvals that were given stay valid; rejections are forgotten. Raises WrongState if it is not refused.
        """
        async with self._database.write() as connection:
            approval = await _lock_refused(connection, run_id, step_id)
            expires_at = at + (approval.expires_at - approval.asked_at)
            await connection.execute(
                delete(decisions).where(
                    decisions.c.run_id == run_id,
                    decisions.c.step_id == step_id,
                    decisions.c.verdict != ApprovalState.APPROVED.value,
                )
            )
            await connection.execute(
                update(approvals)
                .where(_is_step(run_id, step_id))
                .values(state=ApprovalState.WAITING.value, asked_at=at, expires_at=expires_at)
            )
            of_step = and_(run_steps.c.run_id == run_id, run_steps.c.id == step_id)
            facts = (await connection.execute(select(run_steps.c.facts).where(of_step))).scalar_one()
            rounds = int(facts.get(APPROVAL_ROUNDS, 1)) + 1
            await connection.execute(update(run_steps).where(of_step).values(facts={**facts, APPROVAL_ROUNDS: rounds}))
            await enqueue(connection, f"{idempotency_key}/wake", NOTIFY, [run_id])
        return replace(approval, state=ApprovalState.WAITING, asked_at=at, expires_at=expires_at)

    async def skip_refused(
        self, run_id: str, step_id: str, at: datetime, idempotency_key: str, by: str | None = None
    ) -> Approval:
        """Go on without a step whose approval was refused or expired, and wake the run; `by` is who said so.

        Raises WrongState if it is not refused.
        """
        async with self._database.write() as connection:
            approval = await _lock_refused(connection, run_id, step_id)
            await self._set_approval_state(connection, approval, ApprovalState.SKIPPED)
            if by:
                row = {"digest": approval.digest, "verdict": ApprovalState.SKIPPED.value, "reason": None, "at": at}
                statement = dialect_insert(connection, decisions).values(
                    run_id=run_id, step_id=step_id, person=by, **row
                )
                await connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=[decisions.c.run_id, decisions.c.step_id, decisions.c.person], set_=row
                    )
                )
            await enqueue(connection, f"{idempotency_key}/wake", NOTIFY, [run_id])
        return replace(approval, state=ApprovalState.SKIPPED)

    async def waiting(self) -> list[Approval]:
        """Return the waiting approvals, oldest first."""
        async with self._database.read() as connection:
            query = _select_approvals(approvals.c.state == ApprovalState.WAITING.value)
            return parse_approvals(await connection.execute(query))

    def _redacted(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return a step's columns without secrets. Its parameters are refused if they hold one, never changed."""
        return {name: value if name in _AS_GIVEN else self._database.redact(value) for name, value in values.items()}

    @staticmethod
    async def _set_approval_state(connection: AsyncConnection, approval: Approval, state: ApprovalState) -> None:
        await connection.execute(
            update(approvals).where(_is_step(approval.run_id, approval.step_id)).values(state=state.value)
        )


async def _load(connection: AsyncConnection, id: str) -> Run:
    matches = await _read(connection, select(runs).where(runs.c.id == id))
    if not matches:
        raise NotFound("no_such_run", run=id)
    return matches[0]


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[Run]:
    """Return the runs of a query with their steps, in two queries in total."""
    rows = (await connection.execute(query)).all()
    steps: dict[str, list[StepRun]] = {row.id: [] for row in rows}
    steps_query = select(run_steps).where(run_steps.c.run_id.in_(steps)).order_by(run_steps.c.position)
    for step in await connection.execute(steps_query):
        steps[step.run_id].append(parse_step(step))
    return [parse_run(row, steps[row.id]) for row in rows]


async def _record_terminal(connection: AsyncConnection, run_id: str, step_id: str, decision: Decision) -> None:
    """Keep with the step from which terminal a decision came."""
    facts = (await _load(connection, run_id)).step(base_step_id(step_id)).facts
    terminals = facts.get(DECIDED_FROM, {})
    of_step = {**terminals.get(step_id, {}), decision.person: decision.terminal}
    values = {"facts": {**facts, DECIDED_FROM: {**terminals, step_id: of_step}}}
    await connection.execute(_step_update(run_id, base_step_id(step_id), values))


def _select_approvals(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select approvals, each joined with the decisions for its current digest: see `parse_approvals`."""
    same_digest = and_(
        decisions.c.run_id == approvals.c.run_id,
        decisions.c.step_id == approvals.c.step_id,
        decisions.c.digest == approvals.c.digest,
    )
    columns = (decisions.c.person, decisions.c.verdict, decisions.c.at, decisions.c.reason)
    return (
        select(approvals, *columns)
        .outerjoin(decisions, same_digest)
        .where(*conditions)
        .order_by(approvals.c.asked_at, decisions.c.at)
    )


def _is_step(run_id: str, step_id: str) -> ColumnElement[bool]:
    return and_(approvals.c.run_id == run_id, approvals.c.step_id == step_id)


async def _lock_approval(connection: AsyncConnection, run_id: str, step_id: str) -> Approval | None:
    """Return an approval that no other transaction can decide meanwhile.

    Locks first and reads afterwards: a single statement would not see the decision that it waited for.
    """
    await connection.execute(select(approvals.c.digest).where(_is_step(run_id, step_id)).with_for_update())
    return next(iter(parse_approvals(await connection.execute(_select_approvals(_is_step(run_id, step_id))))), None)


async def _lock_refused(connection: AsyncConnection, run_id: str, step_id: str) -> Approval:
    approval = await _lock_approval(connection, run_id, step_id)
    if approval is None:
        raise NotFound("no_such_approval", run=run_id, step=step_id)
    if not approval.state.refused:
        raise _already_decided(approval)
    return approval


def _already_decided(approval: Approval) -> WrongState:
    last = approval.decisions[-1] if approval.decisions else None
    by, at = (last.person, last.at) if last else (None, None)
    return WrongState("already_decided", state=approval.state.value, by=by, at=at)


def _step_update(run_id: str, step_id: str, values: dict[str, Any]) -> Update:
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
        "book": dict(run.definition),
        "inputs": dict(run.inputs),
        "environment": run.environment,
        "dry_run": run.dry_run,
        "by": run.by.to_json(),
        "state": run.state.value,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
    }


def parse_run(row: Row[Any], steps: Iterable[StepRun]) -> Run:
    return Run(
        id=row.id,
        runbook=row.runbook,
        definition=row.book,
        inputs=row.inputs,
        environment=row.environment,
        by=Person.from_json(row.by),
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
    """Return the run with these steps; each row also has the run's `cancel_by`."""
    return replace(run, cancel_by=_person(rows[0].cancel_by), steps=tuple(parse_step(row) for row in rows))


def _person(raw: Mapping[str, Any] | None) -> Person | None:
    return Person.from_json(raw) if raw else None


def step_columns(step: StepRun) -> dict[str, Any]:
    return {
        "id": step.id,
        "uses": step.uses,
        "state": step.state.value,
        "digest": step.digest,
        "parameters": step.parameters,
        "effects": [effect.to_json() for effect in step.effects],
        "result": step.result,
        "verified": step.verified,
        "verdict": step.verdict.value if step.verdict else None,
        "facts": dict(step.facts),
    }


def parse_step(row: Row[Any]) -> StepRun:
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


def parse_approvals(rows: Iterable[Row[Any]]) -> list[Approval]:
    """Parse rows of an approval with one of its decisions, or with none (`person` is None); keeps their order."""
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


async def times_helped(database: Database, actions: Collection[str], environment: str) -> tuple[int, int]:
    """Return how often steps of these actions helped, and how often that was measured; without dry runs and drills."""
    query = (
        select(run_steps.c.verdict, func.count())
        .join(runs, run_steps.c.run_id == runs.c.id)
        .outerjoin(incidents, incidents.c.id == runs.c.incident_id)
        .where(
            runs.c.environment == environment,
            runs.c.dry_run.is_(False),
            run_steps.c.uses.in_(actions),
            run_steps.c.verdict.is_not(None),
            or_(incidents.c.id.is_(None), incidents.c.drill.is_(False)),
        )
        .group_by(run_steps.c.verdict)
    )
    async with database.read() as connection:
        counts = {str(verdict): int(count) for verdict, count in await connection.execute(query)}
    return counts.get(Verdict.HELPED.value, 0), sum(counts.values())


async def attempts(
    database: Database, actions: Collection[str], environment: str, since: datetime | None
) -> list[Attempt]:
    """Return the executed steps of these actions in ended runs, without dry runs and drills. Raises Unavailable."""
    query = (
        select(
            runs.c.id, runs.c.state, run_steps.c.uses, run_steps.c.state, run_steps.c.parameters, run_steps.c.began_at
        )
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
            Attempt(run_id, RunState(run_state), uses, StepState(state), parameters or {}, began_at)
            for run_id, run_state, uses, state, parameters, began_at in await connection.execute(query)
        ]
