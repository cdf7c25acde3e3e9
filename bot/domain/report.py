"""The post-incident report as plain facts, each with evidence to check it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.domain.cure import ChangeMade, changes_made, cures
from bot.domain.followup import FollowUp, FollowUpState
from bot.domain.goal import Goal
from bot.domain.incident import Incident, Milestone, Role, Status
from bot.domain.observations import Observations, observe
from bot.domain.people import BOT, Person
from bot.domain.phases import Phase, Span, spans_of_runs, split
from bot.domain.pipeline import Suite, suites_of
from bot.domain.run import Approval, Run
from bot.domain.snapshot import Assessment, Change, Direction, MetricDefinition, Snapshot, Verdict, assess, compare
from bot.domain.timeline import Kind, TimelineEvent

# Events about the report itself are left out, so that writing it again gives the same report.
_NOT_IN_REPORT = frozenset({Kind.REPORT_WRITTEN})
_RESPONSE_STEPS = frozenset(
    {Kind.UPDATE, Kind.NOTE, Kind.MESSAGE_ADDED, Kind.RUN_APPROVED, Kind.RUN_CHANGED, Kind.RUN_UNDONE, Kind.RUN_ENDED}
)
NOTABLE = timedelta(minutes=1)  # a metric that was out of bounds for less was noticed at once
_PAGING = frozenset({Kind.PAGED, Kind.PAGE_FAILED, Kind.PAGE_RESOLVED, Kind.ESCALATED})
_BOT_FAILURES = frozenset({Kind.TROUBLE, Kind.PAGE_FAILED})
_EVENT_BY_MILESTONE = {
    Milestone.DETECTED: Kind.DECLARED,
    Milestone.DECLARED: Kind.DECLARED,
    Milestone.ACKNOWLEDGED: Kind.ACKNOWLEDGED,
    Milestone.MITIGATED: Kind.MITIGATED,
    Milestone.RESOLVED: Kind.RESOLVED,
}


_ABOUT_CAUSES = (Kind.CAUSES_WEIGHED, Kind.CAUSE_RULED_OUT, Kind.CAUSE_CONFIRMED, Kind.CAUSE_REMAINS)


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
class Timing:
    """How long an incident took, and where the time went.

    `recovered_at` is when its last alert went quiet for good; without that, when people marked it as mitigated or
    resolved. `recovered_by` is the event that says so; None while it is not over. `phases` add up to the recovery.
    """

    response: timedelta | None
    recovered_at: datetime | None
    recovered_by: TimelineEvent | None
    recovery: timedelta | None
    phases: Mapping[Phase, timedelta]


@dataclass(frozen=True, slots=True)
class Previous:
    """The last incident of the same kind: the same alert, or the same drill, else the same service without alert."""

    incident: Incident
    timing: Timing


@dataclass(frozen=True, slots=True)
class Onset:
    """A metric that was out of bounds before the incident was detected: since when, and for how long until then.

    `at_least`: it was already so when the data begins.
    """

    metric: MetricDefinition
    since: datetime
    unseen: timedelta
    at_least: bool


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
    """Everything that the report says. `unknown` names the facts that only people know and have not entered.

    `measured_before`: there are metrics of the time before the detection, so that `onset` is None because all was well.
    """

    incident: Incident
    as_of: datetime
    milestones: tuple[MilestoneReached, ...]
    reopenings: tuple[Reopening, ...]
    response: Goal
    recovery: Goal
    told: Goal
    timing: Timing
    changes: tuple[ChangeMade, ...]
    observations: Observations
    onset: Onset | None
    measured_before: bool
    previous: Previous | None
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
    suites: tuple[Suite, ...]
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
    def cures(self) -> list[ChangeMade]:
        """The change that cured it, or those of which one did."""
        return cures(self.changes)

    @property
    def remains(self) -> TimelineEvent | None:
        """The event that last proved the cause to be there still; what was so before it was resolved may be over."""
        last = (event for event in reversed(self.timeline) if event.kind in (Kind.CAUSE_REMAINS, Kind.RESOLVED))
        newest = next(last, None)
        return newest if newest and newest.kind is Kind.CAUSE_REMAINS else None

    @property
    def warned_task(self) -> FollowUp | None:
        """The follow-up of what may come back: the one opened for the cause that remains, else the next one due."""
        opened = [event for event in self.timeline if event.kind is Kind.FOLLOWUP_OPENED and event.by.id == BOT.id]
        places = (
            {str(suspect["place"]) for suspect in (self.remains.facts.get("suspects") or ())} if self.remains else ()
        )
        own = {event.facts.get("followup") for event in opened for place in places if place in event.facts["title"]}
        unfinished = (one for one in self.followups if one.state is not FollowUpState.DONE)
        return next((one for one in unfinished if one.id in own), self.next_due)

    @property
    def may_return(self) -> str | None:
        """Why it may come back: `remains`, `still_out`, `cause_unknown` or `uncured`; None if nothing says so."""
        if self.timing.recovered_at is None:
            return None
        if self.remains:
            return "remains"
        if self.still_out:
            return "still_out"
        if not self.incident.cause.primary:
            return "cause_unknown"
        return None if self.cures else "uncured"

    @property
    def opinions(self) -> Sequence[TimelineEvent]:
        """What was thought of the causes, and when: by the bot, and by people."""
        return [event for event in self.timeline if event.kind in _ABOUT_CAUSES]

    @property
    def left_out(self) -> Sequence[int]:
        """The numbers of the events that are not in the report: that it was written."""
        there = {event.seq for event in self.timeline}
        return [seq for seq in range(1, self.timeline[-1].seq) if seq not in there]

    @property
    def notices(self) -> Sequence[TimelineEvent]:
        """What stakeholders were told."""
        return [event for event in self.timeline if event.kind is Kind.STAKEHOLDERS_TOLD]

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
    runs: Sequence[Run] = (),
    approvals: Sequence[Approval] = (),
    previous: Previous | None = None,
    response_target: timedelta | None = None,
    recovery_target: timedelta | None = None,
    told_target: timedelta | None = None,
) -> Report:
    """Build the report of an incident's current state.

    `told_target` is how soon after the declaration stakeholders are to be told; None: they are told nothing.

    `timeline` holds all its events in order, `snapshots` start with the oldest; `links` maps event numbers to links
    (name, URL); `runs` and `approvals` are those of the incident. Deterministic: the same arguments give the same
    report, and events about written reports are ignored.
    """
    story = tuple(event for event in timeline if event.kind not in _NOT_IN_REPORT)
    evidence = {event.seq: Evidence(event.seq, tuple((links or {}).get(event.seq, ()))) for event in story}
    start = incident.milestones[Milestone.DETECTED]
    snapshots = [snapshot for snapshot in snapshots if snapshot.at >= start]  # people look at earlier times, too
    first, last = first_and_last(snapshots)
    changes = compare(first, last) if first and last else ()
    timing = time_incident(incident, story, runs, approvals)
    response, recovery = Goal(timing.response, response_target), Goal(timing.recovery, recovery_target)
    first_notice = next((event.at for event in story if event.kind is Kind.STAKEHOLDERS_TOLD), None)
    told = Goal(first_notice - incident.milestones[Milestone.DECLARED] if first_notice else None, told_target)
    changes_of_runs = changes_made(story, timing.recovered_at)
    before = [series for series in first.series if series.points and series.points[0][0] < start] if first else []

    def newest(kind: Kind) -> Evidence | None:
        return next((evidence[event.seq] for event in reversed(story) if event.kind is kind), None)

    return Report(
        incident=incident,
        as_of=story[-1].at,
        milestones=tuple(_milestones(incident, story, evidence)),
        reopenings=tuple(_reopenings(story, evidence)),
        response=response,
        recovery=recovery,
        told=told,
        timing=timing,
        changes=tuple(changes_of_runs),
        observations=observe(story, changes_of_runs, approvals, response, recovery),
        onset=_onset(first, start) if first else None,
        measured_before=bool(before),
        previous=previous,
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
        suites=tuple(suites_of(runs)),
        people=tuple(_people(incident, story)),
        pages=tuple(event for event in story if event.kind in _PAGING),
        troubles=tuple(event for event in story if event.kind in _BOT_FAILURES),
        timeline=story,
        evidence=evidence,
        unknown=tuple(_unknown(incident, followups)),
    )


def time_incident(
    incident: Incident, story: Sequence[TimelineEvent], runs: Sequence[Run], approvals: Sequence[Approval]
) -> Timing:
    """Return how long an incident took. Somebody was on it when it was acknowledged, or a first run was started."""
    detected, declared = (incident.milestones[name] for name in (Milestone.DETECTED, Milestone.DECLARED))
    acknowledged = incident.milestones.get(Milestone.ACKNOWLEDGED)
    response = acknowledged - detected if acknowledged else None
    end = _recovery(incident, story)
    if end is None:
        return Timing(response, None, None, None, {})
    recovered_at = max(end.at, declared)
    first_run = min((run.started_at for run in runs if not run.dry_run), default=recovered_at)
    answered = min(filter(None, [acknowledged, first_run, recovered_at]))
    spans = [*spans_of_runs(runs, approvals, recovered_at), *_quiet_times(story)]
    phases = split(detected, declared, max(answered, declared), recovered_at, spans)
    return Timing(response, recovered_at, end, recovered_at - detected, phases)


def _recovery(incident: Incident, story: Sequence[TimelineEvent]) -> TimelineEvent | None:
    """Return the event at which the incident was over: its alerts were quiet, else people said so."""
    reopened = max((event.seq for event in story if event.kind is Kind.REOPENED), default=0)
    since = [event for event in story if event.seq > reopened]
    ends = (Kind.MITIGATED, Kind.RESOLVED)
    said = [event for event in since if event.kind in ends]
    if not said or Milestone.MITIGATED not in incident.milestones:
        return None
    resolved = next((event.seq for event in since if event.kind is Kind.RESOLVED), len(story))
    alerts = [event for event in since if event.kind in (Kind.ALERT_FIRING, Kind.ALERT_RESOLVED)]
    alerts = [event for event in alerts if event.seq < resolved]
    if not alerts:
        return said[0]
    return said[-1] if alerts[-1].facts.get("firing") else alerts[-1]


def _quiet_times(story: Sequence[TimelineEvent]) -> Iterable[Span]:
    """Yield the times from each resolution to the reopening after it."""
    resolved: datetime | None = None
    for event in story:
        if event.kind is Kind.RESOLVED:
            resolved = event.at
        elif event.kind is Kind.REOPENED and resolved:
            yield Span(Phase.QUIET, resolved, event.at)
            resolved = None


def _onset(first: Snapshot, detected: datetime) -> Onset | None:
    """Return the metric that had been out of bounds without a break for the longest time when it was detected."""
    onsets = []
    for metric in first.figures:
        for series in first.of(metric.query):
            points = [point for point in series.points if point[0] <= detected]
            healthy = [at for at, value in points if not metric.is_breached_by(value)]
            out = [at for at, _ in points if not healthy or at > healthy[-1]]
            if out and detected - points[-1][0] <= 2 * timedelta(seconds=series.step):
                onsets.append(Onset(metric, out[0], detected - out[0], at_least=not healthy))
    longest = max(onsets, key=lambda onset: onset.unseen, default=None)
    return longest if longest and longest.unseen >= NOTABLE else None


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
    """Return the worst value of this metric in any snapshot of the first one's service since the incident began."""
    query, service = change.after.query, snapshots[0].service
    same = [snapshot for snapshot in snapshots if snapshot.service == service]
    values = [value for snapshot in same for series in snapshot.of(query) for at, value in series.points if at >= start]
    metrics = (metric for snapshot in same for metric in snapshot.figures)
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
