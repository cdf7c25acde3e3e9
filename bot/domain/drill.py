"""How a drill went: what the manual measures of it, from the fault that was made to what people did."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from bot.domain.run import Run, StepRun, StepState
from bot.domain.timeline import Kind, TimelineEvent

PREFIX = "drill-"  # of the runbooks that are drills
INJECT = "inject"  # begins the ids of the steps at which a fault waits for a word


class Goal(StrEnum):
    RESPONSE = "response"
    TOLD = "told"
    RTO = "rto"
    RPO = "rpo"


@dataclass(frozen=True, slots=True)
class Mark:
    """One goal: how long it took, or has taken so far while it is not reached; None before the fault, or unknown.

    `met` is None as long as nobody can say.
    """

    goal: Goal
    target: timedelta
    took: timedelta | None = None
    reached: bool = False
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """`fault` is when the first fault began; `over` says that the drill's incident is resolved.

    `did_not_hold` are the steps after which the figures should have held, and did not.
    """

    fault: datetime | None
    over: bool
    marks: tuple[Mark, ...]
    did_not_hold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NextDrill:
    """The drill that is held next, in the month of `month`, with any of the scenarios."""

    title: Mapping[Any, str]
    month: date
    scenarios: Sequence[str]


def due(months: Collection[int], today: date, last: date | None) -> date:
    """The first day of the next of these months; the present one counts until the drill was held in it."""
    first = today.replace(day=1)
    if last is not None and last >= first:
        first = _next_month(first)
    while first.month not in months:
        first = _next_month(first)
    return first


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


def waiting_inject(run: Run) -> StepRun | None:
    """The step at which the next fault waits for a word."""
    waiting = (step for step in run.steps if step.id.startswith(INJECT) and step.state is StepState.WAITING)
    return next(waiting, None)


def score(
    events: Sequence[TimelineEvent],
    runs: Iterable[Run],
    targets: Mapping[Goal, timedelta],
    now: datetime,
    *,
    word: datetime | None = None,
    ends: bool = False,
) -> Score:
    """The marks of a drill, from its timeline and the runs of its own runbooks; it `ends` now, or was resolved before.

    - Response: until somebody acknowledged. Told: until an update or an announcement. Both count from the `word` that
      let the fault begin, or from the declaration when they came before it.
    - RTO (recovery time): from the fault until somebody said that it is mitigated, or the runbook saw the figures hold.
      Figures that did not hold when it looked refute whatever was said or seen before.
    - RPO (recovery point): how old the newest moment that could be restored was when the drill looked last before the
      fault; nothing is known of it where no step looked.
    """
    runs = [run for run in runs if run.runbook.startswith(PREFIX)]
    faults = [at for run in runs if (at := _fault(run))]
    fault = min(faults, default=None)
    ended = _first(events, Kind.RESOLVED)
    until, over = ended or now, ends or ended is not None
    announced = [
        event.at for event in events if event.kind is Kind.RUN_CHANGED and event.facts["action"] == "slack.announce"
    ]
    reached = {
        Goal.RESPONSE: _first(events, Kind.ACKNOWLEDGED),
        Goal.TOLD: min([*filter(None, [_first(events, Kind.UPDATE)]), *announced], default=None),
        Goal.RTO: _recovered(events, runs, fault),
    }
    declared = events[0].at if events else now
    marks = []
    for goal, at in reached.items():
        begin = fault if goal is Goal.RTO else word
        since = declared if at and (begin is None or at < begin) else begin
        marks.append(_mark(goal, targets[goal], since, at, until, over))
    refuted = tuple(look.step for look in _checks(runs, fault) if not look.held)
    return Score(fault, over, (*marks, _recovery_point(runs, fault, targets[Goal.RPO])), refuted)


def _fault(run: Run) -> datetime | None:
    """When the first step after the inject began that changed something."""
    after = [number for number, step in enumerate(run.steps) if step.id.startswith(INJECT)]
    changed = (step.began_at for step in run.steps[after[0] :] if step.effects) if after else ()
    return next(filter(None, changed), None)


def _recovered(events: Sequence[TimelineEvent], runs: Iterable[Run], fault: datetime | None) -> datetime | None:
    if fault is None:
        return None
    looks = list(_checks(runs, fault))
    since = max((look.at for look in looks if not look.held), default=fault)
    held = [look.at for look in looks if look.held]
    mitigated = [event.at for event in events if event.kind is Kind.MITIGATED]
    return min((at for at in [*held, *mitigated] if at >= since), default=None)


@dataclass(frozen=True, slots=True)
class _Check:
    """A step of a drill looked whether the figures hold."""

    at: datetime
    step: str
    held: bool


def _checks(runs: Iterable[Run], fault: datetime | None) -> Iterator[_Check]:
    """Each look since the fault; one that was cut short, because its run was cancelled, refutes nothing."""
    for run in runs:
        for step in run.steps:
            held = step.verified
            if step.uses == "prometheus.wait_until":
                held = True if step.state is StepState.DONE else False if step.error == "figures_not_back" else None
            cut_short = held is False and run.cancel_by is not None
            if held is not None and not cut_short and fault and step.ended_at and step.ended_at >= fault:
                yield _Check(step.ended_at, step.id, held)


def _recovery_point(runs: Iterable[Run], fault: datetime | None, target: timedelta) -> Mark:
    looks = [
        (step.ended_at, datetime.fromisoformat(step.result["restorable_until"]))
        for run in runs
        for step in run.steps
        if step.result and step.result.get("restorable_until") and step.ended_at and fault and step.ended_at <= fault
    ]
    if not looks:
        return Mark(Goal.RPO, target)
    looked, restorable = max(looks)
    lost = max(looked - restorable, timedelta())
    return Mark(Goal.RPO, target, lost, True, lost < target)


def _mark(
    goal: Goal, target: timedelta, since: datetime | None, at: datetime | None, until: datetime, over: bool
) -> Mark:
    if since is None:
        return Mark(goal, target)
    took = (at or until) - since
    in_time = took < target
    return Mark(goal, target, took, at is not None, in_time if at else False if over or not in_time else None)


def _first(events: Iterable[TimelineEvent], kind: Kind) -> datetime | None:
    return next((event.at for event in events if event.kind is kind), None)
