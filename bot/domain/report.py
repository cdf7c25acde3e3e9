"""The post-incident report as plain facts, each with evidence to check it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.domain.followup import FollowUp, FollowUpState
from bot.domain.incident import Incident, Milestone, Role, Status
from bot.domain.people import Person
from bot.domain.snapshot import Assessment, Change, Direction, MetricDefinition, Snapshot, Verdict, assess, compare
from bot.domain.timeline import Kind, TimelineEvent

# Events about the report itself are left out, so that writing it again gives the same report.
_NOT_IN_REPORT = frozenset({Kind.REPORT_WRITTEN})
_RESPONSE_STEPS = frozenset(
    {Kind.UPDATE, Kind.NOTE, Kind.MESSAGE_ADDED, Kind.RUN_APPROVED, Kind.RUN_CHANGED, Kind.RUN_UNDONE, Kind.RUN_ENDED}
)
_PAGING = frozenset({Kind.PAGED, Kind.PAGE_FAILED, Kind.PAGE_RESOLVED, Kind.ESCALATED})
_BOT_FAILURES = frozenset({Kind.TROUBLE, Kind.PAGE_FAILED})
_EVENT_BY_MILESTONE = {
    Milestone.DETECTED: Kind.DECLARED,
    Milestone.DECLARED: Kind.DECLARED,
    Milestone.ACKNOWLEDGED: Kind.ACKNOWLEDGED,
    Milestone.MITIGATED: Kind.MITIGATED,
    Milestone.RESOLVED: Kind.RESOLVED,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a fact can be checked: event number `seq` of the timeline, and links (name, URL) to more."""

    seq: int
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class MilestoneReached:
    """A milestone: when, and how long after the detection and after the previous milestone.

    `at` is None while it is not reached. `skipped`: it was set together with a later milestone.
    """

    milestone: Milestone
    at: datetime | None
    since_start: timedelta | None
    since_last: timedelta | None
    skipped: bool
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Reopening:
    """The incident was reopened. `mitigated` and `resolved` are the times of the milestones that this cleared."""

    at: datetime
    by: Person
    reason: str
    mitigated: datetime | None
    resolved: datetime | None
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Goal:
    """How long something took, and the team's target; it is met below the target."""

    took: timedelta | None
    target: timedelta | None

    @property
    def met(self) -> bool | None:
        return None if self.took is None or self.target is None else self.took < self.target


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric during the incident: normal, first, worst and last value, and its trend."""

    change: Change
    worst: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a snapshot: file name, title by language, and when the snapshot was taken."""

    name: str
    title: Mapping[str, str]
    taken_at: datetime | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one person did: their roles at the end, and the number of events of each kind."""

    person: Person
    roles: tuple[Role, ...]
    did: Mapping[Kind, int]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report says. `unknown` names the facts that only people know and have not entered."""

    incident: Incident
    as_of: datetime
    milestones: tuple[MilestoneReached, ...]
    reopenings: tuple[Reopening, ...]
    response: Goal
    recovery: Goal
    felt: timedelta | None
    declared: TimelineEvent
    impact_evidence: Evidence | None
    cause_evidence: Evidence | None
    steps: tuple[TimelineEvent, ...]
    followups: tuple[FollowUp, ...]
    figures: tuple[MetricRow, ...]
    first: Snapshot | None
    last: Snapshot | None
    effect: Assessment
    charts: tuple[Chart, ...]
    people: tuple[Contribution, ...]
    pages: tuple[TimelineEvent, ...]
    troubles: tuple[TimelineEvent, ...]
    timeline: tuple[TimelineEvent, ...]
    evidence: Mapping[int, Evidence]
    unknown: tuple[str, ...]

    @property
    def still_out(self) -> tuple[MetricDefinition, ...]:
        """The metrics that were out of bounds in the last snapshot."""
        return tuple(row.change.after for row in self.figures if row.change.after.verdict is Verdict.BREACH)

    @property
    def next_due(self) -> FollowUp | None:
        """The unfinished follow-up with the earliest due date."""
        unfinished = [
            followup for followup in self.followups if followup.state is not FollowUpState.DONE and followup.due
        ]
        return min(unfinished, key=lambda item: (item.due, item.id), default=None)

    @property
    def done(self) -> int:
        return sum(followup.state is FollowUpState.DONE for followup in self.followups)


def build_report(
    incident: Incident,
    timeline: Sequence[TimelineEvent],
    followups: Sequence[FollowUp],
    snapshots: Sequence[Snapshot],
    *,
    charts: Sequence[Chart] = (),
    links: Mapping[int, Sequence[tuple[str, str]]] | None = None,
    response_target: timedelta | None = None,
    recovery_target: timedelta | None = None,
) -> Report:
    """Build the report of an incident's current state.

    `timeline` holds all its events in order, `snapshots` start with the oldest; `links` maps event numbers to links
    (name, URL). Deterministic: the same arguments give the same report, and events about written reports are ignored.
    """
    story = tuple(event for event in timeline if event.kind not in _NOT_IN_REPORT)
    evidence = {event.seq: Evidence(event.seq, tuple((links or {}).get(event.seq, ()))) for event in story}
    first, last = first_and_last(snapshots)
    changes = compare(first, last) if first and last else ()
    start = incident.milestones[Milestone.DETECTED]

    def newest(kind: Kind) -> Evidence | None:
        return next((evidence[event.seq] for event in reversed(story) if event.kind is kind), None)

    def took(milestone: Milestone) -> timedelta | None:
        reached = incident.milestones.get(milestone)
        return None if reached is None else reached - start

    return Report(
        incident=incident,
        as_of=story[-1].at,
        milestones=tuple(_milestones(incident, story, evidence)),
        reopenings=tuple(_reopenings(story, evidence)),
        response=Goal(took(Milestone.ACKNOWLEDGED), response_target),
        recovery=Goal(took(Milestone.RESOLVED), recovery_target),
        felt=took(Milestone.MITIGATED),
        declared=story[0],
        impact_evidence=newest(Kind.IMPACT_SET),
        cause_evidence=newest(Kind.CAUSE_SET),
        steps=tuple(_steps(story)),
        followups=tuple(followups),
        figures=tuple(MetricRow(change, _worst(change, snapshots, start)) for change in changes),
        first=first,
        last=last,
        effect=assess(changes) if changes else Assessment.UNKNOWN,
        charts=tuple(charts),
        people=tuple(_people(incident, story)),
        pages=tuple(event for event in story if event.kind in _PAGING),
        troubles=tuple(event for event in story if event.kind in _BOT_FAILURES),
        timeline=story,
        evidence=evidence,
        unknown=tuple(_unknown(incident, followups)),
    )


