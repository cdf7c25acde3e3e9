"""Whether a new version is worse than what runs beside it, by samples of both from the same minutes.

The test is H. B. Mann and D. R. Whitney's U, *On a Test of Whether one of Two Random Variables is Stochastically Larger
than the Other*, The Annals of Mathematical Statistics 18 (1947), one-sided, by its normal approximation with the
corrections for ties and for continuity (M. Hollander, D. A. Wolfe, E. Chicken, *Nonparametric Statistical Methods*,
section 4.1). It asks for no distribution: answer times have long tails, and the errors of a minute are mostly none.
Looking again and again finds something in the end; so each look may be wrong only as often as its part of `WRONG`
(Bonferroni).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from statistics import NormalDist, fmean

from bot.domain.snapshot import Direction, MetricDefinition

WRONG = 0.02  # the share of good versions that may be called worse, over all looks of a watch
LEAST_SAMPLES = 5  # of the new version; with fewer no difference is certain enough
LEAST_EVENTS = 5  # W. G. Cochran's rule: below that many expected ones a share says little
RELEVANT = 0.25  # of the others' value: a smaller difference is not worth going back for
RELEVANT_OF_THRESHOLD = 0.1
TAIL = 0.05  # of the answers are slower than the p95


class Beside(StrEnum):
    """How a new version does beside the others."""

    ALIKE = "alike"
    WORSE = "worse"
    UNKNOWN = "unknown"  # too few samples


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of both: the means (None: no samples), how many samples of the new version, and the verdict."""

    metric: MetricDefinition
    new: float | None
    others: float | None
    samples: int
    verdict: Beside


def compare(metric: MetricDefinition, new: Sequence[float], others: Sequence[float], chance: float) -> Comparison:
    """Compare samples of a metric that has a threshold. `chance`: how often a verdict of worse may be a coincidence.

    Worse is what is both certain and relevant.
    """
    means = fmean(new) if new else None, fmean(others) if others else None
    if means[0] is None or means[1] is None or min(len(new), len(others)) < LEAST_SAMPLES:
        return Comparison(metric, *means, len(new), Beside.UNKNOWN)
    sign = 1 if metric.direction is Direction.ABOVE else -1
    relevant = max(RELEVANT * abs(means[1]), RELEVANT_OF_THRESHOLD * abs(metric.threshold or 0))
    is_relevant = sign * (means[0] - means[1]) > relevant
    is_certain = is_relevant and larger([sign * one for one in new], [sign * one for one in others]) < chance
    return Comparison(metric, *means, len(new), Beside.WORSE if is_certain else Beside.ALIKE)


def chance_of_each(looks: int, metrics: int) -> float:
    """Return how often each of so many looks at each of so many metrics may be wrong."""
    return WRONG / max(looks * metrics, 1)


def requests_needed(metrics: Iterable[MetricDefinition]) -> int:
    """Return how many requests of the new version can show what a threshold forbids: LEAST_EVENTS of them would."""
    shares = [TAIL, *(one.threshold / 100 for one in metrics if one.unit == "%" and one.threshold)]
    return math.ceil(LEAST_EVENTS / min(shares))


def larger(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the probability that `first` would be so much larger than `second` if both came from the same source.

    1 if all values are the same, or there are none of one of them.
    """
    counts = sorted(Counter([*first, *second]).items())
    size, total = len(first) * len(second), len(first) + len(second)
    # Values that are the same share the mean of their ranks.
    ends = accumulate(count for _, count in counts)
    ranks = {value: end - (count - 1) / 2 for (value, count), end in zip(counts, ends, strict=True)}
    u = sum(ranks[value] for value in first) - len(first) * (len(first) + 1) / 2
    ties = sum(count**3 - count for _, count in counts)
    if not size or (variance := size / 12 * ((total + 1) - ties / (total * (total - 1)))) <= 0:
        return 1.0
    return NormalDist().cdf(-(u - size / 2 - 0.5) / math.sqrt(variance))
