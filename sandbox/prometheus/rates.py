"""Functions over ranges that look at how a series moves: rate, increase, delta, irate, idelta, deriv, …

Each takes a window and gives the values and where there are any. The extrapolation is that of Prometheus 3
(promql/functions.go, extrapolatedRate).
"""

import numpy as np

from sandbox.prometheus.tsdb import Flags, Floats, Times
from sandbox.prometheus.values import Window

Column = tuple[Floats, Flags]


def rate(window: Window) -> Column:
    """Increase a second of a counter."""
    values, present = increase(window)
    return values / ((window.closes - window.opens) / 1000), present


def increase(window: Window) -> Column:
    """Growth of a counter over the range, resets taken out, extrapolated to the range's ends."""
    return _extrapolated(window, counter=True)


def delta(window: Window) -> Column:
    """Difference of a gauge between the range's ends, extrapolated to them."""
    return _extrapolated(window, counter=False)


def irate(window: Window) -> Column:
    """Increase a second between the last two samples of a counter."""
    before, last, seconds, present = _last_two(window)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(last < before, last, last - before) / seconds, present


def idelta(window: Window) -> Column:
    """Difference between the last two samples of a gauge."""
    before, last, _, present = _last_two(window)
    return last - before, present


def resets(window: Window) -> Column:
    """How often a counter fell."""
    return _count_between(window, window.values[1:] < window.values[:-1])


def changes(window: Window) -> Column:
    """How often the value changed; from NaN to NaN is no change."""
    before, after = window.values[:-1], window.values[1:]
    return _count_between(window, (before != after) & ~(np.isnan(before) & np.isnan(after)))


def deriv(window: Window) -> Column:
    """Slope a second of the least-squares line."""
    origins = window.times[np.minimum(window.first, len(window.times) - 1)]
    slopes, _, present = _lines(window, origins)
    return slopes, present


def predict_linear(window: Window, steps: Times, ahead: Floats) -> Column:
    """The least-squares line's value `ahead` seconds after the step."""
    slopes, values, present = _lines(window, steps)
    return values + slopes * ahead, present


def _extrapolated(window: Window, *, counter: bool) -> Column:
    present = window.counts >= 2
    first, last = _ends(window, present)
    times, values = window.times, window.values
    growth = values[last] - values[first]
    if counter:
        lost = np.zeros(len(values))
        lost[1:] = np.where(values[1:] < values[:-1], values[:-1], 0.0)
        growth = growth + reduced(np.add, lost, first + 1, last + 1)
    sampled = (times[last] - times[first]) / 1000
    with np.errstate(divide="ignore", invalid="ignore"):
        between = sampled / np.maximum(window.counts - 1, 1)
        to_start = (times[first] - window.opens) / 1000
        to_end = (window.closes - times[last]) / 1000
        to_start = np.where(to_start >= between * 1.1, between / 2, to_start)
        to_end = np.where(to_end >= between * 1.1, between / 2, to_end)
        if counter:  # a counter cannot have been below zero: do not extrapolate beyond where it was zero
            to_zero = np.where((growth > 0) & (values[first] >= 0), sampled * (values[first] / growth), to_start)
            to_start = np.fmin(to_start, to_zero)
        return growth * ((sampled + to_start + to_end) / sampled), present


def reduced(ufunc: np.ufunc, values: Floats, first: Times, last: Times) -> Floats:
    """`ufunc` over values[first:last], one slice a step; 0 for an empty one."""
    padded = np.append(values, 0.0)  # reduceat must not be asked for an index beyond the end
    result: Floats = ufunc.reduceat(padded, np.column_stack([first, last]).ravel())[::2]
    return np.where(last > first, result, 0.0)


def _ends(window: Window, present: Flags) -> tuple[Times, Times]:
    """Indexes of the first and the last sample of each window; 0 where there are too few."""
    return np.where(present, window.first, 0), np.where(present, window.last - 1, 0)


def _last_two(window: Window) -> tuple[Floats, Floats, Floats, Flags]:
    present = window.counts >= 2
    _, last = _ends(window, present)
    before = np.where(present, last - 1, 0)
    seconds = (window.times[last] - window.times[before]) / 1000
    return window.values[before], window.values[last], seconds, present


def _count_between(window: Window, events: Flags) -> Column:
    """Count events, one for each pair of neighbouring samples, within each window."""
    present = window.counts >= 1
    first, last = _ends(window, present)
    total = np.concatenate([[0], np.cumsum(events)])
    return (total[last] - total[first]).astype(np.float64), present


def _lines(window: Window, origins: Times) -> tuple[Floats, Floats, Flags]:
    """Least-squares lines: slope a second, value at the origin (ms), and where there are two samples."""
    present = window.counts >= 2
    slopes, values = np.zeros(len(present)), np.zeros(len(present))
    for step in np.flatnonzero(present):
        samples = slice(window.first[step], window.last[step])
        y = window.values[samples]
        if (y == y[0]).all():
            slopes[step], values[step] = (0.0, y[0]) if np.isfinite(y[0]) else (np.nan, np.nan)
            continue
        x = (window.times[samples] - origins[step]) / 1000
        x_off, y_off = x - x.mean(), y - y.mean()
        slopes[step] = (x_off * y_off).sum() / (x_off * x_off).sum()
        values[step] = y.mean() - slopes[step] * x.mean()
    return slopes, values, present
