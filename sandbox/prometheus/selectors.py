"""Selectors: which series, and which of their samples at each step."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache

import numpy as np
import promql_parser as promql

from sandbox.prometheus.errors import bad_data
from sandbox.prometheus.tsdb import NAME, STALE_BITS, Flags, Floats, Labels, Times
from sandbox.prometheus.values import Context, RangeVector, Vector, Window, empty

MILLISECOND = timedelta(milliseconds=1)


def milliseconds(duration: timedelta) -> int:
    return duration // MILLISECOND


@lru_cache(maxsize=1024)
def pattern(text: str) -> re.Pattern[str]:
    """A regular expression of PromQL, to be used with `fullmatch`. QueryError when it is none."""
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise bad_data(f"error parsing regexp: {error}: `{text}`") from None


def matching(selector: promql.VectorSelector) -> tuple[str | None, Callable[[Labels], bool]]:
    """The metric's name, where the selector names one, and the test that a series' labels must pass."""
    if selector.matchers.or_matchers:
        raise bad_data('parse error: unexpected identifier "or" in label matching, expected "," or "}"')
    name = selector.name
    tests: list[Callable[[Labels], bool]] = []
    for matcher in selector.matchers.matchers:
        if matcher.name == NAME and matcher.op == promql.MatchOp.Equal:
            name = matcher.value
        else:
            tests.append(_test(matcher))
    return name, lambda labels: all(test(labels) for test in tests)


def _test(matcher: promql.Matcher) -> Callable[[Labels], bool]:
    name, value = matcher.name, matcher.value
    if matcher.op == promql.MatchOp.Equal:
        return lambda labels: labels.get(name, "") == value
    if matcher.op == promql.MatchOp.NotEqual:
        return lambda labels: labels.get(name, "") != value
    expression = pattern(value)
    if matcher.op == promql.MatchOp.Re:
        return lambda labels: expression.fullmatch(labels.get(name, "")) is not None
    return lambda labels: expression.fullmatch(labels.get(name, "")) is None


def evaluation_times(context: Context, at: promql.AtModifier | None, offset: timedelta | None) -> Times:
    """The times in ms that a selector looks at, one a step, after `@` and `offset`."""
    times = context.steps
    if at is not None:
        times = np.full_like(times, _moment(at, context))
    return times - milliseconds(offset) if offset is not None else times


def _moment(at: promql.AtModifier, context: Context) -> int:
    if at.type == promql.AtModifierType.Start:
        return context.start
    if at.type == promql.AtModifierType.End:
        return context.end
    try:
        moment = at.at
    except BaseException as error:  # the parser panics on times before 1970, and a panic is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise bad_data("parse error: timestamp out of bounds for @ modifier") from None
    assert moment is not None  # noqa: S101 - the third kind of @ always has a time
    return round(moment.timestamp() * 1000)


def instant(selector: promql.VectorSelector, context: Context) -> tuple[Vector, Floats]:
    """The newest sample at each step, not older than the lookback, and those samples' times in seconds."""
    times = evaluation_times(context, selector.at, selector.offset)
    found = context.tsdb.select(*matching(selector))
    if not found:
        return empty(len(times)), np.empty((0, len(times)))
    shape = (len(found), len(times))
    values, moments, present = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.bool_)
    for row, series in enumerate(found):
        if not len(series.times):
            continue
        newest = np.searchsorted(series.times, times, side="right") - 1
        at = series.times[newest]
        values[row] = series.values[newest]
        moments[row] = at / 1000
        present[row] = (newest >= 0) & (at > times - context.lookback) & ~stale(values[row])
    kept = np.flatnonzero(present.any(axis=1))
    labels = [found[row].labels for row in kept]
    return Vector(labels, values[kept], present[kept]), moments[kept]


def ranges(selector: promql.MatrixSelector, context: Context) -> RangeVector:
    """For each step the samples of the range before it; the range is open on the left, as in Prometheus 3."""
    closes = evaluation_times(context, selector.vector_selector.at, selector.vector_selector.offset)
    opens = closes - milliseconds(selector.range)
    earliest, latest = opens.min(), closes.max()
    made = []
    for series in context.tsdb.select(*matching(selector.vector_selector)):
        times, values = series.between(earliest, latest)
        if not len(times):
            continue
        gone = stale(values)
        if gone.any():
            times, values = times[~gone], values[~gone]
        made.append(window(series.labels, times, values, opens, closes))
    return RangeVector([each for each in made if each.counts.any()])


def window(labels: Labels, times: Times, values: Floats, opens: Times, closes: Times) -> Window:
    """The windows (opens, closes] over one series' samples."""
    first = np.searchsorted(times, opens, side="right")
    last = np.searchsorted(times, closes, side="right")
    return Window(labels, times, values, first, last, opens, closes)


def stale(values: Floats) -> Flags:
    """Where the values are stale markers."""
    return np.equal(np.ascontiguousarray(values).view(np.uint64), STALE_BITS)
