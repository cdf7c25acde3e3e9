"""Where the minutes of an incident went, from its detection to its recovery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from bot.domain.run import VERIFYING_SINCE, Approval, ApprovalState, Run, StepRun

ASKS = "flow.ask"  # an answer is a decision, not an approval
MEASURES = "prometheus."
SHORT = timedelta(minutes=3)  # shorter ones are told in seconds


class Phase(StrEnum):
    """What was being done. `quiet`: it was thought to be over, until it was reopened."""

    NOTICE = "notice"
    ANSWER = "answer"
    DECIDE = "decide"
    APPROVE = "approve"
    CHANGE = "change"
    MEASURE = "measure"
    QUIET = "quiet"


# Of two at the same time the first counts. What nothing else explains is deciding.
_PRECEDENCE = (Phase.QUIET, Phase.NOTICE, Phase.ANSWER, Phase.CHANGE, Phase.APPROVE, Phase.MEASURE)


@dataclass(frozen=True, slots=True)
class Span:
    """A phase from `start` to `end`."""

    phase: Phase
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Parts:
    """The phases in whole units that add up to `total`; the unit is `min`, or `s` for a short incident."""

    by_phase: Mapping[Phase, int]
    unit: str

    @property
    def total(self) -> int:
        return sum(self.by_phase.values())


def spans_of_runs(runs: Iterable[Run], approvals: Iterable[Approval], until: datetime) -> list[Span]:
    """Return what the runs changed, measured and waited for approval of; what has not ended lasts `until` then."""
    runs = [run for run in runs if not run.dry_run]
    steps = [step for run in runs for step in run.steps if step.began_at and not step.copied_from]
    spans = [span for step in steps for span in _of_step(step, until)]
    uses = {(run.id, step.id): step.uses for run in runs for step in run.steps}
    asked = [approval for approval in approvals if uses.get((approval.run_id, approval.step_id), ASKS) != ASKS]
    return spans + [Span(Phase.APPROVE, approval.asked_at, _decided_at(approval, until)) for approval in asked]


def _of_step(step: StepRun, until: datetime) -> Iterable[Span]:
    began, ended = step.began_at or until, step.ended_at or until
    if step.effects:
        since = step.facts.get(VERIFYING_SINCE)
        measured = datetime.fromisoformat(since) if since else ended
        yield Span(Phase.CHANGE, began, measured)
        yield Span(Phase.MEASURE, measured, ended)
    elif step.uses.startswith(MEASURES):
        yield Span(Phase.MEASURE, began, ended)


def _decided_at(approval: Approval, until: datetime) -> datetime:
    if approval.state is ApprovalState.WAITING:
        return min(approval.expires_at, until)
    return approval.decisions[-1].at if approval.decisions else approval.expires_at


def split(
    detected: datetime, declared: datetime, answered: datetime, recovered: datetime, spans: Sequence[Span]
) -> dict[Phase, timedelta]:
    """Return how long each phase took; together as long as from `detected` to `recovered`.

    `answered` is when somebody was on it.
    """
    spans = [Span(Phase.NOTICE, detected, declared), Span(Phase.ANSWER, declared, answered), *spans]
    inner = (edge for span in spans for edge in (span.start, span.end) if detected < edge < recovered)
    edges = sorted({detected, *inner, recovered})
    parts = dict.fromkeys(Phase, timedelta())
    for left, right in pairwise(edges):
        covering = [span.phase for span in spans if span.start <= left and right <= span.end]
        parts[min(covering, key=_PRECEDENCE.index, default=Phase.DECIDE)] += right - left
    return parts


def whole(parts: Mapping[Phase, timedelta]) -> Parts:
    """Return the phases in whole minutes, rounded so that they add up to the whole minutes of the total.

    The total is rounded down, as all durations are. What that leaves goes to the phases with the largest remainders.
    Without a quiet time there is no such phase; the others are there even if they took no time.
    """
    total = sum(parts.values(), timedelta())
    unit, name = (timedelta(minutes=1), "min") if total >= SHORT else (timedelta(seconds=1), "s")
    shown = {phase: took for phase, took in parts.items() if took or phase is not Phase.QUIET}
    floors = {phase: took // unit for phase, took in shown.items()}
    left = total // unit - sum(floors.values())
    by_remainder = sorted(shown, key=lambda phase: shown[phase] % unit, reverse=True)
    for phase in by_remainder[:left]:
        floors[phase] += 1
    return Parts(floors, name)
