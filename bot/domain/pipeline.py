"""What a version should have behind it before it goes to production: staging, what was measured there, and the checks
of its commit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from bot.domain.run import Run

COMPARE = "pipeline.compare"  # the action that reads them
MEASURED_WORSE = "measured_worse"  # why it stops
Demand = Literal["off", "warn", "require"]
MOST_MEASURES = 20  # of a suite


class Staged(StrEnum):
    """How a version did in staging. `tried`: it is there, and no smoke test of it is known."""

    PASSED = "passed"
    TRIED = "tried"
    FAILED = "failed"
    NEVER = "never"
    UNKNOWN = "unknown"


class Checks(StrEnum):
    """How the checks of a version's commit ended. `no_commit`: no commit is known by this tag."""

    GREEN = "green"
    RED = "red"
    RUNNING = "running"
    MISSING = "missing"
    NO_COMMIT = "no_commit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Trial:
    """A version in staging: when, how it went, whether it was smoke-tested, and who knows it (a run's id, GitHub)."""

    at: datetime
    went_well: bool | None
    smoke_tested: bool
    by: str


def staged(trials: Iterable[Trial]) -> tuple[Staged, Trial | None]:
    """Return how the newest trial that has ended went, of those that were smoke-tested if there are any."""
    ended = sorted((trial for trial in trials if trial.went_well is not None), key=lambda trial: trial.at)
    if not ended:
        return Staged.NEVER, None
    newest = ended[-1]
    if not newest.went_well:
        return Staged.FAILED, newest
    tested = next((trial for trial in reversed(ended) if trial.went_well and trial.smoke_tested), None)
    return (Staged.PASSED, tested) if tested else (Staged.TRIED, newest)


def checked(
    conclusions: Mapping[str, str | None], needed: Iterable[str], green: Collection[str]
) -> tuple[Checks, list[str]]:
    """Return how checks ended (None: still running), and the names of those that stand in the way.

    Those that are needed are found by their names, in any case; without any named, all of them count.
    """
    by_name = {name.casefold(): conclusion for name, conclusion in conclusions.items()}
    names = [name.casefold() for name in needed] or list(by_name)
    missing = [name for name in names if name not in by_name]
    running = [name for name in names if name in by_name and by_name[name] is None]
    red = [name for name in names if (ended := by_name.get(name)) is not None and ended not in green]
    if red:
        return Checks.RED, red
    if running:
        return Checks.RUNNING, running
    return (Checks.MISSING, missing) if missing or not names else (Checks.GREEN, [])


def doubts(staging: Staged, checks: Checks, demands: Mapping[str, Demand]) -> tuple[list[str], list[str]]:
    """Return what speaks against a version, and what of it forbids it: `staging`, `checks`."""
    found = [
        name
        for name, is_well in (("staging", staging is Staged.PASSED), ("checks", checks is Checks.GREEN))
        if not is_well and demands[name] != "off"
    ]
    return found, [name for name in found if demands[name] == "require"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One value of a suite, of which less is better, beside that of the version before; None: it was not measured."""

    name: str
    value: float | None
    before: float | None = None
    worse: bool = False


class NoMeasures(ValueError):
    """A log says nothing that can be compared; `line` is the one that was meant to, empty if there is none."""

    def __init__(self, line: str = "") -> None:
        super().__init__(line)
        self.line = line


def read_measures(lines: Sequence[str]) -> dict[str, float]:
    """Return what the last line of a log like `{"measures": {"p95_ms": 412.5}}` says. Raises NoMeasures."""
    line = next((line for line in reversed(lines) if line.lstrip().startswith("{") and '"measures"' in line), None)
    if line is None:
        raise NoMeasures
    try:
        measures = json.loads(line)["measures"]
        is_number = [isinstance(value, int | float) and not isinstance(value, bool) for value in measures.values()]
        found = {str(name): float(value) for name, value in measures.items()} if all(is_number) else {}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise NoMeasures(line) from None
    if not 0 < len(found) <= MOST_MEASURES or not all(math.isfinite(value) for value in found.values()):
        raise NoMeasures(line)
    return found


def compare_measures(now: Mapping[str, float], before: Mapping[str, float], tolerance: float) -> list[Measure]:
    """Return each value beside the one before; worse is what grew by more than `tolerance` percent, or is gone."""
    found = [
        Measure(name, value, old := before.get(name), old is not None and value > old + abs(old) * tolerance / 100)
        for name, value in now.items()
    ]
    return [*found, *(Measure(name, None, old, True) for name, old in before.items() if name not in now)]


@dataclass(frozen=True, slots=True)
class Suite:
    """What a suite measured of a version in a run, beside the version `since`; `worse` says what stopped it."""

    at: datetime
    run: str
    tag: str
    suite: str
    since: str
    measures: tuple[Measure, ...] = ()
    worse: tuple[str, ...] = ()
    despite: str = ""


def suites_of(runs: Iterable[Run]) -> list[Suite]:
    """Return what suites have measured in these runs, in order."""
    found = []
    facts: Mapping[str, Any]
    measures: tuple[Measure, ...]
    for run in runs:
        for step in run.steps:
            if step.uses != COMPARE or run.dry_run or step.ended_at is None:
                continue
            if step.error == MEASURED_WORSE:
                facts, measures = step.facts, ()
            elif step.result:
                facts, measures = step.result, tuple(Measure(**one) for one in step.result["measures"])
            else:
                continue
            worse = tuple(facts["worse"]) if step.error else ()
            about = (run.id, facts["tag"], facts["suite"], facts["since"])
            found.append(Suite(step.ended_at, *about, measures, worse, facts.get("despite", "")))
    return sorted(found, key=lambda one: one.at)
