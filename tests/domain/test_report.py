"""The report's facts, from a whole incident."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bot.domain.incident import Milestone, Role
from bot.domain.people import BOT
from bot.domain.report import Evidence, MilestoneReached, Report, build_report
from bot.domain.snapshot import Assessment, Series, Snapshot
from bot.domain.timeline import Kind
from tests.domain.story import ANA, BRUNO, Story, after, completed, followups, resolved, snapshot

MINUTE = timedelta(minutes=1)


def report(story: Story, *snapshots: Snapshot, links: dict[int, list[tuple[str, str]]] | None = None) -> Report:
    return build_report(
        story.incident,
        story.timeline,
        followups(),
        snapshots,
        links=links,
        response_target=5 * MINUTE,
        recovery_target=10 * MINUTE,
    )


def reached(told: Report) -> dict[Milestone, MilestoneReached]:
    return {one.milestone: one for one in told.milestones}


def test_milestones_with_their_durations_and_evidence() -> None:
    told = report(resolved(), links={11: [("Slack", "https://tamv.slack.com/archives/C/p11")]})
    seen = reached(told)
    assert seen[Milestone.DETECTED] == MilestoneReached(
        Milestone.DETECTED, after(0), timedelta(0), timedelta(0), False, Evidence(1)
    )
    assert (seen[Milestone.ACKNOWLEDGED].since_start, seen[Milestone.ACKNOWLEDGED].since_last) == (
        2 * MINUTE,
        1.5 * MINUTE,
    )
    assert (seen[Milestone.MITIGATED].since_start, seen[Milestone.MITIGATED].since_last) == (9 * MINUTE, 7 * MINUTE)
    assert seen[Milestone.RESOLVED].evidence == Evidence(11, (("Slack", "https://tamv.slack.com/archives/C/p11"),))


def test_goals() -> None:
    told = report(resolved())
    assert (told.response.took, told.response.met) == (2 * MINUTE, True)
    assert (told.recovery.took, told.recovery.met) == (9 * MINUTE, True)
    assert sum(told.timing.phases.values(), timedelta()) == 9 * MINUTE
    open_one = Story.begin()
    told = report(open_one)
    assert (told.recovery.took, told.recovery.met, told.timing.phases) == (None, None, {})


def test_what_was_skipped_is_told_as_skipped() -> None:
    story = Story.begin().then(lambda now: now.resolve(by=ANA, at=after(13)))
    seen = reached(report(story))
    assert seen[Milestone.ACKNOWLEDGED].skipped and seen[Milestone.MITIGATED].skipped
    assert seen[Milestone.ACKNOWLEDGED].evidence is None
    assert not seen[Milestone.RESOLVED].skipped


def test_a_reopened_incident_tells_both_times() -> None:
    story = resolved().then(lambda now: now.reopen("Volvió a subir", by=BRUNO, at=after(20)))
    told = report(story)
    assert reached(told)[Milestone.RESOLVED] == MilestoneReached(Milestone.RESOLVED, None, None, None, False, None)
    (again,) = told.reopenings
    assert (again.mitigated, again.resolved, again.reason) == (after(9), after(13), "Volvió a subir")
    story.then(lambda now: now.note("Reiniciado del todo", by=BRUNO, at=after(25)))
    story.then(lambda now: now.resolve(by=ANA, at=after(30)))
    told = report(story)
    assert reached(told)[Milestone.RESOLVED].since_start == 30 * MINUTE
    assert reached(told)[Milestone.MITIGATED].skipped
    assert [event.facts["text"] for event in told.steps][-1] == "Reiniciado del todo"


def test_steps_are_what_people_told_until_it_was_over() -> None:
    story = resolved().then(lambda now: now.note("Reunión el lunes", by=ANA, at=after(50)))
    assert [event.kind for event in report(story).steps] == [Kind.UPDATE, Kind.MESSAGE_ADDED]


def test_unknown_is_what_nobody_said() -> None:
    assert report(resolved()).unknown == ("users", "revenue", "primary", "contributing", "lessons")
    assert report(completed()).unknown == ()
    alone = build_report(resolved().incident, resolved().timeline, [], [])
    assert "followups" in alone.unknown


def test_figures_from_the_first_snapshot_to_the_last() -> None:
    told = report(resolved(), snapshot(after(1), 812, 41), snapshot(after(8), 1100, 38), snapshot(after(13), 190, 70))
    latency, frames = told.figures
    assert (latency.change.before.value, latency.change.after.value) == (812, 190)
    assert latency.worst == 1312.5  # seen between the snapshots; what was before the incident does not count
    other = replace(snapshot(after(5), 9000, 1), service="tamv-core")
    yesterday = snapshot(after(-1440), 8000, 2)
    again = report(resolved(), yesterday, snapshot(after(1), 900, 41), other, snapshot(after(14), 320, 71))
    assert again.figures[0].change.before.value == 900
    assert [row.worst for row in again.figures] == [1312.5, 41]
    assert frames.worst == 38  # no series of the frame rate is kept, but the snapshot in the middle is
    assert told.effect is Assessment.HELPED and told.still_out == ()
    half = report(resolved(), snapshot(after(1), 812, 41), snapshot(after(13), 721, 70))
    assert half.effect is Assessment.HELPED and [one.query for one in half.still_out] == ["latency_p95"]


@pytest.mark.parametrize("snapshots", [[], [snapshot(after(1), 812, 41)]])
def test_without_two_snapshots_there_is_nothing_to_compare(snapshots: list[Snapshot]) -> None:
    told = report(resolved(), *snapshots)
    assert told.figures == () and told.effect is Assessment.UNKNOWN and told.last is None


def test_since_when_a_metric_was_out_before_it_was_detected() -> None:
    def points(*values: float) -> Snapshot:
        series = Series("latency_p95", 60, tuple((after(at - 5), value) for at, value in enumerate(values)))
        return replace(snapshot(after(1), 812, 41), series=(series,))

    onset = report(resolved(), points(180, 190, 510, 600, 700, 812)).onset
    assert onset and (onset.since, onset.unseen, onset.at_least) == (after(-3), 3 * MINUTE, False)
    onset = report(resolved(), points(810, 800, 510, 600, 700, 812)).onset
    assert onset and (onset.unseen, onset.at_least) == (5 * MINUTE, True)
    assert report(resolved(), points(180, 600, 600, 180, 200, 300)).onset is None, "it had been well in between"
    told = report(resolved(), points(180, 190, 180, 170, 200, 600))
    assert told.onset is None and told.measured_before
    assert not report(resolved()).measured_before


def test_what_may_come_back() -> None:
    assert report(resolved()).may_return == "cause_unknown"
    assert report(completed()).may_return == "uncured"
    assert report(completed(), snapshot(after(1), 812, 41), snapshot(after(13), 721, 70)).may_return == "still_out"
    assert report(Story.begin()).may_return is None


def test_who_did_what() -> None:
    ana, bruno = report(resolved()).people
    assert (ana.person, ana.roles) == (ANA, (Role.COMMANDER,))
    assert ana.did == {
        Kind.ACKNOWLEDGED: 1,
        Kind.ROLE_ASSIGNED: 2,
        Kind.UPDATE: 1,
        Kind.MESSAGE_ADDED: 1,
        Kind.RESOLVED: 1,
    }
    assert (bruno.person, bruno.roles) == (BRUNO, (Role.OPS,))


def test_pages_and_our_own_troubles() -> None:
    told = report(resolved())
    assert [event.kind for event in told.pages] == [Kind.PAGED]
    assert [event.facts["what"] for event in told.troubles] == ["links"]


def test_the_next_follow_up_is_the_first_that_is_not_done() -> None:
    told = report(resolved())
    assert told.done == 1
    assert told.next_due and told.next_due.id == "INC-2026-0001/F1"


def test_writing_the_report_changes_nothing_in_it() -> None:
    story = resolved()
    before = report(story)
    story.then(lambda now: now.with_event(Kind.REPORT_WRITTEN, {}, by=BOT, at=after(14)))
    assert report(story) == before
