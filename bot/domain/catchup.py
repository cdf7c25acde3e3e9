"""What somebody who comes late to an incident needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.domain.incident import Incident
from bot.domain.run import Approval, Run, StepRun
from bot.domain.snapshot import MetricResult
from bot.domain.timeline import TimelineEvent


@dataclass(frozen=True, slots=True)
class Tried:
    """A change that a run made."""

    run: Run
    step: StepRun


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval or a question that nobody has decided yet."""

    run: Run
    step: StepRun
    approval: Approval


@dataclass(frozen=True, slots=True)
class CatchUp:
    """An incident so far. `out` are the metrics out of bounds now; None: not measured."""

    incident: Incident
    firing: int
    out: Sequence[MetricResult] | None
    tried: Sequence[Tried]
    waiting: Sequence[Waiting]
    running: Sequence[Run]
    update: TimelineEvent | None = None
