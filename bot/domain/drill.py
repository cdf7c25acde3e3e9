"""Score of a drill: how long the response took from the fault that was injected, against the manual's goals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from bot.domain.run import Run, StepRun, StepState
from bot.domain.timeline import Kind, TimelineEvent

PREFIX = "drill-"  # prefix of the names of drill runbooks
INJECT = "inject"  # prefix of the ids of steps at which a fault waits to be started


class Goal(StrEnum):
    RESPONSE = "response"
    STAKEHOLDERS = "told"  # as it is stored
    RTO = "rto"
    RPO = "rpo"


@dataclass(frozen=True, slots=True)
class Mark:
    """The result for one goal. `took` is the time so far while the goal is not `reached`; None before the fault, or
    unknown.

    `met` is None while the result is open, and without a target.
    """

    goal: Goal
    target: timedelta | None
    took: timedelta | None = None
    reached: bool = False
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The result of a drill. `fault` is when the first fault began; `over` is True once the drill's incident is
    resolved.

    `did_not_hold` are the ids of the steps after which the metrics were checked and out of bounds. `last` is the drill
    of the same scenario before this one.
    """

    fault: datetime | None
    over: bool
    marks: tuple[Mark, ...]
    did_not_hold: tuple[str, ...] = ()
    last: LastDrill | None = None


@dataclass(frozen=True, slots=True)
class LastDrill:
    """The last drill of a scenario that was held to its end, when it began, and its results by goal."""

    incident_id: str
    at: datetime
    marks: Mapping[Goal, Mark]


@dataclass(frozen=True, slots=True)
class NextDrill:
    """The next planned drill, in the month that starts on `month`, with any one of the scenarios."""

    title: Mapping[Any, str]
    month: date
    scenarios: Sequence[str]


def due(months: Collection[int], today: date, last: date | None) -> date:
    """Return the first day of the next of these months; the current month counts until a drill was held in it."""
    first = today.replace(day=1)
    if last is not None and last >= first:
        first = _next_month(first)
    while first.month not in months:
        first = _next_month(first)
    return first


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


def waiting_inject(run: Run) -> StepRun | None:
    """Return the step at which the next fault waits to be started; None when none waits."""
    waiting = (step for step in run.steps if step.id.startswith(INJECT) and step.state is StepState.WAITING)
    return next(waiting, None)


def score(
    events: Sequence[TimelineEvent],
    runs: Iterable[Run],
    targets: Mapping[Goal, timedelta | None],
    now: datetime,
    *,
    inject_at: datetime | None = None,
    ends_now: bool = False,
) -> Score:
    """Score a drill from its timeline and the runs of its drill runbooks. `ends`: the drill ends now.

    - Response: until the incident was acknowledged. Told: until an update, a notice or an announcement. Both start at
      `word`, the time the fault was told to begin, or at the declaration if they were reached before that.
    - RTO (recovery time objective): from the fault until the incident was marked as mitigated or a runbook saw the
      metrics hold. A later check in which they did not hold invalidates everything before it.
    - RPO (recovery point objective): the age of the newest restorable point in time at the last check before the fault;
      unknown if no step checked it.
    """
    runs = [run for run in runs if run.runbook.startswith(PREFIX)]
    faults = [at for run in runs if (at := _fault(run))]
    fault = min(faults, default=None)
    ended = _first(events, Kind.RESOLVED)
    until, over = ended or now, ends_now or ended is not None
    announced = [
        event.at for event in events if event.kind is Kind.RUN_CHANGED and event.facts["action"] == "slack.announce"
    ]
    told = [_first(events, Kind.UPDATE), _first(events, Kind.STAKEHOLDERS_TOLD)]
    reached_at = {
        Goal.RESPONSE: _first(events, Kind.ACKNOWLEDGED),
        Goal.STAKEHOLDERS: min([*filter(None, told), *announced], default=None),
        Goal.RTO: _recovered(events, runs, fault),
    }
    declared = events[0].at if events else now
    marks = []
    for goal, at in reached_at.items():
        clock_start = fault if goal is Goal.RTO else inject_at
        since = declared if at and (clock_start is None or at < clock_start) else clock_start
        marks.append(_mark(goal, targets[goal], since, at, until, over))
    failed_checks = tuple(check.step for check in _checks(runs, fault) if not check.held)
    return Score(fault, over, (*marks, _recovery_point(runs, fault, targets[Goal.RPO])), failed_checks)


def _fault(run: Run) -> datetime | None:
    """Return the start of the first step after the inject that changed something."""
    after = [number for number, step in enumerate(run.steps) if step.id.startswith(INJECT)]
    changed = (step.began_at for step in run.steps[after[0] :] if step.effects) if after else ()
    return next(filter(None, changed), None)


def _recovered(events: Sequence[TimelineEvent], runs: Iterable[Run], fault: datetime | None) -> datetime | None:
    if fault is None:
        return None
    checks = list(_checks(runs, fault))
    since = max((check.at for check in checks if not check.held), default=fault)
    held = [check.at for check in checks if check.held]
    mitigated = [event.at for event in events if event.kind is Kind.MITIGATED]
    return min((at for at in [*held, *mitigated] if at >= since), default=None)


@dataclass(frozen=True, slots=True)
class _Check:
    """A step of a drill checked whether the metrics hold."""

    at: datetime
    step: str
    held: bool


def _checks(runs: Iterable[Run], fault: datetime | None) -> Iterator[_Check]:
    """Yield each check since the fault. A check that was cut short by cancelling its run counts for nothing."""
    for run in runs:
        for step in run.steps:
            held = step.verified
            if step.uses == "prometheus.wait_until":
                held = True if step.state is StepState.DONE else False if step.error == "figures_not_back" else None
            cut_short = held is False and run.cancel_by is not None
            if held is not None and not cut_short and fault and step.ended_at and step.ended_at >= fault:
                yield _Check(step.ended_at, step.id, held)


def _recovery_point(runs: Iterable[Run], fault: datetime | None, target: timedelta | None) -> Mark:
    checks = [
        (step.ended_at, datetime.fromisoformat(step.result["restorable_until"]))
        for run in runs
        for step in run.steps
        if step.result and step.result.get("restorable_until") and step.ended_at and fault and step.ended_at <= fault
    ]
    if not checks:
        return Mark(Goal.RPO, target)
    checked_at, restorable = max(checks)
    lost = max(checked_at - restorable, timedelta())
    return Mark(Goal.RPO, target, lost, True, lost < target if target else None)


def _mark(
    goal: Goal, target: timedelta | None, since: datetime | None, at: datetime | None, until: datetime, over: bool
) -> Mark:
    if since is None:
        return Mark(goal, target)
    took = (at or until) - since
    if target is None:
        return Mark(goal, None, took, at is not None)
    in_time = took < target
    return Mark(goal, target, took, at is not None, in_time if at else False if over or not in_time else None)


def _first(events: Iterable[TimelineEvent], kind: Kind) -> datetime | None:
    return next((event.at for event in events if event.kind is kind), None)
