"""The alert rule: what comes of a notification, given what is known of its alerts.

An alert is a fact about its fingerprint and its start. It belongs to one incident, by whatever group or sender it is
reported. Silence about an alert is not its end: a notification leaves out what is silenced, inhibited, beyond a limit
or another sender's. It is over when it is reported as resolved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bot.domain.alert import Alert, Notification
from bot.domain.incident import Incident, Milestone, Severity, Status

SETTLE = timedelta(minutes=15)  # a rule's window of 5 min, and two group intervals of Alertmanager


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert as it was reported last. `sender` and `started_at` are None where an older version did not keep them."""

    id: int
    fingerprint: str
    sender: str | None
    started_at: datetime | None
    firing: bool
    incident: str | None
    count: int = 1
    returned: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a notification arrives.

    `group` is the incident of its group; `incidents` are those of the group and of the `recorded` alerts; `firing` is
    how many alerts of each incident are firing. `drill` is the open drill that caused these alerts, `storm` the open
    storm incident. `is_storm` says that more new groups have come than are opened one by one.
    """

    group: str | None = None
    recorded: Sequence[KnownAlert] = ()
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    firing: Mapping[str, int] = field(default_factory=dict)
    drill: Incident | None = None
    storm: Incident | None = None
    is_storm: bool = False


@dataclass(frozen=True, slots=True)
class SeverityRule:
    """The severity label of an alert → the severity of its incident. Case does not count; `sev1` is SEV1."""

    by_label: Mapping[str, Severity]
    default: Severity = Severity.SEV3
    label: str = "severity"

    def of(self, alert: Alert) -> Severity:
        return alert.severity or self.of_labels(alert.labels)

    def is_worse(self, alert: Alert, recorded: KnownAlert) -> bool:
        """Return True if an alert is more severe than it was reported before.

        The severity is a label, and a label makes another alert; but not for senders that make fingerprints up.
        """
        return self.of(alert) < self.of(replace(alert, labels=recorded.labels))

    def of_labels(self, labels: Mapping[str, str]) -> Severity:
        wanted = labels.get(self.label, "").strip().casefold()
        levels = {level.value.casefold(): level for level in Severity}
        levels |= {name.casefold(): level for name, level in self.by_label.items()}
        return levels.get(wanted, self.default)


@dataclass(frozen=True, slots=True)
class Declare:
    """A new incident for these alerts. `before` is the incident that was resolved while they fired."""

    alerts: tuple[Alert, ...]
    severity: Severity
    before: Incident | None = None
    storm: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Alerts of an open incident have started (for the first time), come back, or ended; `firing` do now.

    It is news unless the alerts only come and go.
    """

    incident: str
    started: tuple[Alert, ...] = ()
    returned: tuple[Alert, ...] = ()
    ended: tuple[Alert, ...] = ()
    firing: int = 0
    is_news: bool = True


@dataclass(frozen=True, slots=True)
class Raise:
    """A more severe alert has joined, or one has become more severe."""

    incident: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Over:
    """The last firing alerts of an incident have ended. It is news unless the alerts only come and go."""

    incident: str
    ended: tuple[Alert, ...]
    is_news: bool = True


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing that anybody must be told."""


Decision = Declare | Join | Raise | Over | Nothing


@dataclass(frozen=True, slots=True)
class Fact:
    """What to remember of one reported alert: in which row (None: a new one), and of which incident.

    The incident is None for the one that is declared. `is_new` to its incident; `returned` after it had ended;
    `is_worse` than it was reported before.
    """

    alert: Alert
    recorded: KnownAlert | None
    incident: str | None
    is_new: bool = False
    returned: bool = False
    is_worse: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a notification: the decisions, and what to remember."""

    decisions: tuple[Decision, ...]
    facts: tuple[Fact, ...]


def decide(notification: Notification, situation: Situation, severities: SeverityRule, at: datetime) -> Verdict:
    """Return what comes of a notification that arrives at `at`."""
    facts, unowned = _owned(notification, situation, severities, at)
    ended = _ended(notification, situation)
    before = None
    declared: tuple[Alert, ...] = ()
    if unowned:
        target, before = _target(unowned, facts, situation, at)
        sender, recorded = notification.sender, situation.recorded
        facts += [Fact(alert, _same(alert, sender, recorded), target, is_new=True) for alert in unowned]
        declared = tuple(unowned) if target is None else ()
    decisions: list[Decision] = []
    if declared:
        severity = min(severities.of(alert) for alert in declared)
        decisions.append(Declare(declared, severity, before, storm=situation.is_storm and situation.storm is None))
    facts += [Fact(alert, recorded, recorded.incident) for alert, recorded in ended]
    for id, incident in {**situation.incidents, **_named(situation.drill, situation.storm)}.items():
        decisions += _news(incident, [fact for fact in facts if fact.incident == id], situation, severities)
    return Verdict(tuple(decisions) or (Nothing(),), tuple(facts))


def is_leftover(alert: Alert, incident: Incident, at: datetime) -> bool:
    """Return True if a firing alert is left over from an incident that was resolved within SETTLE, or dismissed."""
    if incident.status is Status.DISMISSED:
        return alert.started_at <= (incident.updated_at or at)
    resolved_at = incident.milestones.get(Milestone.RESOLVED)
    return resolved_at is not None and at - resolved_at < SETTLE and alert.started_at <= resolved_at


