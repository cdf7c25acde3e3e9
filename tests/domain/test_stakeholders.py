"""When stakeholders are to be told next, and who is asked to do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import BadInput
from bot.domain.incident import Changed, Declaration, Incident, Role, Severity
from bot.domain.people import Person
from bot.domain.stakeholders import Draft, next_notice, speakers, told_part
from bot.domain.timeline import Kind, TimelineEvent

ANA = Person("U0ANA", "Ana")
BEGIN = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
WITHIN = timedelta(minutes=10)


def at(minute: float) -> datetime:
    return BEGIN + timedelta(minutes=minute)


class Story:
    """An incident and its timeline, as they become step by step."""

    def __init__(self) -> None:
        declaration = Declaration("Render lento", Severity.SEV2, by=ANA, at=BEGIN)
        self.incident, declared = Incident.declare("INC-2026-0001", declaration)
        self.timeline: list[TimelineEvent] = []
        self._add(declared)

    def then(self, changed: Changed) -> Story:
        self.incident, event = changed
        self._add(event)
        return self

    def told(self, minute: float, news: float | None) -> Story:
        news_at = at(news) if news is not None else None
        return self.then(self.incident.tell_stakeholders("x", "#a", news_at, by=ANA, at=at(minute)))

    def snoozed(self, minute: float) -> Story:
        facts = {"until": at(minute + 5).isoformat()}
        return self.then(self.incident.with_event(Kind.NOTICE_SNOOZED, facts, by=ANA, at=at(minute)))

    def mitigated(self, minute: float) -> Story:
        return self.then(self.incident.mitigate(by=ANA, at=at(minute)))

    def resolved(self, minute: float) -> Story:
        return self.then(self.incident.resolve(by=ANA, at=at(minute)))

    def reopened(self, minute: float) -> Story:
        return self.then(self.incident.reopen("otra vez", by=ANA, at=at(minute)))

    def commander(self, minute: float, person: str = "U0ANA") -> Story:
        return self.then(self.incident.assign(Role.COMMANDER, person, by=ANA, at=at(minute)))

    def _add(self, event: TimelineEvent) -> None:
        self.timeline.append(event.chained("INC-2026-0001", "", len(self.timeline) + 1))


def story() -> Story:
    return Story()


@pytest.mark.parametrize(
    ("so_far", "asks", "ends"),
    [
        (story(), (0, 8, 10), False),
        (story().commander(3), (3, 8, 10), False),
        (story().commander(9), (9, 10), False),
        (story().snoozed(1), (6, 8, 10), False),
        (story().snoozed(7), (12,), False),
        (story().told(4, 34), (29, 33, 34), False),
        (story().told(4, 34).commander(5), (29, 33, 34), False),
        (story().told(4, 6), (4, 5.6, 6), False),
        (story().told(4, 34).mitigated(14), (14, 30, 34), False),
        (story().told(4, 34).mitigated(14).told(15, 45), (40, 44, 45), False),
        (story().told(4, 34).resolved(20), (20, 28, 30), True),
        (story().told(4, 34).resolved(20).reopened(40), (29, 33, 34), False),
        (story().told(4, 34).resolved(20).told(21, None).reopened(40), (40, 48, 50), False),
    ],
)
def test_when_somebody_is_asked_to_publish_the_next_notice(so_far: Story, asks: tuple[float, ...], ends: bool) -> None:
    notice = next_notice(so_far.incident, so_far.timeline, WITHIN)
    assert notice and notice.ends is ends
    assert [(one - BEGIN) / timedelta(minutes=1) for one in notice.asks] == pytest.approx(asks)


@pytest.mark.parametrize(
    "so_far",
    [
        story().resolved(5),  # nobody was told of it, so nobody waits for its end
        story().told(4, None),  # nothing was promised
        story().told(4, 34).resolved(20).told(21, None),
    ],
)
def test_nothing_is_due_where_nobody_waits_for_news(so_far: Story) -> None:
    assert next_notice(so_far.incident, so_far.timeline, WITHIN) is None


def test_without_a_time_in_the_team_s_file_nothing_is_due() -> None:
    assert next_notice(story().incident, story().timeline, None) is None


def test_communications_are_asked_before_the_commander_and_who_is_on_call_last() -> None:
    incident = story().commander(1, "U0ANA").incident
    incident, _ = incident.assign(Role.COMMS, "U0EMMA", by=ANA, at=BEGIN)
    assert speakers(incident, ["U0BRUNO", "U0ANA"]) == ("U0EMMA", "U0ANA", "U0BRUNO")


def test_after_an_end_a_reopened_incident_has_a_message_of_its_own() -> None:
    again = story().told(4, 34).resolved(20).told(21, None).reopened(40).told(42, 60)
    part, notices = told_part(again.timeline)
    assert part == 1 and [event.at for event in notices] == [at(42)]


@pytest.mark.parametrize("draft", [Draft("INC-1", 7, at(3), "a | b"), Draft("INC-1", None, None, "x")])
def test_a_button_carries_the_whole_draft(draft: Draft) -> None:
    assert Draft.parse(draft.to_value()) == draft


@pytest.mark.parametrize("value", ["", "INC-1", "INC-1|x||text", "INC-1|1|soon|text"])
def test_a_malformed_button_is_refused(value: str) -> None:
    with pytest.raises(BadInput):
        Draft.parse(value)
