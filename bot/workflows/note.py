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
    parts: Parts, known: Run, what: str, kind: Kind, facts: Facts, by: Person | None = None
) -> TimelineEntry | None:
    """An event by whoever asked for the run or `by`. None for a run without an incident."""
    if known.incident_id is None:
        return None
    everything = {"run": known.id, "runbook": known.runbook} | facts
    at = parts.clock.now()
    return TimelineEntry(
        known.incident_id,
        lambda incident: incident.with_event(kind, everything, by=by or known.by, at=at),
        cause=f"{known.id}/{what}",
    )


def started(parts: Parts, known: Run) -> TimelineEntry | None:
    facts = {"inputs": dict(known.inputs), "environment": known.environment, "dry_run": known.dry_run}
    return _entry(parts, known, "start", Kind.RUN_STARTED, facts)


def ended(parts: Parts, known: Run, state: RunState) -> TimelineEntry | None:
    return _entry(parts, known, "end", Kind.RUN_ENDED, {"state": state.value})


def approved(parts: Parts, known: Run, asked: Approval) -> TimelineEntry | None:
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
    return _entry(parts, known, f"{asked.step_id}/approval", Kind.RUN_APPROVED, facts)


def changed(parts: Parts, known: Run, stored: StepRun) -> TimelineEntry | None:
    return _entry(parts, known, f"{stored.id}/change", Kind.RUN_CHANGED, _change_facts(parts, stored))


def undone(parts: Parts, known: Run, stored: StepRun, by: Person | None) -> TimelineEntry | None:
    return _entry(parts, known, f"{stored.id}/undo", Kind.RUN_UNDONE, _change_facts(parts, stored), by)


def _change_facts(parts: Parts, stored: StepRun) -> Facts:
    return {
        "action": stored.uses,
        "digest": stored.digest,
        "effects": [line(effect, parts.words) for effect in stored.effects],
        "verdict": stored.verdict.value if stored.verdict else None,
    }
