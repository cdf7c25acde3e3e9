"""The marks of a drill, from what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from bot.domain.drill import Goal, Mark, due, score, waiting_inject
from bot.domain.people import Person
from bot.domain.run import Effect, Run, StepRun, StepState
from bot.domain.timeline import Kind, TimelineEvent

BEGAN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
BY = Person("U1", "Ana")
TARGETS = {
    Goal.RESPONSE: timedelta(minutes=5),
    Goal.STAKEHOLDERS: timedelta(minutes=10),
    Goal.RTO: timedelta(minutes=15),
    Goal.RPO: timedelta(minutes=5),
}


@pytest.mark.parametrize(
    ("today", "last", "expected"),
    [
        (date(2026, 1, 20), None, date(2026, 1, 1)),
        (date(2026, 1, 20), date(2025, 7, 9), date(2026, 1, 1)),
        (date(2026, 1, 20), date(2026, 1, 2), date(2026, 7, 1)),
        (date(2026, 2, 1), None, date(2026, 7, 1)),
        (date(2026, 12, 31), date(2026, 7, 1), date(2027, 1, 1)),
    ],
)
def test_the_next_drill_is_this_months_until_it_was_held(today: date, last: date | None, expected: date) -> None:
    assert due([1, 7], today, last) == expected


def at(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def happened(kind: Kind, minutes: float, **facts: Any) -> TimelineEvent:
    return TimelineEvent(kind, at(minutes), BY, facts)


def run(*, fault: float | None = 20, held: float | None = None, restorable: float | None = None) -> Run:
    """A drill whose fault began then; the figures held again, and the database could be restored up to, then."""
    asked = StepState.DONE if fault is not None else StepState.WAITING
    result = {"restorable_until": at(restorable).isoformat()} if restorable is not None else None
    steps = (
        StepRun("status", "aws.rds_status", StepState.DONE, result=result, ended_at=at(1)),
        StepRun("inject", "flow.ask", asked),
        StepRun(
            "break",
            "kubernetes.drain",
            StepState.DONE if fault is not None else StepState.PENDING,
            effects=(Effect("kubernetes.drain"),),
            began_at=at(fault) if fault is not None else None,
        ),
        StepRun(
            "recovered",
            "prometheus.wait_until",
            StepState.DONE if held is not None else StepState.PERFORMING,
            ended_at=at(held) if held is not None else None,
        ),
    )
    return Run("R-1", "drill-x", {}, {}, "production", BY, BEGAN, steps=steps)


def marks(*events: TimelineEvent, now: float = 30, of: Run | None = None) -> Mapping[Goal, Mark]:
    begun = happened(Kind.DECLARED, 0)
    return {
        mark.goal: mark for mark in score([begun, *events], [of or run()], TARGETS, at(now), inject_at=at(18)).marks
    }


def test_before_the_fault_nothing_is_measured() -> None:
    waiting = run(fault=None)
    assert waiting_inject(waiting) is waiting.step("inject")
    seen = score([happened(Kind.DECLARED, 0)], [waiting], TARGETS, at(30))
    assert seen.fault is None
    assert {(mark.took, mark.met) for mark in seen.marks} == {(None, None)}


def test_it_counts_from_the_word_or_from_the_declaration_when_it_came_before() -> None:
    after = marks(happened(Kind.ACKNOWLEDGED, 21), happened(Kind.UPDATE, 29), now=40)
    assert (after[Goal.RESPONSE].took, after[Goal.RESPONSE].met) == (timedelta(minutes=3), True)
    assert (after[Goal.STAKEHOLDERS].took, after[Goal.STAKEHOLDERS].met) == (timedelta(minutes=11), False)
    assert marks(happened(Kind.ACKNOWLEDGED, 2))[Goal.RESPONSE].took == timedelta(minutes=2)


def test_an_announcement_tells_as_an_update_does() -> None:
    announced = happened(Kind.RUN_CHANGED, 22, action="slack.announce")
    approved = happened(Kind.RUN_APPROVED, 21, action="slack.announce")
    assert marks(approved, announced)[Goal.STAKEHOLDERS].took == timedelta(minutes=4)


def test_recovered_is_what_was_said_or_seen_first() -> None:
    said = happened(Kind.MITIGATED, 29)
    assert marks(said, of=run(held=27))[Goal.RTO].took == timedelta(minutes=7)
    assert marks(said)[Goal.RTO].took == timedelta(minutes=9)
    assert not marks(happened(Kind.MITIGATED, 5))[Goal.RTO].reached, "before the fault there was nothing to mitigate"


def verified(held: bool, minutes: float, run_id: str = "R-2", **of_run: Any) -> Run:
    """A drill that put something right and then looked at the figures until then."""
    step = StepRun("unblock", "kubernetes.delete", StepState.DONE, verified=held, ended_at=at(minutes))
    return Run(run_id, "drill-y", {}, {}, "production", BY, BEGAN, steps=(step,), **of_run)


def rto(*of: Run, said: float | None = None, now: float = 60) -> tuple[Mark, tuple[str, ...]]:
    events = [happened(Kind.DECLARED, 0), *([happened(Kind.MITIGATED, said)] if said is not None else [])]
    seen = score(events, [run(), *of], TARGETS, at(now), inject_at=at(18), ends_now=True)
    return next(mark for mark in seen.marks if mark.goal is Goal.RTO), seen.did_not_hold


def test_figures_that_were_verified_are_recovered() -> None:
    mark, refuted = rto(verified(True, 32))
    assert (mark.took, mark.met, refuted) == (timedelta(minutes=12), True, ())


def test_figures_that_do_not_hold_refute_what_was_said_before() -> None:
    mark, refuted = rto(verified(False, 40), said=29)
    assert (mark.reached, mark.met, refuted) == (False, False, ("unblock",))
    mark, _ = rto(verified(False, 28), said=34)
    assert (mark.took, mark.met) == (timedelta(minutes=14), True), "it was mitigated after that"
    mark, _ = rto(verified(False, 28), verified(True, 33, "R-3"), said=25)
    assert (mark.took, mark.met) == (timedelta(minutes=13), True), "and seen to hold after that"


def test_a_look_that_was_cut_short_refutes_nothing() -> None:
    assert rto(verified(False, 40, cancel_by=BY), said=29) == (rto(said=29)[0], ())


def test_the_runbook_that_waited_in_vain_refutes_it_too() -> None:
    vain = StepRun("recovered", "prometheus.wait_until", StepState.FAILED, error="figures_not_back", ended_at=at(35))
    away = replace(vain, error="unreachable")
    for step, expected in ((vain, ("recovered",)), (away, ())):
        assert rto(replace(verified(True, 30), steps=(step,)), said=29)[1] == expected


def test_what_is_not_reached_goes_on_until_it_is_too_late_or_over() -> None:
    assert marks(now=30)[Goal.RTO] == Mark(Goal.RTO, TARGETS[Goal.RTO], timedelta(minutes=10), False, None)
    assert marks(now=36)[Goal.RTO].met is False
    (*_, stopped, _) = score([happened(Kind.DECLARED, 0)], [run()], TARGETS, at(30), ends_now=True).marks
    assert (stopped.goal, stopped.met) == (Goal.RTO, False)
    ended = marks(happened(Kind.RESOLVED, 25), now=90)[Goal.RTO]
    assert (ended.took, ended.reached, ended.met) == (timedelta(minutes=5), False, False)


def test_the_data_at_risk_are_those_that_could_not_be_restored_when_the_drill_looked() -> None:
    assert marks(of=run(restorable=-2))[Goal.RPO].took == timedelta(minutes=3)
    assert marks(of=run(restorable=-9))[Goal.RPO].met is False
    assert marks()[Goal.RPO].took is None
