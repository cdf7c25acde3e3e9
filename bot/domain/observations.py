"""What went well, what went badly and where we were lucky: only what the timeline and the approvals show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.domain.cure import ChangeMade, Effectiveness, cures
from bot.domain.goal import Goal
from bot.domain.run import Approval, ApprovalState, ChangeOutcome
from bot.domain.timeline import Kind, TimelineEvent

_FAILURES = {
    Kind.PAGE_FAILED: "page_failed",
    Kind.UNACKNOWLEDGED: "unacknowledged",
    Kind.REOPENED: "reopened",
    Kind.STILL_FIRING: "still_firing",
}
_POOR = {Effectiveness.WORSE: "change_worse", Effectiveness.NO_EFFECT: "change_no_effect"}


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation: its words are the block `key` of `reports/observations.md.j2`. `seq` is its event, if any."""

    key: str
    seq: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observations:
    """The three lists; each may be empty."""

    well: tuple[Observation, ...]
    badly: tuple[Observation, ...]
    lucky: tuple[Observation, ...]


def observe(
    story: Sequence[TimelineEvent],
    changes: Sequence[ChangeMade],
    approvals: Sequence[Approval],
    response: Goal,
    recovery: Goal,
) -> Observations:
    """Return the observations on an incident."""
    return Observations(
        tuple(_well(story, changes, approvals, response, recovery)),
        tuple(_badly(story, changes, approvals, response, recovery)),
        tuple(_lucky(story, changes, recovery)),
    )


def _well(
    story: Sequence[TimelineEvent],
    changes: Sequence[ChangeMade],
    approvals: Sequence[Approval],
    response: Goal,
    recovery: Goal,
) -> Iterator[Observation]:
    for key, goal in (("answered_in_time", response), ("recovered_in_time", recovery)):
        if goal.met:
            yield Observation(key, facts={"goal": goal})
    if len(cured := cures(changes)) == 1:
        yield Observation("cured", cured[0].seq, {"change": cured[0]})
    if quick := [approval for approval in approvals if _was_quick(approval)]:
        longest = max(approval.decisions[-1].at - approval.asked_at for approval in quick)
        yield Observation("approved_quickly", facts={"count": len(quick), "longest": longest})
    if updates := sum(event.kind is Kind.UPDATE for event in story):
        yield Observation("updates", next(e.seq for e in story if e.kind is Kind.UPDATE), {"count": updates})


def _badly(
    story: Sequence[TimelineEvent],
    changes: Sequence[ChangeMade],
    approvals: Sequence[Approval],
    response: Goal,
    recovery: Goal,
) -> Iterator[Observation]:
    for key, goal in (("answered_late", response), ("recovered_late", recovery)):
        if goal.met is False:
            yield Observation(key, facts={"goal": goal})
    for event in story:
        if failure := _FAILURES.get(event.kind):
            yield Observation(failure, event.seq, event.facts)
        if event.kind is Kind.ESCALATED and event.facts.get("by_itself"):  # who was paged first did not answer
            yield Observation("escalated", event.seq, event.facts)
    for approval in approvals:
        if approval.state is ApprovalState.EXPIRED or (
            approval.state is ApprovalState.SKIPPED and all(d.verdict.agreed for d in approval.decisions)
        ):
            yield Observation("nobody_approved", facts={"waited": approval.expires_at - approval.asked_at})
    for change in changes:
        if poor := _POOR.get(change.effectiveness):
            yield Observation(poor, change.seq, {"change": change})
    if troubles := [event for event in story if event.kind is Kind.TROUBLE]:
        yield Observation("troubles", troubles[0].seq, {"count": len(troubles)})


def _lucky(story: Sequence[TimelineEvent], changes: Sequence[ChangeMade], recovery: Goal) -> Iterator[Observation]:
    cured = cures(changes)
    if recovery.took is not None and not cured:
        yield Observation("recovered_by_itself")
    if len(cured) > 1:
        yield Observation("which_one_is_unknown", cured[0].seq, {"count": len(cured)})
    for change in changes:
        if change.glass and change.effectiveness is not Effectiveness.WORSE:
            yield Observation("without_approval", change.seq, {"change": change})
        if change.outcome in (ChangeOutcome.PARTLY.value, ChangeOutcome.UNKNOWN.value):
            yield Observation("interrupted", change.seq, {"change": change})


def _was_quick(approval: Approval) -> bool:
    """Return True if it was approved before those who can were called again."""
    return (
        approval.state is ApprovalState.APPROVED
        and bool(approval.decisions)
        and approval.decisions[-1].at < approval.second_call_at
    )
