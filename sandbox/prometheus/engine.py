"""PromQL: parse a query and evaluate its syntax tree. Functions and operators have modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import promql_parser as promql

from sandbox.prometheus.functions import call, vector_of
from sandbox.prometheus.literals import milliseconds, pattern
from sandbox.prometheus.operators import aggregate, binary
from sandbox.prometheus.tsdb import NAME, STALE_BITS, Flags, Floats, Labels, Times, Tsdb
from sandbox.prometheus.values import (
    Context,
    RangeVector,
    Scalar,
    Text,
    Value,
    Vector,
    Window,
    bad_data,
    empty,
    execution,
    somewhere,
    unsupported,
)

MAX_DEPTH = 100  # nested brackets; some thousands of them overflow the parser's stack and end the process
MAX_LENGTH = 3_000  # characters; some thousands of signs or operators in a row overflow it as well
MAX_POINTS = 11_000


def parse(query: str) -> promql.Expr:
    """Parse a query. Raises QueryError (bad_data) when it is not PromQL."""
    depth = deepest = 0
    for character in query:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH or len(query) > MAX_LENGTH:
        raise bad_data('invalid parameter "query": parse error: the expression is too long or too deeply nested')
    try:
        return promql.parse(query)
    except ValueError as error:
        raise bad_data(f'invalid parameter "query": parse error: {error}') from None


def query(tsdb: Tsdb, text: str, at: int) -> Value:
    """Evaluate at one time (ms). Raises QueryError."""
    return _evaluate_query(parse(text), Context(tsdb, np.array([at], np.int64), at, at))


def query_range(tsdb: Tsdb, text: str, start: int, end: int, step: int) -> Scalar | Vector:
    """Evaluate from `start` to `end` every `step`, all in ms. Raises QueryError."""
    if end < start:
        raise bad_data('invalid parameter "end": end timestamp must not be before start time')
    if step <= 0:
        raise bad_data(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer"
        )
    if (end - start) // step > MAX_POINTS:
        raise bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    expression = parse(text)
    steps = np.arange(start, end + 1, step, dtype=np.int64)
    value = _evaluate_query(expression, Context(tsdb, steps, start, end))
    if isinstance(value, Scalar | Vector):
        return value
    kind = "range vector" if isinstance(value, RangeVector) else "string"
    raise bad_data(
        f'invalid parameter "query": invalid expression type "{kind}" for range query, must be Scalar or instant Vector'
    )


def _evaluate_query(expression: promql.Expr, context: Context) -> Value:
    try:
        return evaluate(expression, context)
    except RecursionError:
        raise bad_data('invalid parameter "query": the expression is too deeply nested') from None


def evaluate(expression: Any, context: Context) -> Value:
    """The value of a syntax tree at the context's steps."""
    match expression:
        case promql.NumberLiteral():
            return Scalar(np.full(len(context.steps), expression.val))
        case promql.StringLiteral():
            return Text(expression.val)
        case promql.ParenExpr():
            return evaluate(expression.expr, context)
        case promql.UnaryExpr():
            return _negate(evaluate(expression.expr, context))
        case promql.VectorSelector():
            return instant(expression, context)[0]
        case promql.MatrixSelector():
            return ranges(expression, context)
        case promql.SubqueryExpr():
            return _subquery(expression, context)
        case promql.AggregateExpr():
            operand = vector_of(evaluate(expression.expr, context))
            param = None if expression.param is None else evaluate(expression.param, context)
            return aggregate(str(expression.op), operand, param, expression.modifier)
        case promql.BinaryExpr():
            return _binary(expression, context)
        case promql.Call():
            return _call(expression, context)
    raise unsupported(f"a {type(expression).__name__}")


def _negate(value: Value) -> Value:
    if isinstance(value, Scalar):
        return Scalar(-value.values)
    operand = vector_of(value)
    return Vector(operand.labels, -operand.values, operand.present).without_name()


def _binary(expression: promql.BinaryExpr, context: Context) -> Value:
    left, right = evaluate(expression.lhs, context), evaluate(expression.rhs, context)
    operator = str(expression.op)
    if operator == "^" and isinstance(expression.lhs, promql.NumberLiteral) and expression.lhs.val < 0:
        # the parser takes -1 ^ 2 for (-1) ^ 2, but the sign binds weaker than the power
        return _negate(binary(operator, _negate(left), right, expression.modifier))
    return binary(operator, left, right, expression.modifier)


def _call(expression: promql.Call, context: Context) -> Value:
    name, arguments = expression.func.name, expression.args
    if name in ("absent", "absent_over_time"):
        return _absent(arguments[0], context)
    if name == "timestamp":
        return _timestamp(arguments[0], context)
    return call(name, [evaluate(argument, context) for argument in arguments], context)


def _timestamp(argument: Any, context: Context) -> Vector:
    """Return the time of each sample, or the time of the step when the argument is not a plain selector."""
    while isinstance(argument, promql.ParenExpr):
        argument = argument.expr
    if isinstance(argument, promql.VectorSelector):
        operand, times = instant(argument, context)
    else:
        operand = vector_of(evaluate(argument, context))
        times = np.broadcast_to(context.steps / 1000, operand.values.shape)
    return Vector(operand.labels, times, operand.present).without_name()


