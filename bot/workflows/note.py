"""What an incident's timeline says about a run: each event once, by its cause, with the change that it tells of."""

from __future__ import annotations

from typing import Any

from bot.domain.people import Person
from bot.domain.run import Approval, ApprovalState, Run, RunState, StepRun
from bot.domain.timeline import Kind
from bot.messages.run import line
from bot.parts import Parts
from bot.store.incidents import TimelineEntry

Facts = dict[str, Any]


def _entry(
    parts: Parts, run: Run, what: str, kind: Kind, facts: Facts, by: Person | None = None
) -> TimelineEntry | None:
    """An event by whoever asked for the run or `by`. None for a run without an incident."""
    if run.incident_id is None:
        return None
    everything = {"run": run.id, "runbook": run.runbook} | facts
    at = parts.clock.now()
    return TimelineEntry(
        run.incident_id,
        lambda incident: incident.with_event(kind, everything, by=by or run.by, at=at),
        cause=f"{run.id}/{what}",
    )


def started(parts: Parts, run: Run) -> TimelineEntry | None:
    facts = {"inputs": dict(run.inputs), "environment": run.environment, "dry_run": run.dry_run}
    return _entry(parts, run, "start", Kind.RUN_STARTED, facts)


def ended(parts: Parts, run: Run, state: RunState) -> TimelineEntry | None:
    return _entry(parts, run, "end", Kind.RUN_ENDED, {"state": state.value})


def approved(parts: Parts, run: Run, approval: Approval) -> TimelineEntry | None:
    decisions = approval.decisions
    glass = next((decision for decision in decisions if decision.verdict is ApprovalState.BROKEN_GLASS), None)
    facts = {
        "action": run.step(approval.step_id).uses,
        "digest": approval.digest,
        "people": [decision.person for decision in decisions],
        "glass": glass is not None,
        "reason": glass.reason if glass else None,
        "answer": decisions[-1].reason if decisions and not glass else None,
    }
    return _entry(parts, run, f"{approval.step_id}/approval", Kind.RUN_APPROVED, facts)


def changed(parts: Parts, run: Run, step_run: StepRun) -> TimelineEntry | None:
    return _entry(parts, run, f"{step_run.id}/change", Kind.RUN_CHANGED, _change_facts(parts, step_run))


def undone(parts: Parts, run: Run, step_run: StepRun, by: Person | None) -> TimelineEntry | None:
    return _entry(parts, run, f"{step_run.id}/undo", Kind.RUN_UNDONE, _change_facts(parts, step_run), by)


def _change_facts(parts: Parts, step_run: StepRun) -> Facts:
    return {
        "action": step_run.uses,
        "digest": step_run.digest,
        "effects": [line(effect, parts.words) for effect in step_run.effects],
        "verdict": step_run.verdict.value if step_run.verdict else None,
    }
