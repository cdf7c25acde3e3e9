"""What an incident's timeline says about a run: each event once, by its cause, with the change that it tells of."""

from __future__ import annotations

from typing import Any

from bot.domain.people import Person
from bot.domain.run import Approval, ApprovalState, Run, RunState, StepRun
from bot.domain.timeline import Kind
from bot.messages.run import line
from bot.parts import Parts
from bot.store.incidents import Told

Facts = dict[str, Any]


def _told(parts: Parts, known: Run, what: str, kind: Kind, facts: Facts, by: Person | None = None) -> Told | None:
    """An event by whoever asked for the run or `by`. None for a run without an incident."""
    if known.incident_id is None:
        return None
    everything = {"run": known.id, "runbook": known.runbook} | facts
    at = parts.clock.now()
    return Told(
        known.incident_id,
        lambda incident: incident.happened(kind, everything, by=by or known.by, at=at),
        cause=f"{known.id}/{what}",
    )


def told_start(parts: Parts, known: Run) -> Told | None:
    facts = {"inputs": dict(known.inputs), "environment": known.environment, "dry_run": known.dry_run}
    return _told(parts, known, "start", Kind.RUN_STARTED, facts)


def told_end(parts: Parts, known: Run, state: RunState) -> Told | None:
    return _told(parts, known, "end", Kind.RUN_ENDED, {"state": state.value})


def told_approval(parts: Parts, known: Run, asked: Approval) -> Told | None:
    said = asked.decisions
    glass = next((one for one in said if one.verdict is ApprovalState.BROKEN_GLASS), None)
    facts = {
        "action": known.step(asked.step_id).uses,
        "digest": asked.digest,
        "people": [one.person for one in said],
        "glass": glass is not None,
        "reason": glass.reason if glass else None,
        "answer": said[-1].reason if said and not glass else None,
    }
    return _told(parts, known, f"{asked.step_id}/approval", Kind.RUN_APPROVED, facts)


def told_change(parts: Parts, known: Run, stored: StepRun) -> Told | None:
    return _told(parts, known, f"{stored.id}/change", Kind.RUN_CHANGED, _changed(parts, stored))


def told_undo(parts: Parts, known: Run, stored: StepRun, by: Person | None) -> Told | None:
    return _told(parts, known, f"{stored.id}/undo", Kind.RUN_UNDONE, _changed(parts, stored), by)


def _changed(parts: Parts, stored: StepRun) -> Facts:
    return {
        "action": stored.uses,
        "digest": stored.digest,
        "effects": [line(effect, parts.words) for effect in stored.effects],
        "verdict": stored.verdict.value if stored.verdict else None,
    }
