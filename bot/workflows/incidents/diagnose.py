"""Diagnose an incident: ask all sources, weigh the causes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.causes.catalogue import CAUSES
from bot.deps import Deps
from bot.domain.change import Change
from bot.domain.diagnosis import Diagnosis, Place, outcome_of, weigh
from bot.domain.evidence import BASE, Found, find
from bot.workflows.incidents.evidence import Gathered, gather

POINTS_AT = {"slow_dependency": "dependency", "zone_trouble": "zone", "noisy_neighbour": "busy_node"}


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at a service: what is known of the causes, and what changed, oldest first."""

    diagnosis: Diagnosis
    changes: Sequence[Change]


async def diagnose(
    deps: Deps,
    service: str,
    *,
    since: datetime | None = None,
    excluded: Sequence[str] = (),
    confirmed_before: Mapping[str, int] | None = None,
) -> Looked:
    """Look once. `since` is when the incident began; `excluded` are causes that a person has ruled out."""
    gathered = await gather(deps, service, since)
    diagnosis = await asyncio.to_thread(weighed, gathered, excluded, confirmed_before or {})
    return Looked(diagnosis, gathered.changes)


def weighed(gathered: Gathered, excluded: Sequence[str], confirmed_before: Mapping[str, int]) -> Diagnosis:
    """Return the diagnosis of what was gathered."""
    evidence = gathered.evidence
    found = find(evidence)
    suspects = weigh(
        CAUSES.all(),
        found.findings,
        BASE,
        places={cause.name: _place(cause.name, cause.place, evidence.service, found) for cause in CAUSES.all()},
        excluded=excluded,
        confirmed_before=confirmed_before,
    )
    return Diagnosis(evidence.until, evidence.service, outcome_of(suspects), suspects, gathered.missing)


def _place(cause: str, place: Place, service: str, found: Found) -> str:
    if cause in POINTS_AT:
        return found.places.get(POINTS_AT[cause], service)
    return found.places.get("node", service) if place is Place.NODE else service
