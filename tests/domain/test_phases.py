"""Where the minutes went: every part is there, and the parts are as long as the whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import product

import pytest

from bot.domain.people import BOT
from bot.domain.phases import Phase, Span, spans_of_runs, split, whole
from bot.domain.report import time_incident
from bot.domain.run import VERIFYING_SINCE, Approval, ApprovalState, Decision, Effect, Run, StepRun
from bot.domain.timeline import Kind
from tests.domain.story import ANA, BRUNO, Story, after, resolved

NOTICE, ANSWER, DECIDE, APPROVE, CHANGE, MEASURE, QUIET = Phase


def span(phase: Phase, start: float, end: float) -> Span:
    return Span(phase, after(start), after(end))


@pytest.mark.parametrize(
    ("spans", "minutes"),
    [
        ([], {NOTICE: 1, ANSWER: 1, DECIDE: 15}),  # no run
        ([span(CHANGE, 3, 5), span(MEASURE, 5, 17)], {NOTICE: 1, ANSWER: 1, DECIDE: 1, CHANGE: 2, MEASURE: 12}),
        (
            [span(APPROVE, 3, 5), span(CHANGE, 6, 8), span(MEASURE, 8, 30)],  # a gap; and it is measured beyond the end
            {NOTICE: 1, ANSWER: 1, DECIDE: 2, APPROVE: 2, CHANGE: 2, MEASURE: 9},
        ),
        # Of two runs at the same time the change counts, then the approval.
        ([span(MEASURE, 2, 17), span(APPROVE, 4, 9), span(CHANGE, 8, 10)],
         {NOTICE: 1, ANSWER: 1, APPROVE: 4, CHANGE: 2, MEASURE: 9}),
        ([span(CHANGE, 0.5, 4)], {NOTICE: 1, ANSWER: 1, CHANGE: 2, DECIDE: 13}),  # begun before somebody said so
        ([span(MEASURE, 2, 17), span(QUIET, 6, 10)], {NOTICE: 1, ANSWER: 1, MEASURE: 11, QUIET: 4}),  # reopened
        ([span(CHANGE, 20, 25)], {NOTICE: 1, ANSWER: 1, DECIDE: 15}),  # after the end
    ],
)  # fmt: skip
def test_every_minute_is_in_one_part(spans: Sequence[Span], minutes: dict[Phase, float]) -> None:
    parts = split(after(0), after(1), after(2), after(17), spans)
    assert {phase: took / timedelta(minutes=1) for phase, took in parts.items() if took} == minutes
    assert sum(parts.values(), timedelta()) == timedelta(minutes=17)


def test_whole_minutes_add_up_to_the_whole_minutes_of_the_total() -> None:
    shares = (0, 7, 29.6, 30, 59.5, 90, 600)
    for seconds in product(shares, repeat=4):
        phases = dict(zip((NOTICE, ANSWER, DECIDE, MEASURE), (timedelta(seconds=one) for one in seconds), strict=True))
        parts = whole(dict.fromkeys(Phase, timedelta()) | phases)
        total = sum(phases.values(), timedelta())
        unit = timedelta(minutes=1) if parts.unit == "min" else timedelta(seconds=1)
        assert parts.total == total // unit, seconds
        assert all(abs(parts.by_phase[phase] - took / unit) < 1 for phase, took in phases.items()), seconds
        assert QUIET not in parts.by_phase and APPROVE in parts.by_phase


def run(*steps: StepRun, dry_run: bool = False) -> Run:
    return Run("R-1", "render-latency", {}, {}, "production", ANA, after(3), dry_run=dry_run, steps=steps)


def change(id: str, began: float, measured: float | None, ended: float | None) -> StepRun:
    facts = {VERIFYING_SINCE: after(measured).isoformat()} if measured else {}
    return StepRun(
        id, "kubernetes.scale", effects=(Effect("kubernetes.scale"),), facts=facts, began_at=after(began),
        ended_at=after(ended) if ended else None,
    )  # fmt: skip


def approval(step: str, asked: float, decided: float | None, state: ApprovalState = ApprovalState.APPROVED) -> Approval:
    decisions = (Decision(BRUNO.id, state, "d", after(decided)),) if decided else ()
    return Approval("R-1", step, "d", 1, "responder", after(asked), after(asked + 15), state, decisions)


def test_the_runs_say_what_was_done_when() -> None:
    look = StepRun("look", "prometheus.snapshot", began_at=after(3), ended_at=after(4))
    question = StepRun("which", "flow.ask")
    made = run(look, question, change("scale", 4, 6, 9), change("nodes", 12, None, None))
    asked = [approval("which", 9, 10), approval("nodes", 10, 12)]
    assert spans_of_runs([made], asked, after(13)) == [
        span(MEASURE, 3, 4), span(CHANGE, 4, 6), span(MEASURE, 6, 9), span(CHANGE, 12, 13), span(MEASURE, 13, 13),
        span(APPROVE, 10, 12),
    ]  # fmt: skip
    assert spans_of_runs([run(look, dry_run=True)], [], after(13)) == []
    nobody = [approval("nodes", 10, None, ApprovalState.EXPIRED)]
    waits = [approval("nodes", 10, None, ApprovalState.WAITING)]
    assert spans_of_runs([made], nobody, after(40))[-1] == span(APPROVE, 10, 25)
    assert spans_of_runs([made], waits, after(13))[-1] == span(APPROVE, 10, 13)


def quiet(story: Story, minutes: float, firing: int = 0) -> Story:
    facts = {"name": "HighLatency", "began": 0, "ended": 1, "firing": firing}
    return story.then(lambda now: now.with_event(Kind.ALERT_RESOLVED, facts, by=BOT, at=after(minutes)))


def timed(story: Story) -> tuple[datetime | None, Kind | None, timedelta]:
    timing = time_incident(story.incident, story.timeline, [], [])
    by = timing.recovered_by
    assert timing.recovery is None or sum(timing.phases.values(), timedelta()) == timing.recovery
    return timing.recovered_at, by.kind if by else None, timing.phases.get(QUIET, timedelta())


def test_it_recovered_when_its_alerts_were_quiet_else_when_people_said_so() -> None:
    assert timed(Story.begin()) == (None, None, timedelta())
    assert timed(resolved())[:2] == (after(9), Kind.MITIGATED)
    calm = quiet(Story.begin(), 7)
    assert timed(calm)[:2] == (None, None), "quiet, and nobody has said that it is over"
    assert timed(calm.then(lambda now: now.resolve(by=ANA, at=after(13))))[:2] == (after(7), Kind.ALERT_RESOLVED)
    firing = quiet(Story.begin(), 7, firing=2).then(lambda now: now.mitigate(by=ANA, at=after(8)))
    assert timed(firing.then(lambda now: now.resolve(by=ANA, at=after(13))))[:2] == (after(13), Kind.RESOLVED)


def test_reopened_the_last_recovery_counts_and_the_time_between_was_quiet() -> None:
    story = quiet(Story.begin(), 7).then(lambda now: now.resolve(by=ANA, at=after(13)))
    story.then(lambda now: now.reopen("Volvió", by=BRUNO, at=after(20)))
    assert timed(story)[:2] == (None, None)
    story.then(lambda now: now.resolve(by=ANA, at=after(31)))
    assert timed(story) == (after(31), Kind.RESOLVED, timedelta(minutes=7))
