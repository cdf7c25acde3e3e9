"""The revision to go back to: the manual's `.[1]` is the second oldest, not the last good one."""

from __future__ import annotations

import pytest

from bot.integrations.helm import Revision, origin, rollback_candidates

FAILED = 'Upgrade "xr-engine" failed: conflict occurred'


def revisions(*statuses: str, **descriptions: str) -> list[Revision]:
    """By status, oldest first; `r3="…"` describes the third one."""
    return [
        Revision(number, status, "c-1", "1", descriptions.get(f"r{number}", ""), None)
        for number, status in enumerate(statuses, start=1)
    ]


def best(history: list[Revision]) -> int | None:
    return next((one.number for one in rollback_candidates(history)), None)


@pytest.mark.parametrize(
    ("statuses", "good"),
    [
        (("superseded", "superseded", "deployed"), 2),
        (("superseded", "failed", "deployed"), 1),
        (("superseded", "superseded", "failed"), 2),
        (("deployed", "failed", "failed"), 1),
        (("superseded", "deployed", "pending-upgrade"), 2),
        (("deployed",), None),
        (("failed", "failed"), None),
        ((), None),
    ],
)
def test_the_newest_that_was_good_before_the_present_one(statuses: tuple[str, ...], good: int | None) -> None:
    assert best(revisions(*statuses)) == good


S = "superseded"


@pytest.mark.parametrize(
    ("history", "good"),
    [
        (revisions(S, S, "deployed", r3="Rollback to 1"), None),  # 2 was left, and 1 is what stands
        (revisions(S, S, S, "deployed", r4="Rollback to 2"), 1),
        (revisions(S, S, S, S, S, "deployed", r5="Rollback to 3", r6="Rollback to 2"), 1),  # 4 left for 3, 3 for 2
        (revisions(S, S, S, S, "deployed", r4="Rollback to 2"), 4),  # somebody has deployed anew after going back
        (revisions(S, S, S, "deployed", r3="Rollback to 1", r4="Rollback to 2"), 3),  # going back was the mistake
        (revisions(S, S, "failed", r2=FAILED), 1),  # a failed upgrade whose way back has failed is called superseded
    ],
)
def test_what_somebody_has_gone_back_from_was_not_good(history: list[Revision], good: int | None) -> None:
    assert best(history) == good


def test_a_rollback_is_the_same_thing_again() -> None:
    history = revisions(S, S, S, "deployed", r3="Rollback to 1", r4="Rollback to 3")
    assert [origin(one, history) for one in history] == [1, 2, 1, 1]
