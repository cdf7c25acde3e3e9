"""Where things go in a chart: reckoned from the figures alone, without anything that draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from statistics import fmean

from bot.domain.snapshot import Direction, MetricResult, Point, Series


def side_by_side(
    wanted: Sequence[float], widths: Sequence[float], gap: float, first: float, last: float
) -> list[float]:
    """Where words begin that stand in a row between `first` and `last`, as near to where they are wanted as may be.

    What is left of a place when the words before it are taken away must not fall from one word to the next: the
    nearest such numbers are pooled means (isotonic regression by pooling adjacent violators).
    """
    before = [0.0, *accumulate(width + gap for width in widths)]
    pools: list[list[float]] = []
    for position, offset in zip(wanted, before, strict=False):
        pools.append([position - offset])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    most = last - (before[-1] - gap)
    means = [fmean(pool) for pool in pools for _ in pool]
    return [max(min(mean, most), first) + offset for mean, offset in zip(means, before, strict=False)]


def y_range(figure: MetricResult, shown: Sequence[Series]) -> tuple[float, float]:
    """The plot's lowest and highest value. The threshold is always in sight, and 0 unless all lies far above it."""
    values = [value for series in shown for _, value in series.points]
    values += [] if figure.threshold is None else [figure.threshold]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if 0 <= low <= 0.75 * high or low == high >= 0:
        return (high or 1.0) * -0.02, (high or 1.0) * 1.15  # a line along zero is seen whole
    margin = (high - low or abs(high)) * 0.2
    return low - margin, high + margin


def runs(series: Series) -> Iterator[list[Point]]:
    """The points in stretches without a gap."""
    run: list[Point] = []
    for point in series.points:
        if run and (point[0] - run[-1][0]).total_seconds() > 1.5 * series.step:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def worst_first(series: Sequence[Series], figure: MetricResult) -> list[Series]:
    """The figure's own line first, then those that end worst."""

    def badness(series: Series) -> tuple[bool, float]:
        last = series.points[-1][1] if series.points else -math.inf
        return series.label != figure.label, last if figure.direction is Direction.BELOW else -last

    return sorted(series, key=badness)
