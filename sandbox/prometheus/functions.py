"""The functions of PromQL, by name.

A function over a range takes one series' windows and gives its values and where there are any, one a step.
"""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from sandbox.prometheus.literals import pattern
from sandbox.prometheus.tsdb import Flags, Floats, Labels, Times
from sandbox.prometheus.values import (
    Context,
    RangeVector,
    Scalar,
    Text,
    Value,
    Vector,
    Window,
    execution,
    rows,
    somewhere,
    unnamed,
    unsupported,
    vector,
)

Column = tuple[Floats, Flags]
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def call(name: str, arguments: Sequence[Value], context: Context) -> Value:
    """Return `name(arguments)`. Raises QueryError for an unsupported function or an argument of a wrong type."""
    with np.errstate(all="ignore"):
        if name in RATES:
            return _rates(arguments[0], RATES[name], context)
        if name in OVER_RANGES:
            return _over_range(arguments[0], OVER_RANGES[name], context, keep_name=name in KEEP_NAME)
        if name in ELEMENTWISE:
            return _map_values(vector_of(arguments[0]), ELEMENTWISE[name])
        if name in CALENDAR:
            return _calendar(CALENDAR[name], arguments, context)
        if name not in OTHERS:
            raise unsupported(f"the function {name}")
        return OTHERS[name](arguments, context)


def vector_of(value: Value) -> Vector:
    if isinstance(value, Vector):
        return value
    raise execution("an instant vector was expected")


def _numbers(value: Value) -> Floats:
    if isinstance(value, Scalar):
        return value.values
    raise execution("a scalar was expected")


def _texts(values: Sequence[Value]) -> list[str]:
    texts = [value.value for value in values if isinstance(value, Text)]
    if len(texts) != len(values):
        raise execution("a string was expected")
    return texts


def _over_range(
    value: Value, summary: Callable[[Window], Column], context: Context, *, keep_name: bool = False
) -> Vector:
    if not isinstance(value, RangeVector):
        raise execution("a range vector was expected")
    return rows(
        ((window.labels if keep_name else unnamed(window.labels), *summary(window)) for window in value.windows),
        len(context.steps),
    )


def _rates(value: Value, rate_of: Callable[[Window], Column], context: Context) -> Vector:
    """Compute a rate of many series at a time, all that have their samples at the same moments."""
    if not isinstance(value, RangeVector):
        raise execution("a range vector was expected")
    alike: dict[int, list[int]] = {}
    for number, window in enumerate(value.windows):
        alike.setdefault(id(window.times), []).append(number)
    made: dict[int, tuple[Labels, Floats, Flags]] = {}
    for numbers in alike.values():
        windows = [value.windows[number] for number in numbers]
        values, present = rate_of(replace(windows[0], values=np.array([window.values for window in windows])))
        for number, window, row in zip(numbers, windows, values, strict=True):
            made[number] = (unnamed(window.labels), row, present)
    return rows((made[number] for number in range(len(made))), len(context.steps))


def _map_values(operand: Vector, change: Callable[[Floats], Floats]) -> Vector:
    return Vector(operand.labels, change(operand.values), operand.present).without_name()


# Of ranges: how a series moves. The extrapolation is that of Prometheus 3 (promql/functions.go, extrapolatedRate); the
# window of a rate has a row of values for each of several series.


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
    begin = values[:, first]
    growth = values[:, last] - begin
    if counter:
        fell = values[:, 1:] < values[:, :-1]
        if fell.any():
            lost = np.zeros(values.shape)
            lost[:, 1:] = np.where(fell, values[:, :-1], 0.0)
            growth = growth + [reduced(np.add, row, first + 1, last + 1) for row in lost]
    sampled = (times[last] - times[first]) / 1000
    with np.errstate(divide="ignore", invalid="ignore"):
        between = sampled / np.maximum(window.counts - 1, 1)
        to_start = (times[first] - window.opens) / 1000
        to_end = (window.closes - times[last]) / 1000
        to_start = np.where(to_start >= between * 1.1, between / 2, to_start)
        to_end = np.where(to_end >= between * 1.1, between / 2, to_end)
        if counter:  # a counter cannot have been below zero: do not extrapolate beyond where it was zero
            to_zero = np.where((growth > 0) & (begin >= 0), sampled * (begin / growth), to_start)
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


