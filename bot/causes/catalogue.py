"""All causes, and which of them fit the evidence about a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import bot.causes.cluster
import bot.causes.outside
import bot.causes.service  # noqa: F401 - importing them registers their causes
from bot.causes.evidence import Evidence, Found, find
from bot.causes.registry import CAUSES as CAUSES
from bot.domain.diagnosis import Diagnosis, Outcome, Place, Suspect, outcome_of, weigh
from bot.domain.findings import BASE, ILL

HALF_KNOWN = 0.6  # of the probability is left to a dependency that suffers for no reason that can be found there
DEPENDENCY = "slow_dependency"
POINTS_AT = {DEPENDENCY: "dependency", "zone_trouble": "zone", "noisy_neighbour": "busy_node"}


def diagnose(
    evidence: Evidence,
    *,
    excluded: Sequence[str] = (),
    confirmed_before: Mapping[str, int] | None = None,
    missing: Sequence[str] = (),
) -> Diagnosis:
    """Return which causes fit the evidence.

    `excluded` are causes that a person has ruled out, `confirmed_before` how often each was confirmed in earlier
    incidents of the service, `missing` the sources that could not be asked.
    """
    found = find(evidence)
    suspects = weigh(
        CAUSES.all(),
        found.findings,
        BASE,
        places={cause.name: _place(cause.name, cause.place, evidence.service, found) for cause in CAUSES.all()},
        excluded=excluded,
        confirmed_before=confirmed_before,
    )
    is_called = found.value("dependency_ill") >= ILL and "dependency" in found.places
    roots = [found.places["dependency"]] if is_called else found.suffering
    others = [name for name in found.ill if name not in roots]
    return Diagnosis(evidence.until, evidence.service, outcome_of(suspects), suspects, missing, roots, others)


def joined(diagnosis: Diagnosis, at_roots: Sequence[Diagnosis]) -> Diagnosis:
    """Return the diagnosis of a service after those of the services from which its trouble may come.

    A cause that leads there counts. Without one, that a dependency suffers is all that is known: it is never claimed,
    because why it does is not known. Where nobody has said what calls what, the others merely suffer, too: then a claim
    here stands, and else one there if no other contradicts it, or what is likelier there than here.
    """
    if not at_roots:
        return diagnosis
    if any(one.cause == DEPENDENCY and "dependency_ill" in one.unknown for one in diagnosis.suspects):
        return _likeliest(diagnosis, at_roots)
    (at_root,) = at_roots
    first = next(iter(diagnosis.suspects), None)
    blames_root = first is not None and first.cause == DEPENDENCY
    leads = at_root.outcome is Outcome.CLAIM or (blames_root and _leads(at_root))
    if leads or (at_root.outcome is Outcome.UNCLEAR and diagnosis.outcome is Outcome.NOTHING):
        return replace(at_root, service=diagnosis.service, missing=diagnosis.missing)
    if first is not None and blames_root and diagnosis.outcome is Outcome.CLAIM:
        doubted = replace(first, probability=first.probability * HALF_KNOWN)
        return replace(diagnosis, outcome=Outcome.UNCLEAR, suspects=[doubted, *diagnosis.suspects[1:]])
    return diagnosis


def with_elsewhere(diagnosis: Diagnosis, claimed: Sequence[Diagnosis]) -> Diagnosis:
    """Return the diagnosis with the causes that `diagnose_itself` claims of this service and of others, the likeliest
    first; of what lies outside of all services each kind is one cause.
    """
    known = {_identity(suspect) for suspect in diagnosis.suspects[:1]}
    elsewhere = []
    claims = [one.suspects[0] for one in claimed if one.outcome is Outcome.CLAIM]
    for suspect in sorted(claims, key=lambda suspect: -suspect.probability):
        if _identity(suspect) not in known:
            known.add(_identity(suspect))
            elsewhere.append(suspect)
    return replace(diagnosis, elsewhere=elsewhere)


def diagnose_itself(evidence: Evidence, *, excluded: Sequence[str] = ()) -> Diagnosis:
    """Return which causes fit the evidence besides what another service does to this one."""
    return diagnose(evidence, excluded=[*excluded, DEPENDENCY])


def _identity(suspect: Suspect) -> tuple[str, str]:
    cause = CAUSES.get(suspect.cause)
    return suspect.cause, "" if cause and cause.place is Place.OUTSIDE else suspect.place


def _likeliest(diagnosis: Diagnosis, others: Sequence[Diagnosis]) -> Diagnosis:
    """Return the claim of a service, or of the only others that have one; else what is likeliest, unclaimed."""
    if diagnosis.outcome is Outcome.CLAIM:
        return diagnosis
    claims = [one for one in others if one.outcome is Outcome.CLAIM]
    best = max(claims or [diagnosis, *others], key=lambda one: max((s.probability for s in one.suspects), default=0.0))
    contradicted = len({(one.shown[0].cause, one.shown[0].place) for one in claims}) > 1
    outcome = Outcome.UNCLEAR if contradicted else best.outcome
    return replace(best, service=diagnosis.service, missing=diagnosis.missing, outcome=outcome)


def _leads(diagnosis: Diagnosis) -> bool:
    """Return whether one cause is likelier than all others together."""
    return bool(diagnosis.shown) and diagnosis.shown[0].probability > 0.5


def _place(cause: str, place: Place, service: str, found: Found) -> str:
    if cause in POINTS_AT:
        return found.places.get(POINTS_AT[cause], service)
    return found.places.get("node", service) if place is Place.NODE else service
