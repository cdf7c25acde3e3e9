"""PromQL: a query's text to its answer. The parser is the promql-parser package, the rest is ours."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import promql_parser as promql

from sandbox.prometheus.aggregations import aggregate
from sandbox.prometheus.binary import binary
from sandbox.prometheus.errors import bad_data, execution, unsupported
from sandbox.prometheus.functions import call, vector_of
from sandbox.prometheus.selectors import evaluation_times, instant, milliseconds, ranges, window
from sandbox.prometheus.tsdb import NAME, Labels, Tsdb
from sandbox.prometheus.values import Context, RangeVector, Scalar, Text, Value, Vector, empty, somewhere

DEEPEST = 100  # nested brackets; some thousands of them overflow the parser's stack and end the process
LONGEST = 3_000  # characters; some thousands of signs or operators in a row overflow it as well
MOST_POINTS = 11_000


def parse(query: str) -> promql.Expr:
    """The query's syntax tree. QueryError (bad_data) when it is no PromQL."""
    depth = deepest = 0
    for character in query:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST or len(query) > LONGEST:
        raise bad_data('invalid parameter "query": parse error: the expression is too long or too deeply nested')
    try:
        return promql.parse(query)
    except ValueError as error:
        raise bad_data(f'invalid parameter "query": parse error: {error}') from None


def query(tsdb: Tsdb, text: str, at: int) -> Value:
    """The answer at one moment (ms). QueryError when there is none."""
    return _evaluated(parse(text), Context(tsdb, np.array([at], np.int64), at, at))


def query_range(tsdb: Tsdb, text: str, start: int, end: int, step: int) -> Scalar | Vector:
    """The answers from `start` to `end` every `step`, all in ms. QueryError when there is none."""
    if end < start:
        raise bad_data('invalid parameter "end": end timestamp must not be before start time')
    if step <= 0:
        raise bad_data(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer"
        )
    if (end - start) // step > MOST_POINTS:
        raise bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    expression = parse(text)
    steps = np.arange(start, end + 1, step, dtype=np.int64)
    value = _evaluated(expression, Context(tsdb, steps, start, end))
    if isinstance(value, Scalar | Vector):
        return value
    kind = "range vector" if isinstance(value, RangeVector) else "string"
    raise bad_data(
        f'invalid parameter "query": invalid expression type "{kind}" for range query, must be Scalar or instant Vector'
    )


def _evaluated(expression: promql.Expr, context: Context) -> Value:
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
            return _negated(evaluate(expression.expr, context))
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


def _negated(value: Value) -> Value:
    if isinstance(value, Scalar):
        return Scalar(-value.values)
    operand = vector_of(value)
    return Vector(operand.labels, -operand.values, operand.present).without_name()


def _binary(expression: promql.BinaryExpr, context: Context) -> Value:
    left, right = evaluate(expression.lhs, context), evaluate(expression.rhs, context)
    operator = str(expression.op)
    if operator == "^" and isinstance(expression.lhs, promql.NumberLiteral) and expression.lhs.val < 0:
        # the parser takes -1 ^ 2 for (-1) ^ 2, but the sign binds weaker than the power
        return _negated(binary(operator, _negated(left), right, expression.modifier))
    return binary(operator, left, right, expression.modifier)


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
    made = (
        window(labels, grid[present], values[present], opens, closes)
        for labels, values, present in zip(operand.labels, operand.values, operand.present, strict=True)
    )
    return RangeVector([each for each in made if each.counts.any()])


def _call(expression: promql.Call, context: Context) -> Value:
    name, arguments = expression.func.name, expression.args
    if name in ("absent", "absent_over_time"):
        return _absent(arguments[0], context)
    if name == "timestamp":
        return _timestamp(arguments[0], context)
    return call(name, [evaluate(argument, context) for argument in arguments], context)


def _timestamp(argument: Any, context: Context) -> Vector:
    """The time of each sample; of anything that is not a plain selector, the time of the step."""
    while isinstance(argument, promql.ParenExpr):
        argument = argument.expr
    if isinstance(argument, promql.VectorSelector):
        found, moments = instant(argument, context)
    else:
        found = vector_of(evaluate(argument, context))
        moments = np.broadcast_to(context.steps / 1000, found.values.shape)
    return Vector(found.labels, moments, found.present).without_name()


def _absent(argument: Any, context: Context) -> Vector:
    """1 where the argument has no element at all, with the labels that its selector asks to be equal."""
    value = evaluate(argument, context)
    there = np.zeros(len(context.steps), np.bool_)
    if isinstance(value, RangeVector):
        for each in value.windows:
            there |= each.counts > 0
    else:
        there = somewhere(vector_of(value).present)
    if there.all():
        return empty(len(context.steps))
    return Vector([_asked_labels(argument)], np.ones((1, len(there))), ~there[np.newaxis, :])


def _asked_labels(argument: Any) -> Labels:
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