# Of ranges: the samples summed up.


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


def stddev_over_time(window: Window) -> Column:
    return _per_window(window, lambda values: float(np.std(values)))


def stdvar_over_time(window: Window) -> Column:
    return _per_window(window, lambda values: float(np.var(values)))


def quantile_over_time(window: Window, phi: Floats) -> Column:
    """The phi-quantile of each window, linear between samples; phi has one value a step."""
    values, present = np.zeros(len(phi)), window.counts > 0
    for step in np.flatnonzero(present):
        samples = window.values[window.first[step] : window.last[step]]
        values[step] = quantile(float(phi[step]), samples)
    return values, present


def _per_window(window: Window, summary: Callable[[Floats], float]) -> Column:
    values, present = np.zeros(len(window.counts)), window.counts > 0
    with np.errstate(invalid="ignore"):
        for step in np.flatnonzero(present):
            values[step] = summary(window.values[window.first[step] : window.last[step]])
    return values, present


# Quantiles, as in promql/quantile.go.


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
        result[steps] = _interpolate(phi[steps], bounds[there], counts[np.ix_(there, steps)])
    return result


def _interpolate(phi: Floats, bounds: Floats, counts: Floats) -> Floats:
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


# Of labels.


def label_replace(operand: Vector, target: str, replacement: str, source: str, expression: str) -> Vector:
    """Set `target` from `source` where the expression matches it whole; `$1` and `${name}` are its groups."""
    compiled = pattern(expression)
    _check_label_name(target, "label_replace")

    def replaced(labels: Labels) -> Labels:
        match = compiled.fullmatch(labels.get(source, ""))
        return labels if match is None else _with_label(labels, target, _expand(replacement, match))

    return vector([replaced(labels) for labels in operand.labels], operand.values, operand.present)


def label_join(operand: Vector, target: str, separator: str, *sources: str) -> Vector:
    """Set `target` to the values of the labels `sources`, joined."""
    _check_label_name(target, "label_join")
    joined = [
        _with_label(labels, target, separator.join(labels.get(source, "") for source in sources))
        for labels in operand.labels
    ]
    return vector(joined, operand.values, operand.present)


def _check_label_name(target: str, function: str) -> None:
    if not LABEL_NAME.fullmatch(target):
        raise execution(f'invalid destination label name in {function}(): "{target}"')


def _with_label(labels: Labels, name: str, value: str) -> Labels:
    rest = {key: kept for key, kept in labels.items() if key != name}
    return {**rest, name: value} if value else rest


