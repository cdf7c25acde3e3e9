"""How often the bot finds the cause, over seeded worlds: what it claims, what it misses, and what simple rules would.

The worlds and the causes have one author. What is measured is whether the method holds, not how good it will be in a
cluster. Half of the seeds (`TUNING`) may be looked at while the causes are written; the figures are of the others, in
which four causes have other ranges.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import Figure, percentile
from benchmarks.worlds import CAUSES, LENGTH, OUTSIDE, SOURCES, STEP, World, worlds
from bot.causes.catalogue import diagnose, diagnose_itself, joined, with_elsewhere
from bot.causes.evidence import health_of
from bot.domain.change import ChangeKind
from bot.domain.diagnosis import Diagnosis, Outcome, Suspect
from bot.workflows.incidents.diagnose import OTHERS

LOOKS = (0, 1, 2, 3, 4, 8, 12, 16, 20)  # samples after the alert: as the bot looks
COUNT, COUNT_BY_SOURCE = 1200, 160
TUNING, REPORTING = 0, 2_000_000  # first seeds; 900,000 and on were seen in total while the causes were written
ANYWHERE = ("load", "database")  # places that are no service and no node

Guess = tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one world.

    `right` says of each of the first three whether it is a cause of this world, `all_found` whether the first three
    hold all its causes after five minutes, `claim_right` of the one that was claimed, `rules` of what each simple rule
    would blame. `said` is the probability of the first; `first_right` is in
    seconds after the alert; `seconds` are of a processor, for one look.
    """

    kind: str
    fired: bool
    said: float
    right: Sequence[bool]
    all_found: bool
    claimed: bool
    claim_right: bool
    first_right: float | None
    seconds: float
    rules: Mapping[str, bool]


def is_right(guess: Guess, world: World) -> bool:
    """Return True if cause and place are those of the world."""
    if guess is None or world.kind not in ("one", "two"):
        return False
    return any(guess[0] == cause and (place in ANYWHERE or guess[1] == place) for cause, place in world.truth)


def look(world: World, at: int, without: Collection[str] = ()) -> Diagnosis:
    """Diagnose at one sample, as the bot does."""
    diagnosis = diagnose(world.evidence(world.service, at, without))
    return joined(diagnosis, [diagnose(world.evidence(root, at, without)) for root in diagnosis.roots])


def play(world: World, without: Collection[str] = ()) -> Result:
    """Look again and again until one cause has led twice, or the last look."""
    leading: Guess = None
    claim: Guess = None
    first_right: float | None = None
    began, looks = time.process_time(), 0
    for after in LOOKS:
        if world.alert + after >= LENGTH:
            break
        last = look(world, world.alert + after, without)
        looks += 1
        if first_right is None and last.suspects and is_right(_guess(last.suspects[0]), world):
            first_right = after * STEP
        now = _guess(last.shown[0]) if last.outcome is Outcome.CLAIM else None
        if now is not None and now == leading:
            claim = now
            break
        leading = now
    return Result(
        world.kind,
        world.fired,
        last.suspects[0].probability,
        [is_right(_guess(one), world) for one in last.suspects[:3]],
        world.kind == "two" and finds_all(world),
        claim is not None,
        is_right(claim, world),
        first_right,
        (time.process_time() - began) / looks,
        {name: is_right(rule(world), world) for name, rule in RULES.items()} if world.kind == "one" else {},
    )


def look_broadly(world: World) -> Diagnosis:
    """Diagnose five minutes after the alert, as the bot does, also for a second cause."""
    at = min(world.alert + LOOKS[-1], LENGTH - 1)
    here = diagnose(world.evidence(world.service, at))
    names = (world.service, *here.roots, *here.others[:OTHERS])
    return with_elsewhere(look(world, at), [diagnose_itself(world.evidence(name, at)) for name in names])


def finds_all(world: World) -> bool:
    """Return True if each cause of the world is among the first three five minutes after the alert."""
    ranked = look_broadly(world).ranked
    return len({one.cause for one in ranked[:3] if is_right(_guess(one), world)}) == len(world.truth)


def _guess(suspect: Suspect) -> tuple[str, str]:
    return suspect.cause, suspect.place


async def causes() -> list[Figure]:
    """Measure ordinary and hard worlds, each source left out, and the simple rules."""
    warnings.simplefilter("ignore", RuntimeWarning)  # of numpy, about means of nothing
    figures: list[Figure] = []
    for name, hard, limits in (
        ("causes, ordinary worlds", False, (12, 8, 30, 4, 2, 8, 10, 0.12, 40)),
        ("causes, hard worlds", True, (20, 10, 35, 7, 3, 10, 13, 0.15, 50)),
    ):
        figures += _figures(name, [play(w) for w in worlds(COUNT, REPORTING, shifted=True, hard=hard)], limits)
    figures += _without_sources()
    return figures


