"""How often a canary's watch is wrong, over seeded worlds: good versions that go back, bad ones that go on.

A world is a service of the sandbox with its pods and one canary, minute by minute: requests by Poisson, failures by the
binomial, answer times by the buckets that a histogram has; over that, load that swings, pods that wander, minutes in
which one pod does badly, a cold start, and trouble that all pods share. What is judged is what Prometheus would say of
each pod in each minute, by the very functions of `prometheus.watch`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, median, percentile
from bot.actions.canary import OVERTIME, SAMPLE
from bot.domain.canary import LEAST_SAMPLES, Beside, chance_of_each, compare, requests_needed
from bot.domain.snapshot import MetricDefinition
from sandbox.world.effects import within
from sandbox.world.metrics import BOUNDS
from sandbox.world.services import SERVICES

BAR = "canary beside the others, 10 % watched for 15 minutes"
SEEDS = 200
MINUTES = 15
CANARY = 0  # the row of its one pod
LATENCY, ERRORS = MetricDefinition("latency_p95", {}, "ms", 500), MetricDefinition("error_rate", {}, "%", 2)
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """Each metric by pod and minute, the canary's first: p95 in ms, errors in percent, requests.

    `of_all` are the metrics of the service as a whole, by minute: latency, errors.
    """

    latency: Floats
    errors: Floats
    requests: Floats
    of_all: tuple[Floats, Floats]


def world(seed: int, *, bad: bool) -> World:
    """Make a world; its canary fails or is slow if it is `bad`."""
    chance = np.random.default_rng([seed, bad])
    service = SERVICES[int(chance.integers(len(SERVICES)))]
    shape = (service.replicas + 1, MINUTES)
    load = chance.uniform(0.4, 1.6) * np.exp(_wander(chance, (1, MINUTES), 0.1))
    slower = np.exp(_wander(chance, (1, MINUTES), 0.08) + _wander(chance, shape, 0.04))
    failing = service.errors * np.exp(_wander(chance, (1, MINUTES), 0.3) + _wander(chance, shape, 0.2))
    if chance.random() < 0.3:  # something that all of them call
        since = int(chance.integers(MINUTES))
        slower[:, since:] *= chance.uniform(1.1, 1.5)
        failing[:, since:] += chance.uniform(0, 0.008)
    for pod in np.flatnonzero(chance.random(shape[0]) < 0.3):  # a pause, a neighbour, a connection that broke
        minute = int(chance.integers(MINUTES))
        slower[pod, minute] *= chance.uniform(1.2, 2.5)
        failing[pod, minute] += chance.uniform(0, 0.05)
    slower[CANARY, 0] *= chance.uniform(1, 1.8)  # nothing is in its caches yet
    if bad and chance.random() < 0.5:
        failing[CANARY] += chance.uniform(0.025, 0.25)
    elif bad:
        slower[CANARY] *= chance.uniform(1.6, 4)
    requests = chance.poisson(service.rate * load * SAMPLE / shape[0], shape)
    failed = chance.binomial(requests, np.minimum(failing, 1))
    p95 = service.p95 * slower
    buckets = chance.multinomial(requests, np.diff(within(p95[..., None], BOUNDS), prepend=0, append=1, axis=-1))
    with np.errstate(all="ignore"):
        of_all = _p95(buckets.sum(0)), 100 * failed.sum(0) / requests.sum(0)
        return World(_p95(buckets), 100 * failed / requests, requests.astype(float), of_all)


def found(seen: World) -> int | None:
    """Return the minute in which the watch goes back, or None if it lets the version go on."""
    looks = math.ceil((MINUTES * 60 + OVERTIME.total_seconds()) / SAMPLE)
    chance = chance_of_each(looks, 2)
    for minute in range(LEAST_SAMPLES, MINUTES + 1):
        for metric, rows in ((LATENCY, seen.latency), (ERRORS, seen.errors)):
            new, others = _known(rows[CANARY, :minute]), _known(rows[CANARY + 1 :, :minute])
            if compare(metric, new, others, chance).verdict is Beside.WORSE:
                return minute
    return None if seen.requests[CANARY].sum() >= requests_needed([LATENCY, ERRORS]) else MINUTES


def shows_in_all(seen: World) -> bool:
    """Return whether a watch of the service as a whole would have gone back: the means of five minutes count."""
    of_five = [np.convolve(row, np.full(5, 0.2), "valid") for row in seen.of_all]
    return bool((of_five[0] > LATENCY.threshold).any() or (of_five[1] > ERRORS.threshold).any())


async def canary() -> list[Figure]:
    good = [world(seed, bad=False) for seed in range(SEEDS)]
    bad = [world(seed, bad=True) for seed in range(SEEDS)]
    returned = [found(one) for one in good]
    minutes = [minute for one in bad if (minute := found(one)) is not None]
    return [
        Figure(BAR, "good versions that went back", share(one is not None for one in returned), "%", 5, f"of {SEEDS}"),
        Figure(BAR, "bad versions that went on", share(found(one) is None for one in bad), "%", 2, f"of {SEEDS}"),
        Figure(BAR, "minutes until a bad one goes back, median", median(minutes), "min"),
        Figure(BAR, "the same, p95", percentile(minutes, 95), "min"),
        Figure(
            BAR, "bad versions that go on where only the whole service is watched",
            share(not shows_in_all(one) for one in bad), "%",
        ),
    ]  # fmt: skip


def share(flags: Iterable[bool]) -> float:
    """Return how many of them are so, in percent."""
    return 100 * float(np.mean(list(flags)))


def _wander(chance: np.random.Generator, shape: tuple[int, int], size: float) -> Floats:
    """Return steps that remember: each keeps 0.7 of the one before; `size` is their standard deviation."""
    steps = chance.normal(0, size * math.sqrt(1 - 0.7**2), shape)
    steps[:, 0] = chance.normal(0, size, shape[0])
    for minute in range(1, shape[1]):
        steps[:, minute] += 0.7 * steps[:, minute - 1]
    return steps


def _p95(buckets: NDArray[np.int64]) -> Floats:
    """Return the p95 in ms as Prometheus' `histogram_quantile` reads it of buckets: linear within one."""
    below = buckets.cumsum(-1)
    rank = 0.95 * below[..., -1:]
    at = np.minimum((below < rank).sum(-1), len(BOUNDS))
    ends = np.append(BOUNDS, BOUNDS[-1])
    starts = np.concatenate([[0.0], BOUNDS])
    before = np.take_along_axis(np.concatenate([np.zeros_like(below[..., :1]), below], -1), at[..., None], -1)[..., 0]
    inside = np.take_along_axis(buckets, at[..., None], -1)[..., 0]
    with np.errstate(all="ignore"):
        share = (rank[..., 0] - before) / inside
    p95: Floats = 1000 * (starts[at] + (ends[at] - starts[at]) * np.where(inside > 0, share, np.nan))
    return p95


def _known(rows: Floats) -> Sequence[float]:
    return [float(value) for value in rows[np.isfinite(rows)]]