def _absent(argument: Any, context: Context) -> Vector:
    """Return 1 where the argument has no element, with the labels of its selector's equality matchers."""
    value = evaluate(argument, context)
    present = np.zeros(len(context.steps), np.bool_)
    if isinstance(value, RangeVector):
        for window in value.windows:
            present |= window.counts > 0
    else:
        present = somewhere(vector_of(value).present)
    if present.all():
        return empty(len(context.steps))
    return Vector([_equality_labels(argument)], np.ones((1, len(present))), ~present[np.newaxis, :])


def _equality_labels(argument: Any) -> Labels:
    while isinstance(argument, promql.ParenExpr):
        argument = argument.expr
    if isinstance(argument, promql.MatrixSelector):
        argument = argument.vector_selector
    if not isinstance(argument, promql.VectorSelector):
        return {}
    matchers: Sequence[promql.Matcher] = argument.matchers.matchers
    named = [matcher.name for matcher in matchers]
    return {
        matcher.name: matcher.value
        for matcher in matchers
        if matcher.op == promql.MatchOp.Equal and matcher.name != NAME and named.count(matcher.name) == 1
    }


# Selectors: which series, and which of their samples at each step.


def instant(selector: promql.VectorSelector, context: Context) -> tuple[Vector, Floats]:
    """Return the newest sample at each step, not older than the lookback, and the samples' times in seconds."""
    times = evaluation_times(context, selector.at, selector.offset)
    selected = context.tsdb.select(*matching(selector))
    if not selected:
        return empty(len(times)), np.empty((0, len(times)))
    shape = (len(selected), len(times))
    values, sample_times, present = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.bool_)
    for row, series in enumerate(selected):
        if not len(series.times):
            continue
        newest = np.searchsorted(series.times, times, side="right") - 1
        at = series.times[newest]
        values[row] = series.values[newest]
        sample_times[row] = at / 1000
        present[row] = (newest >= 0) & (at > times - context.lookback) & ~stale(values[row])
    kept = np.flatnonzero(present.any(axis=1))
    labels = [selected[row].labels for row in kept]
    return Vector(labels, values[kept], present[kept]), sample_times[kept]


def ranges(selector: promql.MatrixSelector, context: Context) -> RangeVector:
    """Return the samples of the range before each step; the range is open on the left, as in Prometheus 3."""
    closes = evaluation_times(context, selector.vector_selector.at, selector.vector_selector.offset)
    opens = closes - milliseconds(selector.range)
    earliest, latest = opens.min(), closes.max()
    windows: list[Window] = []
    cut: dict[bytes, Window] = {}  # by the samples' times: series of one scrape share them
    for series in context.tsdb.select(*matching(selector.vector_selector)):
        times, values = series.between(earliest, latest)
        if not len(times):
            continue
        ended = stale(values)
        if ended.any():
            times, values = times[~ended], values[~ended]
        key = times.tobytes()
        if key not in cut:
            cut[key] = cut_windows(series.labels, times, values, opens, closes)
        windows.append(replace(cut[key], labels=series.labels, values=values))
    return RangeVector([window for window in windows if window.counts.any()])


def _subquery(expression: promql.SubqueryExpr, context: Context) -> RangeVector:
    """Evaluate the inner expression on its own grid, once for all steps, then cut the grid into windows."""
    if expression.range is None:
        raise execution("a subquery needs a range")
    step = milliseconds(expression.step) if expression.step else context.subquery_step
    closes = evaluation_times(context, expression.at, expression.offset)
    opens = closes - milliseconds(expression.range)
    first = (int(opens.min()) // step + 1) * step
    grid = np.arange(first, int(closes.max()) + 1, step, dtype=np.int64)
    if not len(grid):
        return RangeVector([])
    operand = vector_of(evaluate(expression.expr, replace(context, steps=grid)))
    windows = (
        cut_windows(labels, grid[present], values[present], opens, closes)
        for labels, values, present in zip(operand.labels, operand.values, operand.present, strict=True)
    )
    return RangeVector([window for window in windows if window.counts.any()])


def cut_windows(labels: Labels, times: Times, values: Floats, opens: Times, closes: Times) -> Window:
    """Cut one series' samples into the windows (opens, closes], one a step."""
    first = np.searchsorted(times, opens, side="right")
    last = np.searchsorted(times, closes, side="right")
    return Window(labels, times, values, first, last, opens, closes)


def matching(selector: promql.VectorSelector) -> tuple[str | None, Callable[[Labels], bool]]:
    """Return the metric's name, if the selector has one, and the test a series' labels must pass."""
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
    """Return the times in ms that a selector reads at, one a step, after `@` and `offset`."""
    times = context.steps
    if at is not None:
        times = np.full_like(times, _at_time(at, context))
    return times - milliseconds(offset) if offset is not None else times


def _at_time(at: promql.AtModifier, context: Context) -> int:
    if at.type == promql.AtModifierType.Start:
        return context.start
    if at.type == promql.AtModifierType.End:
        return context.end
    try:
        time = at.at
    except BaseException as error:  # the parser panics on times before 1970, and a panic is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise bad_data("parse error: timestamp out of bounds for @ modifier") from None
    assert time is not None  # noqa: S101 - the third kind of @ always has a time
    return round(time.timestamp() * 1000)


def stale(values: Floats) -> Flags:
    """Where the values are stale markers."""
    return np.equal(np.ascontiguousarray(values).view(np.uint64), STALE_BITS)
