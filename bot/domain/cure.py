"""Which change of an incident cured it, and which did not: judged by the metrics before and after each, and by when
it recovered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from bot.domain.people import Person
from bot.domain.snapshot import Assessment
from bot.domain.timeline import Kind, TimelineEvent

SETTLING = timedelta(minutes=15)  # within which alerts and averages follow what has changed
_TELLING = ("slack.", "pagerduty.")  # actions that tell people; they cure nothing


class Effectiveness(StrEnum):
    """What a change did to the metrics.

    `one_of`: they came back while this change and another one were being made. `for_a_while`: they came back and left
    again. `then_recovered`: better, and all was well within SETTLING with nothing else done. `not_enough`: better, and
    still out of bounds.
    """

    CURED = "cured"
    ONE_OF = "one_of"
    THEN_RECOVERED = "then_recovered"
    FOR_A_WHILE = "for_a_while"
    NOT_ENOUGH = "not_enough"
    NO_EFFECT = "no_effect"
    WORSE = "worse"
    MIXED = "mixed"
    NOT_MEASURED = "not_measured"


_CURES = frozenset({Effectiveness.CURED, Effectiveness.ONE_OF, Effectiveness.THEN_RECOVERED})


@dataclass(frozen=True, slots=True)
class ChangeMade:
    """A change: the number of its event, when it began and was measured, its effects in words, and what came of it.

    `figures` are metrics before and after as the event has them. `approved_by` are ids of people; `glass`: it went on
    without approval. `owners` is what else sets what was changed. `out_before` and `out_after` are numbers of metrics
    out of bounds, None if not measured.
    """

    seq: int
    began: datetime
    until: datetime
    effects: tuple[str, ...]
    verdict: Assessment | None
    figures: tuple[Mapping[str, Any], ...]
    asked_by: Person
    approved_by: tuple[str, ...] = ()
    owners: tuple[Mapping[str, Any], ...] = ()
    glass: bool = False
    out_before: int | None = None
    out_after: int | None = None
    undone: bool = False
    reverted: bool = False  # by something else that owns what was changed
    outcome: str | None = None
    effectiveness: Effectiveness = Effectiveness.NOT_MEASURED

    @property
    def came_back(self) -> bool:
        """True if metrics were out of bounds before it, and all were known to be in bounds after it."""
        return bool(self.out_before) and self.out_after == 0


def changes_made(story: Sequence[TimelineEvent], recovered_at: datetime | None = None) -> list[ChangeMade]:
    """Return the changes of an incident's timeline in order, each with what it did to the metrics."""
    changes = [_change(event, story) for event in story if event.kind is Kind.RUN_CHANGED and not _tells(event)]
    judged = [replace(change, effectiveness=_judge(change, changes)) for change in changes]
    if recovered_at and judged and _recovered_after(judged[-1], recovered_at):
        judged[-1] = replace(judged[-1], effectiveness=Effectiveness.THEN_RECOVERED)
    return judged


def _recovered_after(last: ChangeMade, recovered_at: datetime) -> bool:
    """Return True if the last change had helped, and what was still out of bounds then came back soon after it."""
    lasted = not last.undone and not last.reverted
    soon = timedelta() <= recovered_at - last.until <= SETTLING
    return last.effectiveness is Effectiveness.NOT_ENOUGH and lasted and soon


def cures(changes: Sequence[ChangeMade]) -> list[ChangeMade]:
    """Return the change that cured, or those of which one did; empty if none is known to have."""
    return [change for change in changes if change.effectiveness in _CURES]


def _tells(event: TimelineEvent) -> bool:
    return str(event.facts.get("action", "")).startswith(_TELLING)


def _change(event: TimelineEvent, story: Sequence[TimelineEvent]) -> ChangeMade:
    facts = event.facts
    measured: Mapping[str, Any] = facts.get("measured") or {}
    out: Mapping[str, Any] = measured.get("out") or {}
    began = facts.get("began") or measured.get("before")
    same = [
        other
        for other in story
        if (other.facts.get("run"), other.facts.get("digest")) == (facts.get("run"), facts.get("digest"))
    ]
    approvals = [
        other
        for other in same
        if other.kind is Kind.RUN_APPROVED and not other.facts.get("undo") and other.seq < event.seq
    ]
    approval: Mapping[str, Any] = approvals[-1].facts if approvals else {}
    return ChangeMade(
        seq=event.seq,
        began=datetime.fromisoformat(began) if began else event.at,
        until=datetime.fromisoformat(measured["after"]) if "after" in measured else event.at,
        effects=tuple(facts.get("effects") or ()),
        verdict=Assessment(facts["verdict"]) if facts.get("verdict") else None,
        figures=tuple(measured.get("figures") or ()),
        asked_by=event.by,
        approved_by=tuple(approval.get("people") or ()),
        owners=tuple(facts.get("owners") or ()),
        glass=bool(approval.get("glass")),
        out_before=out.get("before"),
        out_after=None if out.get("unknown") else out.get("after"),
        undone=any(other.kind is Kind.RUN_UNDONE and other.seq > event.seq for other in same),
        reverted=any(other.kind is Kind.CHANGE_REVERTED for other in same),
        outcome=facts.get("outcome"),
    )


def _judge(change: ChangeMade, changes: Sequence[ChangeMade]) -> Effectiveness:
    """Judge one change. A verdict that was cut off is none, whatever the last look at the metrics showed."""
    candidates = [other for other in changes if other.came_back and other.verdict is Assessment.HELPED]
    last = candidates[-1] if candidates else None
    left_again = last and any(other.out_before for other in changes if other != last and other.began >= last.until)
    if last and not left_again and _overlap(change, last):
        alone = all(other == last or not _overlap(other, last) for other in changes)
        return Effectiveness.CURED if alone else Effectiveness.ONE_OF
    if change in candidates:
        return Effectiveness.FOR_A_WHILE
    match change.verdict:
        case Assessment.HELPED:
            return Effectiveness.NOT_ENOUGH
        case Assessment.NO_EFFECT | Assessment.WORSE | Assessment.MIXED:
            return Effectiveness(change.verdict.value)
    return Effectiveness.NOT_MEASURED


def _overlap(one: ChangeMade, other: ChangeMade) -> bool:
    return one == other or (one.began < other.until and other.began < one.until)