def _milestones(
    incident: Incident, story: Sequence[TimelineEvent], evidence: Mapping[int, Evidence]
) -> Iterable[MilestoneReached]:
    start = before = incident.milestones[Milestone.DETECTED]
    after_reopening = max((event.seq for event in story if event.kind is Kind.REOPENED), default=0)
    for milestone in Milestone:
        at = incident.milestones.get(milestone)
        reached = [event for event in story if event.kind is _EVENT_BY_MILESTONE[milestone]]
        if milestone in (Milestone.MITIGATED, Milestone.RESOLVED):
            reached = [event for event in reached if event.seq > after_reopening]
        event = reached[-1] if reached and at else None
        yield MilestoneReached(
            milestone=milestone,
            at=at,
            since_start=at - start if at else None,
            since_last=at - before if at else None,
            skipped=at is not None and event is None,
            evidence=evidence[event.seq] if event else None,
        )
        before = at or before


def _reopenings(story: Sequence[TimelineEvent], evidence: Mapping[int, Evidence]) -> Iterable[Reopening]:
    mitigated = resolved = None
    for event in story:
        if event.kind is Kind.MITIGATED:
            mitigated = event.at
        elif event.kind is Kind.RESOLVED:
            resolved = event.at
        elif event.kind is Kind.REOPENED:
            reason = str(event.facts["reason"])
            yield Reopening(event.at, event.by, reason, mitigated, resolved, evidence[event.seq])
            mitigated = resolved = None


def _steps(story: Sequence[TimelineEvent]) -> Iterable[TimelineEvent]:
    """Return the response steps until the incident was finally resolved, if it was."""
    transitions = [event for event in story if event.kind in (Kind.RESOLVED, Kind.REOPENED)]
    over = transitions and transitions[-1].kind is Kind.RESOLVED
    return (event for event in story if event.kind in _RESPONSE_STEPS and (not over or event.seq < transitions[-1].seq))


def first_and_last(snapshots: Sequence[Snapshot]) -> tuple[Snapshot | None, Snapshot | None]:
    """Return the first snapshot, and the last one of the same board and service (None if there is no second)."""
    if not snapshots:
        return None, None
    first = snapshots[0]
    comparable = [
        snapshot for snapshot in snapshots[1:] if (snapshot.board, snapshot.service) == (first.board, first.service)
    ]
    return first, comparable[-1] if comparable else None


def _worst(change: Change, snapshots: Sequence[Snapshot], start: datetime) -> float | None:
    """Return the worst value of this metric in any snapshot since the incident began."""
    query = change.after.query
    values = [
        value for snapshot in snapshots for series in snapshot.of(query) for at, value in series.points if at >= start
    ]
    metrics = (metric for snapshot in snapshots for metric in snapshot.figures)
    values += [metric.value for metric in metrics if metric.query == query and metric.value is not None]
    pick: Callable[[list[float]], float] = min if change.after.direction is Direction.BELOW else max
    return pick(values) if values else None


def _people(incident: Incident, story: Sequence[TimelineEvent]) -> Iterable[Contribution]:
    """Yield the role holders, then other people by their first event."""
    people: dict[str, Person] = {person: Person(person) for person in incident.roles.values()}
    did: dict[str, Counter[Kind]] = {}
    for event in story:
        if not (event.by.in_slack or event.by.id.startswith(("pagerduty:", "terminal:", "github:"))):
            continue
        if event.kind is Kind.RUN_APPROVED:  # whoever decided, however the event was recorded
            actors = [event.by if id == event.by.id else Person(id) for id in event.facts.get("people") or ()]
        else:
            actors = [event.by]
        for person in actors:
            if not people.get(person.id, Person("")).name:
                people[person.id] = Person(person.id, person.name)  # from wherever they acted
            did.setdefault(person.id, Counter())[event.kind] += 1
    for id, person in people.items():
        roles = tuple(role for role in Role if incident.roles.get(role) == id)
        yield Contribution(person, roles, did.get(id, Counter()))


def _unknown(incident: Incident, followups: Sequence[FollowUp]) -> Iterable[str]:
    impact, cause = incident.impact, incident.cause
    facts: dict[str, object] = {
        "users": impact.users is not None,
        "services": impact.services,
        "revenue": impact.revenue,
        "primary": cause.primary,
        "contributing": cause.contributing,
        "lessons": cause.lessons,
        "followups": followups or incident.status is Status.CLOSED,
    }
    return (name for name, fact in facts.items() if not fact)
