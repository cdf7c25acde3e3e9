"""Causes weighed by evidence: how well each explains what was found, and what refutes it.

Each cause predicts findings. A finding counts by how much better the cause predicts it than *something else is to
blame* does (a likelihood ratio); findings are not independent, so their sum is tempered. A finding that a cause cannot
do without, and that is known to be otherwise, refutes it: then it is never claimed, whatever else fits. What could not
be looked at is unknown, not absent: it only widens the doubt. *Nothing is wrong* and *a cause that is not on the list*
are hypotheses too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

TEMPER = 0.8  # of the sum of log-likelihood ratios; fitted by `benchmarks/why.py` on its tuning seeds
CLAIM = 0.8  # probability from which the first cause is said to be the likely one
MENTION = 0.15  # and from which one is mentioned
QUIET_PRIOR, UNKNOWN_PRIOR = 0.15, 0.12  # the second fitted as TEMPER is
REFUTED = math.log(0.1)  # for each refuting finding
UNSEEN = math.log(0.3)  # for each finding that could refute it and that could not be looked at
SURE, UNLIKELY = 0.9, 0.07  # predictions from which a finding is one that a cause cannot do without, or cannot have
PRESENT, ABSENT = 0.75, 0.25  # findings from which they are known to be so
SHOWN = 3
WORTH_SAYING = 0.5  # log-likelihood ratio from which a finding against a cause is said
EQUAL_PRIOR_INCIDENTS = 4.0  # so many past incidents weigh as much as knowing nothing does


class Place(StrEnum):
    """What a cause points at: the service itself, a node, or what lies outside of it."""

    SERVICE = "service"
    NODE = "node"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Cause:
    """A kind of cause. `ways` are the ways in which it shows: finding → probability that it is there.

    A finding that a way does not name is as likely as when something else is to blame. `must` are the findings that
    could refute it: nothing is claimed before they are known. `treatments` are actions that treat it, `treatments_if`
    those that do so instead where a finding is made. `remains` is the
    finding that shows, after the symptoms are cured, that the cause is still in place; None if nothing shows it.
    """

    name: str
    place: Place
    ways: Sequence[Mapping[str, float]]
    must: Sequence[str]
    treatments: Sequence[str] = ()
    remains: str | None = None
    treatments_if: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def treatments_of(self, suspect: Suspect) -> Sequence[str]:
        """Return the actions that treat the cause with the evidence that it has in an incident."""
        made = {piece.finding for piece in suspect.evidence if piece.value >= PRESENT}
        return next((actions for finding, actions in self.treatments_if.items() if finding in made), self.treatments)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for: `value` from 0 (it is not so) to 1 (it is), with the facts that show it."""

    value: float
    facts: Mapping[str, Any] = field(default_factory=dict)


Findings = Mapping[str, Finding]  # by name; what is not known is not in it


@dataclass(frozen=True, slots=True)
class Piece:
    """A finding that speaks for a cause or against it; `weight` is its log-likelihood ratio."""

    finding: str
    value: float
    weight: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "finding": self.finding,
            "value": round(self.value, 2),
            "weight": round(self.weight, 2),
            **({"facts": dict(self.facts)} if self.facts else {}),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Piece:
        return cls(raw["finding"], float(raw["value"]), float(raw["weight"]), raw.get("facts") or {})


