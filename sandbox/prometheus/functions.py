"""The functions of PromQL, by name, and how each is called."""

import calendar
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from sandbox.prometheus import over_time, rates
from sandbox.prometheus.errors import execution, unsupported
from sandbox.prometheus.labels import label_join, label_replace
from sandbox.prometheus.quantiles import histogram_quantile
from sandbox.prometheus.rates import Column
from sandbox.prometheus.tsdb import Floats
from sandbox.prometheus.values import Context, RangeVector, Scalar, Text, Value, Vector, Window, rows, unnamed

OVER_RANGES: dict[str, Callable[[Window], Column]] = {
    "rate": rates.rate,
    "increase": rates.increase,
    "delta": rates.delta,
    "irate": rates.irate,
    "idelta": rates.idelta,
    "deriv": rates.deriv,
    "resets": rates.resets,
    "changes": rates.changes,
    "sum_over_time": over_time.sum_over_time,
    "avg_over_time": over_time.avg_over_time,
    "min_over_time": over_time.min_over_time,
    "max_over_time": over_time.max_over_time,
    "count_over_time": over_time.count_over_time,
    "present_over_time": over_time.present_over_time,
    "stddev_over_time": over_time.stddev_over_time,
    "stdvar_over_time": over_time.stdvar_over_time,
    "last_over_time": over_time.last_over_time,
    "first_over_time": over_time.first_over_time,
}
KEEP_NAME = ("last_over_time", "first_over_time")

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


def call(name: str, arguments: Sequence[Value], context: Context) -> Value:
    """`name(arguments)`. QueryError when there is no such function here, or an argument is of no use."""
    with np.errstate(all="ignore"):
        if name in OVER_RANGES:
            return _over_range(arguments[0], OVER_RANGES[name], context, keep_name=name in KEEP_NAME)
        if name in ELEMENTWISE:
            return _changed(vector_of(arguments[0]), ELEMENTWISE[name])
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
    found = [value.value for value in values if isinstance(value, Text)]
    if len(found) != len(values):
        raise execution("a string was expected")
    return found


def _over_range(
    value: Value, summary: Callable[[Window], Column], context: Context, *, keep_name: bool = False
) -> Vector:
    if not isinstance(value, RangeVector):
        raise execution("a range vector was expected")
    return rows(
        ((window.labels if keep_name else unnamed(window.labels), *summary(window)) for window in value.windows),
        len(context.steps),
    )


def _changed(operand: Vector, change: Callable[[Floats], Floats]) -> Vector:
    return Vector(operand.labels, change(operand.values), operand.present).without_name()


def _calendar(part: Callable[[datetime], int], arguments: Sequence[Value], context: Context) -> Vector:
    def parts(values: Floats) -> Floats:
        return np.vectorize(one, otypes=[np.float64])(values) if values.size else values

    def one(seconds: float) -> float:
        return part(datetime.fromtimestamp(int(seconds), UTC)) if math.isfinite(seconds) else math.nan

    operand = vector_of(arguments[0]) if arguments else _vector([Scalar(context.steps / 1000)], context)
    return _changed(operand, parts)


def _scalar(arguments: Sequence[Value], _: Context) -> Scalar:
    operand = vector_of(arguments[0])
    single = operand.present.sum(axis=0) == 1
    return Scalar(np.where(single, np.where(operand.present, operand.values, 0.0).sum(axis=0), math.nan))


def _vector(arguments: Sequence[Value], _: Context) -> Vector:
    values = _numbers(arguments[0])
    return Vector([{}], values[np.newaxis, :], np.ones((1, len(values)), np.bool_))


def _round(arguments: Sequence[Value], _: Context) -> Vector:
    to = _numbers(arguments[1]) if len(arguments) > 1 else np.array(1.0)
    return _changed(vector_of(arguments[0]), lambda values: np.floor(values * (1 / to) + 0.5) / (1 / to))


def _clamp(arguments: Sequence[Value], _: Context) -> Vector:
    operand, low, high = vector_of(arguments[0]), _numbers(arguments[1]), _numbers(arguments[2])
    clamped = _changed(operand, lambda values: np.maximum(low, np.minimum(high, values)))
    return clamped.only(clamped.present & ~(low > high))


def _clamp_min(arguments: Sequence[Value], _: Context) -> Vector:
    low = _numbers(arguments[1])
    return _changed(vector_of(arguments[0]), lambda values: np.maximum(low, values))


def _clamp_max(arguments: Sequence[Value], _: Context) -> Vector:
    high = _numbers(arguments[1])
    return _changed(vector_of(arguments[0]), lambda values: np.minimum(high, values))


def _sorted(arguments: Sequence[Value], _: Context, *, descending: bool) -> Vector:
    """Only an instant query's answer has an order; NaN comes last."""
    operand = vector_of(arguments[0])
    if operand.steps != 1:
        return operand
    keys = operand.values[:, 0]
    order = np.argsort(-keys if descending else keys, kind="stable")
    return Vector([operand.labels[row] for row in order], operand.values[order], operand.present[order])


def _quantile_over_time(arguments: Sequence[Value], context: Context) -> Vector:
    phi = _numbers(arguments[0])
    return _over_range(arguments[1], lambda window: over_time.quantile_over_time(window, phi), context)


def _predict_linear(arguments: Sequence[Value], context: Context) -> Vector:
    ahead = _numbers(arguments[1])
    return _over_range(arguments[0], lambda window: rates.predict_linear(window, context.steps, ahead), context)


def _label_replace(arguments: Sequence[Value], _: Context) -> Vector:
    target, replacement, source, expression = _texts(arguments[1:])
    return label_replace(vector_of(arguments[0]), target, replacement, source, expression)


def _label_join(arguments: Sequence[Value], _: Context) -> Vector:
    target, separator, *sources = _texts(arguments[1:])
    return label_join(vector_of(arguments[0]), target, separator, sources)


OTHERS: dict[str, Callable[[Sequence[Value], Context], Value]] = {
    "time": lambda _, context: Scalar(context.steps / 1000),
    "pi": lambda _, context: Scalar(np.full(len(context.steps), math.pi)),
    "scalar": _scalar,
    "vector": _vector,
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "sort": lambda arguments, context: _sorted(arguments, context, descending=False),
    "sort_desc": lambda arguments, context: _sorted(arguments, context, descending=True),
    "quantile_over_time": _quantile_over_time,
    "predict_linear": _predict_linear,
    "histogram_quantile": lambda arguments, _: histogram_quantile(_numbers(arguments[0]), vector_of(arguments[1])),
    "label_replace": _label_replace,
    "label_join": _label_join,
}
