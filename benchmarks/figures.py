"""What a benchmark gives: figures, each beside the bar that it has to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `limit` is the most that the bar allows, in the same unit; None where it allows anything."""

    bar: str  # the row of the bars that it belongs to
    what: str
    value: float | None  # None: it could not be measured, and `note` says why
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.limit is None:
            return "no bar"
        return "reached" if self.value <= self.limit else "missed"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed (nearest rank). ValueError without values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)
