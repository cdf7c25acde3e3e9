"""An incident's life, as plain values: what may follow what, and the event that tells each change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import BadInput, BotError, WrongState
from bot.domain.incident import (
    Cause,
    Changed,
    Declaration,
    Impact,
    Incident,
    Milestone,
    Role,
    Severity,
    Status,
    with_source,
)
from bot.domain.people import Person
from bot.domain.timeline import Kind

ANA = Person("U1", "Ana")
AT = datetime(2026, 1, 7, 2, 10, tzinfo=UTC)


def later(minutes: int) -> datetime:
    return AT + timedelta(minutes=minutes)


def declared(title: str = "Render lento", **facts: object) -> Incident:
    return Incident.declare("INC-2026-0001", Declaration(title, Severity.SEV2, by=ANA, at=AT, **facts))[0]  # type: ignore[arg-type]


def to(incident: Incident, status: Status, minutes: int = 5) -> Incident:
    """The incident brought into a status, by the shortest way."""
    ways: dict[Status, list[Callable[[Incident], Changed]]] = {
        Status.DECLARED: [],
        Status.ACKNOWLEDGED: [lambda now: now.acknowledge(by=ANA, at=later(minutes))],
        Status.MITIGATED: [lambda now: now.mitigate(by=ANA, at=later(minutes))],
        Status.RESOLVED: [lambda now: now.resolve(by=ANA, at=later(minutes))],
        Status.CLOSED: [
            lambda now: now.resolve(by=ANA, at=later(minutes)),
            lambda now: now.close(by=ANA, at=later(minutes)),
        ],
    }
    for way in ways[status]:
        incident, _ = way(incident)
    return incident


def refusal(change: Callable[[], object]) -> str:
    """The key of the mistake, or `done`."""
    try:
        change()
    except BotError as mistake:
        assert isinstance(mistake, WrongState | BadInput)
        return mistake.key
    return "done"


def test_declaring_tells_what_and_when_it_began() -> None:
    incident, event = Incident.declare(
        "INC-2026-0001",
        Declaration(
            "  Render\n lento  ",
            Severity.SEV1,
            by=ANA,
            at=AT,
            service="xr-engine",
            detected=later(-3),
            facts={"alert": "HighLatency"},
        ),
    )
    assert (incident.title, incident.status, incident.page_key) == ("Render lento", Status.DECLARED, "INC-2026-0001")
    assert incident.milestones == {Milestone.DETECTED: later(-3), Milestone.DECLARED: AT}
    assert incident.impact.services == ("xr-engine",)
    assert (event.kind, event.by, event.at) == (Kind.DECLARED, ANA, AT)
    assert event.facts["severity"] == "SEV1" and event.facts["alert"] == "HighLatency"


def test_nothing_is_detected_after_it_is_declared() -> None:
    assert declared(detected=later(10)).milestones[Milestone.DETECTED] == AT


@pytest.mark.parametrize(
    ("title", "key"), [("", "title_missing"), (" \n\t ", "title_missing"), ("x" * 201, "title_too_long")]
)
def test_a_title_must_say_something_and_be_short(title: str, key: str) -> None:
    assert refusal(lambda: declared(title)) == key
    assert refusal(lambda: declared("x" * 200)) == "done"


@pytest.mark.parametrize(
    ("status", "acknowledge", "mitigate", "resolve", "reopen", "close"),
    [
        (Status.DECLARED, "done", "done", "done", "not_resolved", "not_resolved"),
        (Status.ACKNOWLEDGED, "already_acknowledged", "done", "done", "not_resolved", "not_resolved"),
        (Status.MITIGATED, "already_acknowledged", "already_mitigated", "done", "not_resolved", "not_resolved"),
        (Status.RESOLVED, "already_acknowledged", "already_mitigated", "already_resolved", "done", "done"),
        (Status.CLOSED, "already_acknowledged", "already_mitigated", "already_resolved", "done", "incident_closed"),
    ],
)
def test_what_may_follow_what(
    status: Status, acknowledge: str, mitigate: str, resolve: str, reopen: str, close: str
) -> None:
    incident = to(declared(), status)
    assert incident.status is status
    assert refusal(lambda: incident.acknowledge(by=ANA, at=later(9))) == acknowledge
    assert refusal(lambda: incident.mitigate(by=ANA, at=later(9))) == mitigate
    assert refusal(lambda: incident.resolve(by=ANA, at=later(9))) == resolve
    assert refusal(lambda: incident.reopen("volvió", by=ANA, at=later(9))) == reopen
    assert refusal(lambda: incident.close(by=ANA, at=later(9))) == close


def test_what_was_skipped_on_the_way_is_taken_as_done_then() -> None:
    resolved = to(declared(), Status.RESOLVED, 30)
    assert resolved.milestones == {
        Milestone.DETECTED: AT,
        Milestone.DECLARED: AT,
        Milestone.ACKNOWLEDGED: later(30),
        Milestone.MITIGATED: later(30),
        Milestone.RESOLVED: later(30),
    }


def test_what_was_reached_before_stays_when_it_was() -> None:
    incident = to(to(to(declared(), Status.ACKNOWLEDGED, 2), Status.MITIGATED, 8), Status.RESOLVED, 20)
    reached = [incident.milestones[one] for one in Milestone]
    assert reached == [AT, AT, later(2), later(8), later(20)]


def test_reopening_keeps_the_response_and_opens_the_rest() -> None:
    incident, event = to(declared(), Status.RESOLVED).reopen(" volvió ", by=ANA, at=later(60))
    assert incident.status is Status.ACKNOWLEDGED
    assert set(incident.milestones) == {Milestone.DETECTED, Milestone.DECLARED, Milestone.ACKNOWLEDGED}
    assert event.facts == {"reason": "volvió", "from": "resolved"}
    again = to(incident, Status.RESOLVED, 90)
    assert again.milestones[Milestone.RESOLVED] == later(90)
    assert refusal(lambda: to(declared(), Status.RESOLVED).reopen("  ", by=ANA, at=later(60))) == "reason_missing"


@pytest.mark.parametrize(
    "change",
    [
        lambda now: now.with_severity(Severity.SEV4, by=ANA, at=AT),
        lambda now: now.assign(Role.OPS, "U2", by=ANA, at=AT),
        lambda now: now.update("así va", by=ANA, at=AT),
        lambda now: now.note("nota", by=ANA, at=AT),
        lambda now: now.add_message("texto", None, "U2", by=ANA, at=AT),
        lambda now: now.with_impact(Impact(users=1), by=ANA, at=AT),
        lambda now: now.with_cause(Cause("fuga"), by=ANA, at=AT),
    ],
)
def test_closed_nothing_changes_but_by_reopening(change: Callable[[Incident], Changed]) -> None:
    assert refusal(lambda: change(to(declared(), Status.CLOSED))) == "incident_closed"
    for status in (Status.DECLARED, Status.RESOLVED):
        assert refusal(lambda status=status: change(to(declared(), status))) == "done"  # type: ignore[misc]


def test_roles_and_severity_tell_before_and_after_and_the_same_again_is_no_change() -> None:
    incident, first = declared().assign(Role.COMMANDER, "U1", by=ANA, at=AT)
    incident, second = incident.assign(Role.COMMANDER, "U2", by=ANA, at=AT)
    assert (first.facts["before"], second.facts["before"], incident.commander) == (None, "U1", "U2")
    assert refusal(lambda: incident.assign(Role.COMMANDER, "U2", by=ANA, at=AT)) == "same_role"
    incident, event = incident.with_severity(Severity.SEV1, by=ANA, at=AT)
    assert event.facts == {"before": "SEV2", "after": "SEV1"}
    assert refusal(lambda: incident.with_severity(Severity.SEV1, by=ANA, at=AT)) == "same_severity"


def test_texts_have_a_beginning_and_an_end() -> None:
    assert refusal(lambda: declared().note(" ", by=ANA, at=AT)) == "text_missing"
    assert refusal(lambda: declared().update("x" * 3001, by=ANA, at=AT)) == "text_too_long"
    assert refusal(lambda: declared().add_message("", None, "U2", by=ANA, at=AT)) == "message_empty"
    _, event = declared().note("  entre blancos \n", by=ANA, at=AT)
    assert event.facts["text"] == "entre blancos"


def test_only_an_update_and_a_milestone_start_the_clock_of_the_next_update() -> None:
    incident = declared()
    assert incident.note("x", by=ANA, at=later(5))[0].updated_at == AT
    assert incident.update("x", by=ANA, at=later(5))[0].updated_at == later(5)
    assert incident.mitigate(by=ANA, at=later(6))[0].updated_at == later(6)


def test_what_was_done_elsewhere_says_where() -> None:
    incident, event = with_source("PagerDuty", declared().acknowledge(by=ANA, at=AT))
    assert incident.status is Status.ACKNOWLEDGED and event.facts == {"source": "PagerDuty"}
