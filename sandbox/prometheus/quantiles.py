"""Quantiles of samples and of histograms, as Prometheus computes them (promql/quantile.go)."""

import math

import numpy as np

from sandbox.prometheus.tsdb import Flags, Floats, Labels
from sandbox.prometheus.values import Vector, rows, somewhere, unnamed


def quantile(phi: float, samples: Floats) -> float:
    """The phi-quantile of the samples, linear between the two nearest; NaN sorts first; ±Inf outside 0..1."""
    if not len(samples) or math.isnan(phi):
        return math.nan
    if phi < 0:
        return -math.inf
    if phi > 1:
        return math.inf
    missing = int(np.isnan(samples).sum())
    ordered = np.concatenate([np.full(missing, math.nan), np.sort(samples)[: len(samples) - missing]])
    rank = phi * (len(ordered) - 1)
    lower = math.floor(rank)
    upper = min(lower + 1, len(ordered) - 1)
    weight = rank - lower
    return float(ordered[lower] * (1 - weight) + ordered[upper] * weight)


def histogram_quantile(phi: Floats, buckets: Vector) -> Vector:
    """The phi-quantile of each classic histogram in `buckets` (label `le`), linear within a bucket."""
    groups: dict[frozenset[tuple[str, str]], list[tuple[float, int]]] = {}
    for row, labels in enumerate(buckets.labels):
        bound = _bound(labels)
        if bound is not None:
            key = frozenset((name, value) for name, value in unnamed(labels).items() if name != "le")
            groups.setdefault(key, []).append((bound, row))
    made: list[tuple[Labels, Floats, Flags]] = []
    for key, members in groups.items():
        members.sort()
        bounds = np.array([bound for bound, _ in members])
        chosen = [row for _, row in members]
        present = buckets.present[chosen]
        made.append((dict(key), _quantiles(phi, bounds, buckets.values[chosen], present), somewhere(present)))
    return rows(made, buckets.steps)


def _bound(labels: Labels) -> float | None:
    try:
        return float(labels["le"])
    except (KeyError, ValueError):
        return None


def _quantiles(phi: Floats, bounds: Floats, counts: Floats, present: Flags) -> Floats:
    """One histogram at all steps; steps in which the same buckets are there are computed together."""
    result = np.full(counts.shape[1], math.nan)
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        there = patterns[:, number]
        steps = np.flatnonzero(which.ravel() == number)
        result[steps] = _of_complete(phi[steps], bounds[there], counts[np.ix_(there, steps)])
    return result


def _of_complete(phi: Floats, bounds: Floats, counts: Floats) -> Floats:
    """`counts` has the shape (buckets, steps), cumulative; the bounds rise."""
    unique, starts = np.unique(bounds, return_index=True)
    counts = np.add.reduceat(counts, starts, axis=0) if len(bounds) else counts
    if len(unique) < 2 or not math.isinf(unique[-1]):
        return np.full(len(phi), math.nan)
    counts = np.maximum.accumulate(counts, axis=0)  # races between scrapes make buckets fall
    total = counts[-1]
    rank = phi * total
    bucket = np.minimum((counts < rank).sum(axis=0), len(unique) - 1)
    steps = np.arange(len(phi))
    below = np.where(bucket > 0, counts[np.maximum(bucket - 1, 0), steps], 0.0)
    lower = np.where(bucket > 0, unique[np.maximum(bucket - 1, 0)], 0.0)
    upper = unique[bucket]
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = lower + (upper - lower) * ((rank - below) / (counts[bucket, steps] - below))
    result = np.where(bucket == len(unique) - 1, unique[-2], inside)
    result = np.where((bucket == 0) & (unique[0] <= 0), unique[0], result)
    result = np.where((total == 0) | np.isnan(total), math.nan, result)
    result = np.where(phi < 0, -math.inf, np.where(phi > 1, math.inf, result))
    return np.where(np.isnan(phi), math.nan, result)
