"""Functions over ranges that sum up a series' samples: avg_over_time and its like.

Each takes a window and gives the values and where there are any.
"""

from collections.abc import Callable

import numpy as np

from sandbox.prometheus.quantiles import quantile
from sandbox.prometheus.rates import Column, reduced
from sandbox.prometheus.tsdb import Floats
from sandbox.prometheus.values import Window


def sum_over_time(window: Window) -> Column:
    return reduced(np.add, window.values, window.first, window.last), window.counts > 0


def avg_over_time(window: Window) -> Column:
    return reduced(np.add, window.values, window.first, window.last) / np.maximum(window.counts, 1), window.counts > 0


def min_over_time(window: Window) -> Column:
    return reduced(np.fmin, window.values, window.first, window.last), window.counts > 0


def max_over_time(window: Window) -> Column:
    return reduced(np.fmax, window.values, window.first, window.last), window.counts > 0


def count_over_time(window: Window) -> Column:
    return window.counts.astype(np.float64), window.counts > 0


def present_over_time(window: Window) -> Column:
    return np.ones(len(window.counts)), window.counts > 0


def last_over_time(window: Window) -> Column:
    return window.values[np.maximum(window.last - 1, 0)], window.counts > 0


def first_over_time(window: Window) -> Column:
    return window.values[np.minimum(window.first, len(window.values) - 1)], window.counts > 0


def stddev_over_time(window: Window) -> Column:
    return _each(window, lambda values: float(np.std(values)))


def stdvar_over_time(window: Window) -> Column:
    return _each(window, lambda values: float(np.var(values)))


def quantile_over_time(window: Window, phi: Floats) -> Column:
    """The phi-quantile of each window, linear between samples; phi has one value a step."""
    values, present = np.zeros(len(phi)), window.counts > 0
    for step in np.flatnonzero(present):
        samples = window.values[window.first[step] : window.last[step]]
        values[step] = quantile(float(phi[step]), samples)
    return values, present


def _each(window: Window, summary: Callable[[Floats], float]) -> Column:
    values, present = np.zeros(len(window.counts)), window.counts > 0
    with np.errstate(invalid="ignore"):
        for step in np.flatnonzero(present):
            values[step] = summary(window.values[window.first[step] : window.last[step]])
    return values, present
