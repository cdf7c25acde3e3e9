"""Which change cured: only the one between whose before and after the metrics came back."""

from __future__ import annotations

from typing import Any

import pytest

from bot.domain.cure import Effectiveness, changes_made
from bot.domain.goal import Goal
from bot.domain.observations import observe
from bot.domain.timeline import Kind
from tests.domain.story import ANA, BRUNO, Story, after

MADE: dict[str, Any] = {"runbook": "render-latency", "action": "kubernetes.scale"}


class Told(Story):
    """A story of changes, each with the metrics out of bounds before and after it."""

    def change(
        self, digest: str, began: float, ended: float, verdict: str | None, out: tuple[int, int, int] | None,
        action: str = "kubernetes.scale", run: str = "R-1",
    ) -> Told:  # fmt: skip
        facts = MADE | {"run": run, "digest": digest, "began": after(began).isoformat(), "effects": [digest]}
        facts |= {"action": action, "verdict": verdict}
        if out:
            counted = dict(zip(("before", "after", "unknown"), out, strict=True))
            facts["measured"] = {"after": after(ended).isoformat(), "figures": [], "out": counted}
        self.then(lambda now: now.with_event(Kind.RUN_CHANGED, facts, by=ANA, at=after(ended)))
        return self

    def judged(self, recovered: float | None = None) -> dict[str, str]:
        at = after(recovered) if recovered is not None else None
        return {change.effects[0]: change.effectiveness.value for change in changes_made(self.timeline, at)}


def begin() -> Told:
    story = Story.begin()
    return Told(story.incident, story.timeline)


@pytest.mark.parametrize(
    ("verdict", "out", "effectiveness"),
    [
        ("helped", (3, 0, 0), "cured"),
        ("helped", (3, 1, 0), "not_enough"),
        ("helped", (3, 0, 1), "not_enough"),  # one is not known: nothing proves that all came back
        ("no_effect", (0, 0, 0), "no_effect"),  # all was well before
        ("no_effect", (3, 3, 0), "no_effect"),
        ("worse", (1, 3, 0), "worse"),
        ("mixed", (3, 2, 0), "mixed"),
        ("unknown", (3, 0, 0), "not_measured"),  # the measuring was cut off
        (None, None, "not_measured"),
    ],
)
def test_one_change(verdict: str | None, out: tuple[int, int, int] | None, effectiveness: str) -> None:
    assert begin().change("a", 3, 6, verdict, out).judged() == {"a": effectiveness}


def test_the_one_after_which_all_was_back_and_not_the_one_before_it() -> None:
    story = begin().change("replicas", 3, 6, "helped", (3, 2, 0)).change("nodes", 9, 12, "helped", (2, 0, 0))
    assert story.judged() == {"replicas": "not_enough", "nodes": "cured"}


def test_what_was_better_and_well_soon_after_with_nothing_else_done() -> None:
    story = begin().change("nodes", 1, 2, "no_effect", (3, 3, 0)).change("replicas", 3, 6, "helped", (3, 2, 0))
    assert story.judged(recovered=8) == {"nodes": "no_effect", "replicas": "then_recovered"}
    for recovered in (5, 22, None):  # before it was measured, long after, never
        assert story.judged(recovered=recovered)["replicas"] == "not_enough"
    undone = MADE | {"run": "R-1", "digest": "replicas"}
    story.then(lambda now: now.with_event(Kind.RUN_UNDONE, undone, by=BRUNO, at=after(7)))
    assert story.judged(recovered=8)["replicas"] == "not_enough"
    assert begin().change("a", 3, 6, "helped", (3, 2, 0)).change("b", 7, 8, None, None).judged(recovered=9) == {
        "a": "not_enough", "b": "not_measured"
    }  # fmt: skip


def test_two_in_one_window_are_one_of_these_two() -> None:
    story = (
        begin().change("replicas", 3, 9, "helped", (3, 0, 0)).change("flags", 4, 8, "no_effect", (3, 3, 0), run="R-2")
    )
    assert story.judged() == {"replicas": "one_of", "flags": "one_of"}


def test_what_came_back_and_left_again_helped_for_a_while() -> None:
    story = begin().change("a", 3, 6, "helped", (3, 0, 0)).change("b", 9, 12, "no_effect", (2, 2, 0))
    assert story.judged() == {"a": "for_a_while", "b": "no_effect"}
    assert story.change("c", 13, 15, "helped", (2, 0, 0)).judged()["c"] == "cured"


def test_telling_people_is_no_change() -> None:
    assert begin().change("told", 3, 3, None, None, action="slack.announce").judged() == {}


def test_who_asked_who_approved_and_what_was_undone() -> None:
    story = begin()
    approved = MADE | {"run": "R-1", "digest": "a", "people": [BRUNO.id], "glass": False}
    story.then(lambda now: now.with_event(Kind.RUN_APPROVED, approved, by=BRUNO, at=after(2)))
    story.change("a", 3, 6, "worse", (1, 3, 0)).change("b", 7, 8, None, None)
    story.then(lambda now: now.with_event(Kind.RUN_UNDONE, MADE | {"run": "R-1", "digest": "a"}, by=BRUNO, at=after(7)))
    first, second = changes_made(story.timeline)
    assert (first.asked_by, first.approved_by, first.glass, first.undone) == (ANA, (BRUNO.id,), False, True)
    assert (second.approved_by, second.undone) == ((), False)


def test_observations_are_what_the_timeline_shows() -> None:
    story = begin().change("a", 3, 6, "worse", (1, 3, 0))
    story.then(lambda now: now.with_event(Kind.PAGE_FAILED, {"team": "SRETeam"}, by=ANA, at=after(4)))
    minute = after(1) - after(0)
    seen = observe(
        story.timeline, changes_made(story.timeline), [], Goal(2 * minute, 5 * minute), Goal(17 * minute, 10 * minute)
    )
    assert [one.key for one in seen.well] == ["answered_in_time"]
    assert [one.key for one in seen.badly] == ["recovered_late", "page_failed", "change_worse"]
    assert [one.key for one in seen.lucky] == ["recovered_by_itself"]
    assert all(one.seq for one in seen.badly[1:])
    assert Effectiveness.CURED not in {one.effectiveness for one in changes_made(story.timeline)}
