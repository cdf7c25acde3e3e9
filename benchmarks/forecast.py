"""How often a warning that looks ahead is right, over seeded weeks of made metrics, beside `predict_linear` alone.

A world is one metric for five weeks: a level, a course of the day that is weaker at weekends, noise that remembers,
spikes, gaps, restarts that begin low, and jumps to another level. In half of the worlds it also climbs to its threshold
a few times a week, in all of them it sometimes climbs and comes back before. The first two weeks are history only; the
rest is looked at every five minutes as the bot does, one prediction at a time, silenced as the bot silences. Parameters
were chosen on the even seeds; what is reported are the odd ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np

from benchmarks.figures import Figure, median
from bot.domain.forecast import (
    DAY,
    HORIZON,
    LATE,
    LEAST_LEAD,
    STEP,
    STEPS,
    Floats,
    Forecast,
    Outcome,
    Past,
    cries_wolf,
)
from bot.domain.snapshot import MetricDefinition

BAR = "alerts that look ahead, metrics of five weeks"
SEEDS = 40
WEEK = 7 * DAY
WEEKS, HISTORY_WEEKS = 5, 2
METRIC = MetricDefinition("made", {}, "", 100.0)
BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
LINEAR_WINDOW = 12  # points: predict_linear(metric[1h], 3600)
AHEAD = (HORIZON + LATE) // STEP


@dataclass(frozen=True, slots=True)
class World:
    """The values, one a step, NaN in gaps; and the steps at which a climb crosses the threshold."""

    values: Floats
    crossings: Sequence[int]


@dataclass(frozen=True, slots=True)
class Played:
    """Of one world: leads of the right predictions in minutes, how many were wrong, and which climbs were foreseen."""

    leads: Sequence[float]
    wrong: int
    foreseen: int
    climbs: int
    silenced: int


def world(seed: int) -> World:
    """Make the metric of a seed."""
    chance = np.random.default_rng([11, seed])
    size = WEEKS * WEEK
    at = np.arange(size)
    level, noise = chance.uniform(25, 50), chance.uniform(0.5, 4)
    weekend = np.where(at // DAY % 7 >= 5, chance.uniform(0.2, 0.8), 1)
    course = chance.uniform(0, 25) * weekend * np.maximum(np.sin(2 * np.pi * (at / DAY - chance.uniform())), -0.3)
    values = level + course + _noise(chance, size, noise, chance.uniform(0, 0.8))
    for _ in range(chance.poisson(2 * WEEKS)):  # a spike
        spot = int(chance.integers(size - 4))
        values[spot : spot + int(chance.integers(1, 4))] += chance.uniform(20, 90)
    for _ in range(chance.poisson(WEEKS / 2)):  # another level: a release, more pods
        values[int(chance.integers(size)) :] += chance.uniform(-8, 8)
    for _ in range(chance.poisson(2 * WEEKS)):  # a climb that comes back before the threshold
        spot, rise, stay = int(chance.integers(size - DAY)), int(chance.integers(6, 48)), int(chance.integers(2, 24))
        room = max(100 - values[spot], 0) * chance.uniform(0.2, 0.75)
        _add(values, spot, room * np.concatenate([np.linspace(0, 1, rise), np.ones(stay), np.linspace(1, 0, rise)]))
    if seed // 2 % 2 == 0:
        for week in range(WEEKS):
            for _ in range(int(chance.integers(1, 4))):  # a climb to the threshold, and beyond
                spot, rise = week * WEEK + int(chance.integers(WEEK - DAY)), int(chance.integers(12, 72))
                room = 1.15 * max(100 - values[spot], 5)
                shape = np.linspace(0, 1, rise) ** chance.uniform(0.8, 1.6)
                _add(values, spot, room * np.concatenate([shape, np.ones(6), np.linspace(1, 0, 6)]))
    for _ in range(chance.poisson(WEEKS)):  # a restart begins low
        spot = int(chance.integers(size - 6))
        values[spot : spot + 4] *= np.array([0.1, 0.4, 0.7, 0.9])
    for _ in range(chance.poisson(3 * WEEKS)):
        spot = int(chance.integers(size))
        values[spot : spot + int(chance.integers(1, 20))] = np.nan
    values = np.maximum(values, 0)
    return World(values, _crossings(values))


def play(seen: World, foresees: Callable[[int], bool], *, silencing: bool) -> Played:
    """Look every step as the bot does. `foresees` says whether a crossing is foreseen there."""
    leads: list[float] = []
    outcomes: list[Outcome] = []
    foreseen: set[int] = set()
    wrong = silenced = 0
    look = HISTORY_WEEKS * WEEK
    while look < len(seen.values) - AHEAD:
        if not foresees(look):
            look += 1
            continue
        after = seen.values[look + 1 : look + AHEAD + 1]
        beyond = np.flatnonzero(after > 100)
        outcome = Outcome.CAME if len(beyond) else Outcome.DID_NOT
        is_silenced = silencing and cries_wolf(outcomes[::-1])
        outcomes.append(outcome)
        if is_silenced:
            silenced += 1
        elif len(beyond):
            leads.append((int(beyond[0]) + 1) * STEP.total_seconds() / 60)
            foreseen.update(one for one in seen.crossings if look < one <= look + AHEAD)
        else:
            wrong += 1
        look += int(beyond[0]) + 1 if len(beyond) else AHEAD
    climbs = [one for one in seen.crossings if one >= HISTORY_WEEKS * WEEK + STEPS]
    return Played(leads, wrong, len(foreseen & set(climbs)), len(climbs), silenced)


def ours(seen: World) -> Callable[[int], bool]:
    """Return what the bot would tell at each step."""
    past = Past(METRIC, seen.values)

    def foresees(step: int) -> bool:
        said = past.forecast(step, BEGAN + step * STEP)
        return isinstance(said, Forecast) and said.is_told

    return foresees


def linear(seen: World) -> Callable[[int], bool]:
    """Return what an alert rule on `predict_linear(metric[1h], 3600)` would say at each step: least squares."""

    def foresees(step: int) -> bool:
        window = seen.values[step - LINEAR_WINDOW + 1 : step + 1]
        known = np.flatnonzero(np.isfinite(window))
        if len(known) < 2 or not np.isfinite(window[-1]) or window[-1] > 100:
            return False
        slope, level = np.polyfit(known - (LINEAR_WINDOW - 1), window[known], 1)
        if slope <= 0 or level + slope * STEPS <= 100:
            return False
        steps = int(np.ceil((100 - level) / slope))
        return steps * STEP >= LEAST_LEAD

    return foresees


async def forecast() -> list[Figure]:
    worlds = [world(seed) for seed in range(1, 2 * SEEDS, 2)]
    figures = []
    for name, way in (("", ours), ("predict_linear alone: ", linear)):
        played = [await asyncio.to_thread(partial(play, one, way(one), silencing=way is ours)) for one in worlds]
        figures += _figures(name, played, 1.0 if way is ours else None)
    return figures


def _figures(name: str, played: Sequence[Played], limit: float | None) -> list[Figure]:
    leads = [lead for one in played for lead in one.leads]
    wrong, climbs = sum(one.wrong for one in played), sum(one.climbs for one in played)
    weeks = WEEKS - HISTORY_WEEKS
    per_week = [one.wrong / weeks for one in played]
    told = len(leads) + wrong
    return [
        Figure(
            BAR, f"{name}false alarms a week and metric, mean", float(np.mean(per_week)), "", limit,
            f"{len(played)} metrics, {weeks} weeks each",
        ),
        Figure(BAR, f"{name}the same, of the worst metric", max(per_week), "", limit),
        Figure(
            BAR, f"{name}precision", 100 * len(leads) / max(told, 1), "%", note=f"{len(leads)} of {told} came about"
        ),
        Figure(
            BAR, f"{name}recall", 100 * sum(one.foreseen for one in played) / max(climbs, 1), "%",
            note=f"of {climbs} times beyond the threshold, the sudden ones too",
        ),
        Figure(BAR, f"{name}lead, median", median(leads) if leads else None, "min"),
        Figure(BAR, f"{name}silenced predictions", sum(one.silenced for one in played), ""),
    ]  # fmt: skip


def _crossings(values: Floats) -> list[int]:
    """Return where it goes beyond the threshold for at least three steps, after an hour within it."""
    beyond = values > 100
    return [
        step
        for step in range(STEPS, len(values) - 3)
        if beyond[step : step + 3].all() and not beyond[step - STEPS : step].any()
    ]


def _add(values: Floats, spot: int, shape: Floats) -> None:
    end = min(spot + len(shape), len(values))
    values[spot:end] += shape[: end - spot]


def _noise(chance: np.random.Generator, size: int, spread: float, memory: float) -> Floats:
    """Return noise of which each value keeps the part `memory` of the one before; `spread` is its deviation."""
    steps = chance.normal(0, spread * np.sqrt(1 - memory**2), size)
    for step in range(1, size):
        steps[step] += memory * steps[step - 1]
    return steps
