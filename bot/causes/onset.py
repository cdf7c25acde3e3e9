"""When a series shifted: the most likely moment, how far and how suddenly.

The scan compares the mean of all that comes after a moment with the mean of all that came before it, for each moment,
in units of the series' own noise; the moment at which they differ most is the onset. It is the test for one shift of
the mean of A. Sen and M. S. Srivastava, *On tests for detecting change in mean*, The Annals of Statistics 3 (1975).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bot.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
else:
    np = LazyModule("numpy")
    Floats: TypeAlias = Any

MARGIN = 20  # samples that the time before an onset must have
TO_SIGMA = 1 / 0.954  # the median of |x - y| of two normal values is 0.954 sigma
JUST_BEFORE = 100  # samples whose median is the level before
JUST_NOW = 6  # samples whose median is the level after


@dataclass(frozen=True, slots=True)
class Onset:
    """A shift: `size` is the level now minus the level before, `strength` is in units of the noise.

    `ago` is in samples before the last one; `sudden` is the share of the size that came at once, 0 to 1.
    """

    strength: float
    size: float
    ago: int
    sudden: float


NO_ONSET = Onset(0.0, 0.0, 0, 0.0)


def onset(values: Floats, noise: float) -> Onset:
    """Return the most likely shift of a series with gaps (NaN); `noise` is the least of its noise."""
    return onsets(values[None], noise)[0]


def onsets(rows: Floats, noise: float) -> Sequence[Onset]:
    """Return the most likely shift of each row. A row with too few samples has none."""
    count = rows.shape[1]
    if count < MARGIN + 2:
        return [NO_ONSET] * len(rows)
    known = np.isfinite(rows)
    total, number = np.where(known, rows, 0.0).cumsum(1), known.cumsum(1)
    steps = np.abs(np.diff(rows, axis=1))
    at = np.arange(MARGIN, count - 1)
    before, after = number[:, at - 1], number[:, -1:] - number[:, at - 1]
    with np.errstate(all="ignore"):
        sigma = np.maximum([_median(row) * TO_SIGMA for row in steps], noise)[:, None]
        difference = (total[:, -1:] - total[:, at - 1]) / after - total[:, at - 1] / before
        strength = np.abs(difference) / sigma * np.sqrt(before * after / (before + after))
    strength = np.where((before > 5) & (after > 1), strength, 0.0)
    best = strength.argmax(1)
    return [
        _onset(row, int(at[moment]), float(strength[i, moment]))
        for i, (row, moment) in enumerate(zip(rows, best, strict=True))
    ]


def _onset(row: Floats, at: int, strength: float) -> Onset:
    count = len(row)
    level = _median(row[max(0, at - JUST_BEFORE) : at])
    now = _median(row[max(at, count - JUST_NOW) :])
    size = now - level
    if not np.isfinite(size) or not strength:
        return NO_ONSET
    jump = _median(row[at : at + 3]) - _median(row[max(0, at - 4) : at])
    sudden = abs(jump) / abs(size) if size and np.isfinite(jump) else 0.0
    return Onset(strength, float(size), count - at, min(float(sudden), 1.0))


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