def _expand(template: str, match: re.Match[str]) -> str:
    """Go's Regexp.Expand: an unknown group is empty, `$$` is a dollar."""

    def group(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return REFERENCE.sub(group, template)


# Of instant vectors and scalars.


def _scalar(arguments: Sequence[Value], _: Context) -> Scalar:
    operand = vector_of(arguments[0])
    single = operand.present.sum(axis=0) == 1
    return Scalar(np.where(single, np.where(operand.present, operand.values, 0.0).sum(axis=0), math.nan))


def _vector(arguments: Sequence[Value], _: Context) -> Vector:
    values = _numbers(arguments[0])
    return Vector([{}], values[np.newaxis, :], np.ones((1, len(values)), np.bool_))


def _round(arguments: Sequence[Value], _: Context) -> Vector:
    to = _numbers(arguments[1]) if len(arguments) > 1 else np.array(1.0)
    return _map_values(vector_of(arguments[0]), lambda values: np.floor(values * (1 / to) + 0.5) / (1 / to))


def _clamp(arguments: Sequence[Value], _: Context) -> Vector:
    operand, low, high = vector_of(arguments[0]), _numbers(arguments[1]), _numbers(arguments[2])
    clamped = _map_values(operand, lambda values: np.maximum(low, np.minimum(high, values)))
    return clamped.only(clamped.present & ~(low > high))


def _clamp_min(arguments: Sequence[Value], _: Context) -> Vector:
    low = _numbers(arguments[1])
    return _map_values(vector_of(arguments[0]), lambda values: np.maximum(low, values))


def _clamp_max(arguments: Sequence[Value], _: Context) -> Vector:
    high = _numbers(arguments[1])
    return _map_values(vector_of(arguments[0]), lambda values: np.minimum(high, values))


def _sort(arguments: Sequence[Value], _: Context, *, descending: bool) -> Vector:
    """Only an instant query's answer has an order; NaN comes last."""
    operand = vector_of(arguments[0])
    if operand.steps != 1:
        return operand
    keys = operand.values[:, 0]
    order = np.argsort(-keys if descending else keys, kind="stable")
    return Vector([operand.labels[row] for row in order], operand.values[order], operand.present[order])


def _calendar(part: Callable[[datetime], int], arguments: Sequence[Value], context: Context) -> Vector:
    def parts(values: Floats) -> Floats:
        return np.vectorize(part_of, otypes=[np.float64])(values) if values.size else values

    def part_of(seconds: float) -> float:
        return part(datetime.fromtimestamp(int(seconds), UTC)) if math.isfinite(seconds) else math.nan

    operand = vector_of(arguments[0]) if arguments else _vector([Scalar(context.steps / 1000)], context)
    return _map_values(operand, parts)


# The functions by their names.

RATES: dict[str, Callable[[Window], Column]] = {"rate": rate, "increase": increase, "delta": delta}
OVER_RANGES: dict[str, Callable[[Window], Column]] = {
    "irate": irate,
    "idelta": idelta,
    "deriv": deriv,
    "resets": resets,
    "changes": changes,
    "sum_over_time": sum_over_time,
    "avg_over_time": avg_over_time,
    "min_over_time": min_over_time,
    "max_over_time": max_over_time,
    "count_over_time": count_over_time,
    "present_over_time": present_over_time,
    "stddev_over_time": stddev_over_time,
    "stdvar_over_time": stdvar_over_time,
    "last_over_time": last_over_time,
}
KEEP_NAME = ("last_over_time",)

ELEMENTWISE: dict[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sgn": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "deg": np.degrees,
    "rad": np.radians,
}

CALENDAR: dict[str, Callable[[datetime], int]] = {
    "minute": lambda at: at.minute,
    "hour": lambda at: at.hour,
    "day_of_week": lambda at: at.isoweekday() % 7,
    "day_of_month": lambda at: at.day,
    "day_of_year": lambda at: at.timetuple().tm_yday,
    "days_in_month": lambda at: calendar.monthrange(at.year, at.month)[1],
    "month": lambda at: at.month,
    "year": lambda at: at.year,
}

OTHERS: dict[str, Callable[[Sequence[Value], Context], Value]] = {
    "time": lambda _, context: Scalar(context.steps / 1000),
    "pi": lambda _, context: Scalar(np.full(len(context.steps), math.pi)),
    "scalar": _scalar,
    "vector": _vector,
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "sort": lambda arguments, context: _sort(arguments, context, descending=False),
    "sort_desc": lambda arguments, context: _sort(arguments, context, descending=True),
    "quantile_over_time": lambda arguments, context: _over_range(
        arguments[1], partial(quantile_over_time, phi=_numbers(arguments[0])), context
    ),
    "predict_linear": lambda arguments, context: _over_range(
        arguments[0], partial(predict_linear, steps=context.steps, ahead=_numbers(arguments[1])), context
    ),
    "histogram_quantile": lambda arguments, _: histogram_quantile(_numbers(arguments[0]), vector_of(arguments[1])),
    "label_replace": lambda arguments, _: label_replace(vector_of(arguments[0]), *_texts(arguments[1:])),
    "label_join": lambda arguments, _: label_join(vector_of(arguments[0]), *_texts(arguments[1:])),
}
