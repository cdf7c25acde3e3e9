"""What the public may know of incidents: which parts of the service are affected, how badly, and since when."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.incident import Incident, Milestone, Severity, Status


class Level(StrEnum):
    """How a part of the service is; the worst first."""

    OUTAGE = "outage"
    DEGRADED = "degraded"
    OPERATIONAL = "operational"


class Phase(StrEnum):
    INVESTIGATING = "investigating"
    WORKING = "working"
    MONITORING = "monitoring"
    OVER = "over"


_PHASES = {
    Status.DECLARED: Phase.INVESTIGATING,
    Status.ACKNOWLEDGED: Phase.WORKING,
    Status.MITIGATED: Phase.MONITORING,
    Status.RESOLVED: Phase.OVER,
    Status.CLOSED: Phase.OVER,
}


@dataclass(frozen=True, slots=True)
class Disruption:
    """One incident as the public sees it; `components` are services that the team names in public."""

    level: Level
    phase: Phase
    began_at: datetime
    ended_at: datetime | None
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatusPage:
    """The state now, what is going on (newest first), and what is over."""

    level: Level
    components: dict[str, Level]
    going_on: tuple[Disruption, ...]
    over: tuple[Disruption, ...]


def status_page(
    incidents: Iterable[Incident],
    now: datetime,
    *,
    components: Collection[str],
    severities: Collection[Severity],
    history: timedelta,
) -> StatusPage:
    """Return the page for these incidents."""
    seen = (public_view(incident, components, severities) for incident in incidents)
    disruptions = sorted((one for one in seen if one is not None), key=lambda one: one.began_at, reverse=True)
    going_on = tuple(one for one in disruptions if one.phase is not Phase.OVER)
    over = tuple(one for one in disruptions if one.ended_at and one.ended_at >= now - history)
    return StatusPage(
        level=_worst(going_on),
        components={name: _worst(one for one in going_on if name in one.components) for name in components},
        going_on=going_on,
        over=over,
    )


def public_view(incident: Incident, components: Collection[str], severities: Collection[Severity]) -> Disruption | None:
    """Return the incident as the public sees it; None for a drill, a false alarm and other severities."""
    if incident.drill or incident.status is Status.DISMISSED or incident.severity not in severities:
        return None
    affected = {incident.service, *incident.impact.services}
    phase, milestones = _PHASES[incident.status], incident.milestones
    return Disruption(
        level=Level.OUTAGE if incident.severity is Severity.SEV1 else Level.DEGRADED,
        phase=phase,
        began_at=milestones[Milestone.DETECTED],
        ended_at=milestones.get(Milestone.RESOLVED) if phase is Phase.OVER else None,
        components=tuple(name for name in components if name in affected),
    )


def _worst(disruptions: Iterable[Disruption]) -> Level:
    """Return the worst level; what is mitigated affects nobody any more."""
    levels = {one.level for one in disruptions if one.phase is not Phase.MONITORING}
    return next((level for level in Level if level in levels), Level.OPERATIONAL)