def _owned(
    notification: Notification, situation: Situation, severities: SeverityRule, at: datetime
) -> tuple[list[Fact], list[Alert]]:
    """Return the firing alerts that belong to an incident by themselves, and those that do not."""
    facts, unowned = [], []
    for alert in notification.complete():
        if not alert.firing:
            continue
        same = _same(alert, notification.sender, situation.recorded)
        owner = situation.incidents.get(same.incident or "") if same else None
        if same and owner and (owner.status.is_open or is_leftover(alert, owner, at)):
            is_worse = severities.is_worse(alert, same)
            facts.append(Fact(alert, same, owner.id, returned=not same.firing, is_worse=is_worse))
        else:
            unowned.append(alert)
    return facts, unowned


def _same(alert: Alert, sender: str, recorded: Sequence[KnownAlert]) -> KnownAlert | None:
    """Return the known alert that a firing alert is: of the same start, of the same sender, or come back.

    Two senders may report alerts with equal fingerprints that are different ones: then their starts differ, too.
    """
    alike = [one for one in recorded if one.fingerprint == alert.fingerprint]
    for is_same in (
        lambda one: one.started_at == alert.started_at,
        lambda one: one.sender in (None, sender),
        lambda one: one.started_at is None or not one.firing,
    ):
        matches = [one for one in alike if is_same(one)]
        if matches:
            return max(matches, key=lambda one: (one.firing, one.id))
    return None


def _ended(notification: Notification, situation: Situation) -> list[tuple[Alert, KnownAlert]]:
    """Return the known firing alerts that this notification reports as resolved."""
    ended = []
    for alert in notification.complete():
        if alert.firing:
            continue
        for one in situation.recorded:
            if one.fingerprint != alert.fingerprint or not one.firing:
                continue
            is_same = one.started_at in (None, alert.started_at) or one.sender in (None, notification.sender)
            # The end of an earlier occurrence, reported late, is not the end of this one.
            is_late = alert.ended_at is not None and one.started_at is not None and alert.ended_at < one.started_at
            if is_same and not is_late:
                ended.append((alert, one))
    return ended


def _target(
    unowned: Sequence[Alert], facts: Sequence[Fact], situation: Situation, at: datetime
) -> tuple[str | None, Incident | None]:
    """Return the incident that alerts without one join (None: a new one), and the one that was resolved before."""
    group = situation.incidents.get(situation.group or "")
    if group and group.status.is_open:
        return group.id, None
    owners = Counter(fact.incident for fact in facts if fact.incident and _is_open(fact.incident, situation))
    if owners:  # the group is another one, its other alerts are recorded: joined by the incident of most of them
        return max(owners, key=lambda id: (owners[id], id)), None
    past = [one for one in (group, *_past(unowned, situation)) if one]
    for one in past:
        if all(is_leftover(alert, one, at) for alert in unowned):
            return one.id, None
    if situation.drill:
        return situation.drill.id, None
    if situation.storm and situation.is_storm:
        return situation.storm.id, None
    first = min(alert.started_at for alert in unowned)
    recurred = [one for one in past if first <= one.milestones.get(Milestone.RESOLVED, first)]
    return None, recurred[0] if recurred else None


def _past(alerts: Iterable[Alert], situation: Situation) -> list[Incident]:
    """Return the incidents to which alerts with these fingerprints belonged, the newest first."""
    prints = {alert.fingerprint for alert in alerts}
    ids = {one.incident for one in situation.recorded if one.incident and one.fingerprint in prints}
    return [situation.incidents[id] for id in sorted(ids, reverse=True) if id in situation.incidents]


def _is_open(id: str, situation: Situation) -> bool:
    incident = situation.incidents.get(id)
    return incident is not None and incident.status.is_open


def _named(*incidents: Incident | None) -> dict[str, Incident]:
    return {one.id: one for one in incidents if one}


def _news(incident: Incident, facts: Sequence[Fact], situation: Situation, severities: SeverityRule) -> list[Decision]:
    """Return what an incident that exists must be told of these facts."""
    new = [fact for fact in facts if fact.is_new]
    returned = [fact for fact in facts if fact.alert.firing and fact.returned]
    ended = [fact for fact in facts if not fact.alert.firing]
    was = situation.firing.get(incident.id, 0)
    firing = was + sum(fact.alert.count for fact in (*new, *returned))
    firing = max(0, firing - sum(fact.recorded.count for fact in ended if fact.recorded))
    if not incident.status.is_open:  # what is left over starts silently, and ends
        new, returned = [], []
    decisions: list[Decision] = []
    alerts = [tuple(fact.alert for fact in some) for some in (new, returned, ended)]
    if any(alerts):
        is_news = bool(new) or any(fact.recorded and not fact.recorded.returned for fact in ended)
        if not firing:
            return [Over(incident.id, alerts[2], is_news)]
        decisions.append(Join(incident.id, alerts[0], alerts[1], alerts[2], firing, is_news))
    worse = [severities.of(fact.alert) for fact in facts if fact.is_new or fact.is_worse]
    worst = min(worse, default=incident.severity)
    if worst < incident.severity and incident.status.is_open and not incident.drill:
        decisions.append(Raise(incident.id, worst))
    return decisions