def _figures(bar: str, played: Sequence[Result], limits: Sequence[float]) -> list[Figure]:
    def of(kind: str) -> list[Result]:
        return [result for result in played if result.kind == kind]

    hard = "hard" in bar
    one, two, quiet, outside = (of(kind) for kind in ("one", "two", "quiet", "outside"))
    claimed = [result for result in one if result.claimed]
    fired = [result for result in one if result.fired]
    said = np.array([result.said for result in played])
    right = np.array([result.right[0] for result in played])
    brier = float(np.mean((said - right) ** 2))
    found = [result.first_right for result in one if result.first_right is not None]
    sure = said >= 0.8
    gap = abs(float(said[sure].mean() - right[sure].mean())) * 100
    seconds = [result.seconds for result in played]
    return [
        Figure(bar, "first cause wrong", _share(one, lambda r: not r.right[0]), "%", limits[0], f"{len(one)} worlds"),
        Figure(bar, "none of three right", _share(one, lambda r: not any(r.right)), "%", limits[1]),
        Figure(bar, "first cause wrong where an alert fired", _share(fired, lambda r: not r.right[0]), "%"),
        Figure(bar, "worlds without a claim", _share(one, lambda r: not r.claimed), "%", limits[2]),
        Figure(bar, "claims wrong", _share(claimed, lambda r: not r.claim_right), "%", limits[3]),
        Figure(bar, "claims in quiet worlds", _share(quiet, lambda r: r.claimed), "%", limits[4]),
        Figure(
            bar, "claims for causes outside the list", _share(outside, lambda r: r.claimed), "%", limits[5],
            f"{len(OUTSIDE)} kinds",
        ),
        Figure(bar, "two causes: first is neither", _share(two, lambda r: not r.right[0]), "%", limits[6]),
        Figure(bar, "two causes: not both among three", _share(two, lambda r: not r.all_found), "%", limits[8]),
        Figure(bar, "Brier score of the first", brier, "", limits[7]),
        Figure(bar, "from 0.8 up: said and right differ by", gap, "points", 12 if hard else 10),
        Figure(bar, "alert to the first right answer, median", percentile(found, 50), "s", 15 if hard else 10),
        Figure(bar, "the same, p95", percentile(found, 95), "s", 60),
        Figure(bar, "processor time of a look, median", percentile(seconds, 50), "s", 0.25),
        *(Figure(bar, f"first cause wrong by the rule: {name}", _share(one, _misses(name)), "%") for name in RULES),
    ]  # fmt: skip


def _share(results: Sequence[Result], is_counted: Callable[[Result], bool]) -> float:
    return 100 * sum(map(is_counted, results)) / max(len(results), 1)


def _misses(rule: str) -> Callable[[Result], bool]:
    return lambda result: not result.rules[rule]


def _newest_change(world: World) -> Guess:
    evidence = world.evidence(world.service, world.alert + LOOKS[-1])
    changes = [change for service in evidence.services.values() for change in service.changes or ()]
    changes += evidence.policies or ()
    if not changes:
        return None
    newest = max(changes, key=lambda change: change.at)
    named = {
        ChangeKind.VERSION: "bad_version",
        ChangeKind.CONFIGURATION: "bad_configuration",
        ChangeKind.LIMITS: "cpu_throttling",
        ChangeKind.REPLICAS: "too_few_replicas",
        ChangeKind.POLICY: "network_policy",
    }
    return named[newest.kind], newest.about.removeprefix("deny-")


def _highest_deviation(world: World) -> Guess:
    evidence = world.evidence(world.service, world.alert + LOOKS[-1])
    strength = {name: health_of(service).onset.strength for name, service in evidence.services.items()}
    return "bad_version", max(strength, key=lambda name: strength[name])


def _random(world: World) -> Guess:
    return str(world.random.choice(CAUSES)), str(world.random.choice([service.name for service in world.services]))


RULES: Mapping[str, Callable[[World], Guess]] = {
    "newest change": _newest_change,
    "highest deviation": _highest_deviation,
    "random": _random,
}


def _without_sources() -> list[Figure]:
    """Measure each source left out: the first cause may be wrong more often, a claim may not."""
    bar = "causes, one source missing"
    figures = []
    for source in SOURCES:
        seeded = worlds(COUNT_BY_SOURCE, REPORTING, shifted=True, hard=False)
        played = [play(world, [source]) for world in seeded if world.kind == "one"]
        claimed = [result for result in played if result.claimed]
        note = f"{len(claimed)} claims in {len(played)} worlds"
        name = f"without {source}"
        figures.append(Figure(bar, f"{name}: first cause wrong", _share(played, lambda r: not r.right[0]), "%", 22))
        figures.append(
            Figure(bar, f"{name}: claims wrong", _share(claimed, lambda r: not r.claim_right), "%", 10, note)
        )
    return figures
