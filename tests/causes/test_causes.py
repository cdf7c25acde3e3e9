"""Each cause is found in a world that has it; none is claimed where nothing is wrong, or where a finding refutes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.why import TUNING, finds_all, look_broadly, play
from benchmarks.worlds import CAUSES as PLANTED
from benchmarks.worlds import World
from bot.actions.catalogue import ACTIONS
from bot.causes.catalogue import CAUSES, diagnose
from bot.causes.evidence import ALERTED, Evidence, ServiceEvidence, find
from bot.domain.change import Change, ChangeKind
from bot.domain.diagnosis import Diagnosis, Finding, Outcome, Piece, Suspect, outcome_of
from bot.domain.findings import BASE, SOURCE
from bot.messages.translations import load_translations
from bot.messages.why import Why, cause_text, causes_message, change_text, piece_text
from tests.harness.causes import ranked

ILL = {"ill": 1, "slow": 1, "all_pods_ill": 1}
BAD_VERSION = {**ILL, "new_version": 1, "new_pods_worse": 1}
LOAD = {**ILL, "more_requests": 1, "more_requests_per_pod": 1, "more_cpu": 1}


@pytest.mark.parametrize("cause", PLANTED)
def test_cause_is_first_in_worlds_that_have_it(cause: str) -> None:
    results = [play(World(TUNING + 5000 + seed, "one", [cause])) for seed in range(2)]
    assert sum(result.right[0] for result in results) >= 1
    assert all(result.claim_right for result in results if result.claimed)


def test_where_nobody_has_said_what_calls_what_the_cause_is_looked_for_where_most_was_added() -> None:
    elsewhere = [
        world
        for seed in range(12)
        if (world := World(TUNING + seed, "one", ["bad_version"])).truth[0][1] != world.service
    ]
    results = [play(world, ["dependencies"]) for world in elsewhere]
    assert sum(result.right[0] for result in results) > len(results) / 2
    assert all(result.claim_right for result in results if result.claimed)


@pytest.mark.parametrize("most", ["ledger", "wallet", "xr"])
def test_of_dependencies_that_are_as_ill_the_one_that_moved_most_is_the_place(most: str) -> None:
    random = np.random.default_rng(7)

    def latency(times: float) -> np.ndarray:
        return random.normal(1, 0.05, 120).clip(0.8) * np.where(np.arange(120) < 90, 1, times)

    callees = ["ledger", "wallet", "xr"]
    services = {name: ServiceEvidence(name, latency(40 if name == most else 4)) for name in callees}
    services["front"] = ServiceEvidence("front", latency(2), depends_on=callees)
    found = find(Evidence("front", datetime(2026, 3, 1, tzinfo=UTC), 5, services))
    assert found.places["dependency"] == most


def test_second_cause_is_found_beside_the_first_and_none_where_there_is_one() -> None:
    pairs = [("bad_version", "certificate"), ("quota_reached", "bad_canary"), ("bad_configuration", "memory_leak")]
    two = [World(TUNING + 8000 + seed, "two", pairs[seed % 3]) for seed in range(12)]
    assert sum(finds_all(world) for world in two) >= len(two) / 2
    one = [World(TUNING + 8100 + seed, "one", [PLANTED[seed]]) for seed in range(len(PLANTED))]
    assert sum(bool(look_broadly(world).elsewhere) for world in one) <= 1


def test_nothing_is_claimed_in_quiet_worlds() -> None:
    assert not any(play(World(TUNING + 6000 + seed, "quiet")).claimed for seed in range(4))


def test_alert_alone_says_that_a_service_suffers_and_claims_nothing() -> None:
    for seed in range(4):
        world = World(TUNING + 6000 + seed, "quiet")
        quiet = world.evidence(world.service, world.alert)
        alerting = replace(quiet, alerting=True)
        assert find(alerting).value("ill") >= ALERTED > find(quiet).value("ill")
        assert diagnose(alerting).outcome is not Outcome.CLAIM


def test_benchmark_plants_every_cause() -> None:
    assert set(PLANTED) == {cause.name for cause in CAUSES.all()}


@pytest.mark.parametrize(
    ("found", "first", "outcome"),
    [
        (BAD_VERSION, "bad_version", Outcome.CLAIM),
        ({**BAD_VERSION, "new_pods_worse": 0}, "bad_version", Outcome.NOTHING),  # nearness in time alone
        (LOAD, "more_load", Outcome.CLAIM),
        ({**LOAD, "autoscaler_at_most": 1}, "autoscaler_limit", Outcome.CLAIM),
        ({**LOAD, "quota_refuses": 1}, "quota_reached", Outcome.CLAIM),
        ({**LOAD, "more_requests_only_here": 1}, "more_load", Outcome.NOTHING),  # retries, or a new caller
        ({**ILL, "new_configuration": 1, "new_pods_worse": 1}, "bad_configuration", Outcome.CLAIM),
        ({}, None, Outcome.NOTHING),
        (ILL, None, Outcome.NOTHING),  # it suffers, and nobody knows why
    ],
)
def test_findings_decide_what_is_claimed(found: dict[str, float], first: str | None, outcome: Outcome) -> None:
    suspects = ranked(found)
    assert outcome_of(suspects) is outcome
    if outcome is Outcome.CLAIM:
        assert suspects[0].cause == first


@pytest.mark.parametrize("cause", CAUSES.all(), ids=lambda cause: cause.name)
def test_refuting_finding_forbids_the_claim(cause) -> None:  # type: ignore[no-untyped-def]
    """Whatever else fits: all that the cause predicts is there, but for one finding that it cannot do without."""
    for way in cause.ways:
        fits = {name: round(likely) for name, likely in way.items()}
        for name in cause.must:
            if way.get(name, 0.5) >= 0.9 or way.get(name, 0.5) <= 0.07:
                suspects = ranked({**fits, name: 1 - fits[name]})
                refuted = next(one for one in suspects if one.cause == cause.name)
                others = [other for other in cause.ways if round(other.get(name, 0)) != fits[name]]
                assert name in refuted.refuted_by or others
                assert outcome_of([refuted]) is Outcome.NOTHING or others


def test_unknown_finding_that_could_refute_forbids_the_claim_and_is_named() -> None:
    suspects = ranked(BAD_VERSION, unknown=["new_pods_worse"])
    first = next(one for one in suspects if one.cause == "bad_version")
    assert "new_pods_worse" in first.unknown
    assert outcome_of(suspects) is not Outcome.CLAIM


def test_ruled_out_cause_is_left_out() -> None:
    assert "bad_version" not in {one.cause for one in ranked(BAD_VERSION, excluded=["bad_version"])}


@pytest.mark.parametrize("locale", ["es", "en"])
def test_every_cause_and_finding_has_its_words(locale: str) -> None:
    words = load_translations()[locale]
    for cause in CAUSES.all():
        assert words.label(f"causes.{cause.name}")
        pieces = [Piece(name, 1.0, 1.0, _facts()) for name in BASE]
        assert cause_text(Suspect(cause.name, "xr-engine", 0.9, pieces), words)
        assert cause_text(Suspect(cause.name, "xr-engine", 0.9), words)  # without any facts
        for action in (*cause.treatments, *(one for some in cause.treatments_if.values() for one in some)):
            assert words.action(action, ACTIONS.get(action).summary)
    for name in BASE:
        assert piece_text(Piece(name, 1.0, 1.0, _facts()), words) != piece_text(Piece(name, 0.0, -1.0), words)
        assert words.label(f"why.sources.{SOURCE[name]}")


@pytest.mark.parametrize(
    ("locale", "besides"), [("es", "*Además, en `ledger`* (9 de 10)"), ("en", "*Also, in `ledger`* (9 in 10)")]
)
def test_cause_claimed_elsewhere_is_kept_and_shown_beside_the_claim(locale: str, besides: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    here, there = Suspect("bad_version", "web", 0.9), Suspect("certificate", "ledger", 0.95)
    facts = {"service": "web", "outcome": "claim", "suspects": [here.to_json()], "missing": []}
    kept = Diagnosis.of_event(at, {**facts, "elsewhere": [there.to_json()]})
    assert [one.cause for one in kept.shown] == ["bad_version", "certificate"]
    assert [one.cause for one in Diagnosis.of_event(at, facts).shown] == ["bad_version"]  # as kept before
    blocks = causes_message(Why(kept), load_translations()[locale]).blocks
    assert besides in "".join(str(block.to_dict()) for block in blocks)


@pytest.mark.parametrize("locale", ["es", "en"])
@pytest.mark.parametrize("kind", ChangeKind)
def test_every_kind_of_change_has_its_words(kind: ChangeKind, locale: str) -> None:
    change = Change(kind, datetime(2026, 1, 1, tzinfo=UTC), "web", {}, by="ada")
    assert "ada" in change_text(change, load_translations()[locale])


def _facts() -> dict[str, object]:
    at = "2026-01-01T03:04:00+00:00"
    numbers = {"from": 1.0, "to": 2.0, "times": 2.0, "now": 0.9, "ill": 1, "of": 3}
    names = {"name": "x", "node": "n", "nodes": "n", "services": "a, b", "service": "a"}
    return {"since": at, "at": at, **numbers, **names, "change": {"from": "1", "to": "2"}}


def test_finding_is_data() -> None:
    assert Finding(1.0).facts == {}
