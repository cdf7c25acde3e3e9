"""Samples in memory: series by name and labels, as Prometheus stores them.

Times are integer milliseconds since the epoch, values are floats. A series that has ended carries Prometheus'
stale marker, one certain NaN (prometheus/model/value, StaleNaN), so that it disappears from answers at once.
"""

import struct
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Labels = Mapping[str, str]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NAME = "__name__"
STALE_BITS = 0x7FF0000000000002
STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]


class Series:
    """The samples of one series, in rising order of time; `labels` include `__name__`."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.order = sorted(labels.items())
        self._times: Times = np.empty(64, np.int64)
        self._values: Floats = np.empty(64, np.float64)
        self._count = 0
        self._newest = -(2**63)

    @property
    def times(self) -> Times:
        return self._times[: self._count]

    @property
    def values(self) -> Floats:
        return self._values[: self._count]

    def between(self, after: int, until: int) -> tuple[Times, Floats]:
        """Times and values of the samples later than `after` and not later than `until`, in ms."""
        times = self.times
        if not len(times) or times[-1] <= after:
            return times[:0], self.values[:0]
        first, last = np.searchsorted(times, (after, until), side="right")
        return times[first:last], self.values[first:last]

    def append(self, at: int, value: float) -> None:
        """Add a sample at `at` ms, which must be later than the last one (ValueError)."""
        self._make_room(at, 1)
        self._times[self._count] = at
        self._values[self._count] = value
        self._count += 1
        self._newest = at

    def extend(self, times: Times, values: Floats) -> None:
        """Add samples in rising order of time, all later than the last one (ValueError)."""
        if not len(times):
            return
        self._make_room(int(times[0]), len(times))
        added = slice(self._count, self._count + len(times))
        self._times[added], self._values[added] = times, values
        self._count += len(times)
        self._newest = int(times[-1])

    def _make_room(self, at: int, samples: int) -> None:
        if at <= self._newest:
            raise ValueError(f"out of order sample at {at} for {dict(self.labels)}")
        needed = self._count + samples
        if needed > len(self._times):
            more = max(len(self._times), needed - len(self._times))
            self._times = np.concatenate([self._times, np.empty(more, np.int64)])
            self._values = np.concatenate([self._values, np.empty(more, np.float64)])

    def end(self, at: int) -> None:
        """End the series at `at` ms with a stale marker."""
        self.append(at, STALE)

    def drop_before(self, before: int) -> None:
        """Drop the samples that are older than `before` ms."""
        kept = int(np.searchsorted(self.times, before))
        self._times, self._values = self._times[kept:].copy(), self._values[kept:].copy()
        self._count -= kept
        if not len(self._times):
            self._times, self._values = np.empty(64, np.int64), np.empty(64, np.float64)


class Tsdb:
    """All series, found by their labels."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[frozenset[tuple[str, str]], Series]] = {}

    def series(self, name: str, labels: Labels) -> Series:
        """Return the series of this name and these labels; create it if needed. Empty labels are ignored."""
        nonempty = {key: value for key, value in labels.items() if value}
        family = self._by_name.setdefault(name, {})
        key = frozenset(nonempty.items())
        if key not in family:
            family[key] = Series({NAME: name, **nonempty})
        return family[key]

    def __iter__(self) -> Iterator[Series]:
        for family in self._by_name.values():
            yield from family.values()

    def select(self, name: str | None, fits: Callable[[Labels], bool]) -> list[Series]:
        """Return the series called `name` (None: any name) whose labels fit, ordered by their labels."""
        families = list(self._by_name.values()) if name is None else [self._by_name.get(name, {})]
        selected = [series for family in families for series in family.values() if fits(series.labels)]
        return sorted(selected, key=lambda series: series.order)

    def drop_before(self, before: int) -> None:
        """Drop all samples older than `before` ms. Empty series are kept, since their sources go on writing to them."""
        for series in self:
            series.drop_before(before)
