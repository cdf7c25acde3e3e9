"""Rows of runs, their steps and their approvals ↔ values of the domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Row

from bot.domain.people import Person
from bot.domain.run import Approval, ApprovalState, Decision, Effect, Run, RunState, StepRun, StepState
from bot.domain.snapshot import Assessment as Verdict


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