@dataclass(frozen=True, slots=True)
class Suspect:
    """A cause with its place, its probability, and its evidence, the strongest first.

    `refuted_by` are findings that exclude it; `unknown` those that could, and could not be looked at.
    """

    cause: str
    place: str
    probability: float
    evidence: Sequence[Piece] = ()
    against: Sequence[Piece] = ()
    refuted_by: Sequence[str] = ()
    unknown: Sequence[str] = ()

    @property
    def out_of_ten(self) -> int:
        """The probability as people say it: 8 in 10. Never 10: nothing is certain."""
        return min(max(round(self.probability * 10), 1), 9)

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "place": self.place,
            "probability": round(self.probability, 2),
            "evidence": [piece.to_json() for piece in self.evidence],
            "against": [piece.to_json() for piece in self.against],
            "refuted_by": list(self.refuted_by),
            "unknown": list(self.unknown),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Suspect:
        return cls(
            raw["cause"],
            raw["place"],
            float(raw["probability"]),
            [Piece.from_json(piece) for piece in raw["evidence"]],
            [Piece.from_json(piece) for piece in raw["against"]],
            list(raw["refuted_by"]),
            list(raw["unknown"]),
        )


class Outcome(StrEnum):
    CLAIM = "claim"  # one cause leads clearly, and nothing refutes it
    UNCLEAR = "unclear"  # one or more fit, none clearly
    NOTHING = "nothing"  # there is not enough evidence for any


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of the causes at a moment. `suspects` has all causes, the likeliest first.

    `roots` are the services from which the trouble may come instead: one that it calls, or a few where nobody has said
    what calls what. `others` are further services that suffer now, the worst first. `elsewhere` are causes that are
    claimed of any of these besides the first: two things may have gone wrong at once.
    """

    at: datetime
    service: str
    outcome: Outcome
    suspects: Sequence[Suspect]
    missing: Sequence[str] = ()
    roots: Sequence[str] = ()
    others: Sequence[str] = ()
    elsewhere: Sequence[Suspect] = ()

    @classmethod
    def of_event(cls, at: datetime, facts: Mapping[str, Any]) -> Diagnosis:
        """Return the diagnosis that an event of the timeline holds."""
        suspects = [Suspect.from_json(raw) for raw in facts["suspects"]]
        elsewhere = [Suspect.from_json(raw) for raw in facts.get("elsewhere", ())]
        return cls(at, facts["service"], Outcome(facts["outcome"]), suspects, facts["missing"], elsewhere=elsewhere)

    @property
    def ranked(self) -> Sequence[Suspect]:
        """All causes, the likeliest first, and before the others of this service those elsewhere."""
        return [*self.suspects[:1], *self.elsewhere, *self.suspects[1:]]

    @property
    def shown(self) -> Sequence[Suspect]:
        """The causes to show, at most three: where one is claimed it alone, with those elsewhere."""
        if self.outcome is Outcome.NOTHING:
            return ()
        fit = [suspect for suspect in self.ranked if suspect.probability >= MENTION and not suspect.refuted_by]
        return fit[: 1 + len(self.elsewhere) if self.outcome is Outcome.CLAIM else SHOWN][:SHOWN]


def weigh(
    causes: Sequence[Cause],
    findings: Findings,
    base: Mapping[str, float],
    *,
    places: Mapping[str, str],
    excluded: Sequence[str] = (),
    confirmed_before: Mapping[str, int] | None = None,
) -> list[Suspect]:
    """Return the causes by probability, the likeliest first, without the `excluded` ones.

    `base` has how often each finding is there when something else is to blame. `places` has what each cause would point
    at, `confirmed_before` how often people have confirmed it in earlier incidents of the service.
    """
    considered = [cause for cause in causes if cause.name not in excluded]
    weights = {cause.name: _likelihood(cause, findings, base) for cause in considered}
    refuted = {cause.name: _refuting(cause, findings) for cause in considered}
    priors = _priors(considered, confirmed_before or {})
    unseen = {cause.name: sum(name not in findings for name in cause.must) for cause in considered}
    scores = {
        name: weights[name] + REFUTED * len(refuted[name]) + UNSEEN * unseen[name] + math.log(priors[name])
        for name in weights
    }
    ill = findings["ill"].value if "ill" in findings else 0.5
    unknown = TEMPER * _log_ratio({"ill": 0.95}, findings, base) + math.log(UNKNOWN_PRIOR)
    quiet = TEMPER * 2 * (_log(0.05, ill) - _log(0.9, ill)) + math.log(QUIET_PRIOR)
    total = _log_sum([*scores.values(), unknown, quiet])
    suspects = [
        _suspect(
            cause, places.get(cause.name, ""), math.exp(scores[cause.name] - total), findings, base, refuted[cause.name]
        )
        for cause in considered
    ]
    return sorted(suspects, key=lambda suspect: -suspect.probability)


def outcome_of(suspects: Sequence[Suspect]) -> Outcome:
    """Return whether one cause leads clearly: likely, not refuted, and all asked for that could refute it."""
    if not suspects:
        return Outcome.NOTHING
    first = suspects[0]
    if first.probability >= CLAIM and not first.refuted_by and not first.unknown:
        return Outcome.CLAIM
    fits = any(suspect.probability >= MENTION and not suspect.refuted_by for suspect in suspects)
    return Outcome.UNCLEAR if fits else Outcome.NOTHING


def _suspect(
    cause: Cause, place: str, probability: float, findings: Findings, base: Mapping[str, float], refuted: Sequence[str]
) -> Suspect:
    way = max(cause.ways, key=lambda predictions: _log_ratio(predictions, findings, base))
    pieces = [
        Piece(
            name,
            findings[name].value,
            _log(likely, findings[name].value) - _log(base[name], findings[name].value),
            findings[name].facts,
        )
        for name, likely in way.items()
        if name in findings
    ]
    pieces.sort(key=lambda piece: -abs(piece.weight))
    return Suspect(
        cause.name,
        place,
        probability,
        [piece for piece in pieces if piece.weight > 0],
        [piece for piece in pieces if piece.weight < -WORTH_SAYING],
        refuted,
        [name for name in cause.must if name not in findings],
    )


def _likelihood(cause: Cause, findings: Findings, base: Mapping[str, float]) -> float:
    """Return the tempered log-likelihood ratio of a cause: the mean over the ways in which it shows."""
    return _log_sum([TEMPER * _log_ratio(way, findings, base) for way in cause.ways]) - math.log(len(cause.ways))


def _log_ratio(predictions: Mapping[str, float], findings: Findings, base: Mapping[str, float]) -> float:
    return sum(
        _log(likely, findings[name].value) - _log(base[name], findings[name].value)
        for name, likely in predictions.items()
        if name in findings
    )


def _log(probability: float, value: float) -> float:
    """Return the log-likelihood of a finding between 0 and 1 whose presence has this probability."""
    bounded = min(max(probability, 0.02), 0.98)
    return math.log(bounded * value + (1 - bounded) * (1 - value))


def _refuting(cause: Cause, findings: Findings) -> Sequence[str]:
    """Return the findings that exclude a cause, in the way of it that they exclude least."""

    def refuting(way: Mapping[str, float]) -> list[str]:
        return [name for name in cause.must if name in findings and _is_otherwise(way.get(name), findings[name].value)]

    return min((refuting(way) for way in cause.ways), key=len)


def _is_otherwise(likely: float | None, value: float) -> bool:
    if likely is None:
        return False
    return (likely >= SURE and value < ABSENT) or (likely <= UNLIKELY and value > PRESENT)


def _priors(causes: Sequence[Cause], confirmed: Mapping[str, int]) -> Mapping[str, float]:
    """Return each cause's prior probability: equal, and shifted towards those that were confirmed before."""
    known = sum(confirmed.get(cause.name, 0) for cause in causes)
    share = (1 - QUIET_PRIOR - UNKNOWN_PRIOR) / (EQUAL_PRIOR_INCIDENTS + known)
    return {
        cause.name: share * (EQUAL_PRIOR_INCIDENTS / len(causes) + confirmed.get(cause.name, 0)) for cause in causes
    }


def _log_sum(values: Sequence[float]) -> float:
    """Return log(sum(exp(values)))."""
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))
