"""Aggregations: sum, avg, min, max, count, group, stddev, stdvar, quantile, topk, bottomk, count_values."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import promql_parser as promql

from sandbox.prometheus.errors import execution, unsupported
from sandbox.prometheus.numbers import go_float
from sandbox.prometheus.quantiles import quantile
from sandbox.prometheus.tsdb import NAME, Flags, Floats, Labels
from sandbox.prometheus.values import Scalar, Text, Value, Vector, rows, somewhere

Reduction = Callable[[Floats, Flags], Floats]


def _total(values: Floats, present: Flags) -> Floats:
    total: Floats = np.sum(values, axis=0, where=present, initial=0.0)
    return total


def _mean(values: Floats, present: Flags) -> Floats:
    return _total(values, present) / np.maximum(REDUCTIONS["count"](values, present), 1)


def _variance(values: Floats, present: Flags) -> Floats:
    return _mean((values - _mean(values, present)) ** 2, present)


REDUCTIONS: dict[str, Reduction] = {
    "sum": _total,
    "avg": _mean,
    "min": lambda values, present: np.fmin.reduce(np.where(present, values, np.nan), axis=0),
    "max": lambda values, present: np.fmax.reduce(np.where(present, values, np.nan), axis=0),
    "count": lambda values, present: present.sum(axis=0).astype(np.float64),
    "group": lambda values, present: np.ones(values.shape[1]),
    "stddev": lambda values, present: np.sqrt(_variance(values, present)),
    "stdvar": _variance,
}


def aggregate(name: str, operand: Vector, param: Value | None, modifier: promql.AggModifier | None) -> Vector:
    """`name by/without (labels) (param, operand)`; the rows of a group become one, or are picked (topk)."""
    if name == "count_values":
        return _count_values(operand, param, modifier)
    parts = _groups(operand.labels, modifier)
    with np.errstate(invalid="ignore", over="ignore"):
        if name in REDUCTIONS:
            reduce = REDUCTIONS[name]
            made = (
                (
                    labels,
                    reduce(operand.values[members], operand.present[members]),
                    somewhere(operand.present[members]),
                )
                for labels, members in parts
            )
            return rows(made, operand.steps)
        numbers = _numbers(name, param)
        if name == "quantile":
            return rows(_quantiles(operand, numbers, parts), operand.steps)
        if name in ("topk", "bottomk"):
            return _extremes(operand, numbers, parts, largest=name == "topk")
    raise unsupported(f"the aggregation {name}")


def _groups(labels: Sequence[Labels], modifier: promql.AggModifier | None) -> list[tuple[Labels, list[int]]]:
    """The groups' labels, each with the numbers of its rows."""
    by = modifier is None or modifier.type == promql.AggModifierType.By
    named = frozenset(modifier.labels if modifier is not None else ())
    groups: dict[frozenset[tuple[str, str]], list[int]] = {}
    for row, own in enumerate(labels):
        kept = {k: v for k, v in own.items() if (k in named if by else k not in named and k != NAME)}
        groups.setdefault(frozenset(kept.items()), []).append(row)
    return [(dict(sorted(key)), members) for key, members in groups.items()]


def _numbers(name: str, param: Value | None) -> Floats:
    if not isinstance(param, Scalar):
        raise execution(f"{name} needs a number as its parameter")
    return param.values


def _quantiles(
    operand: Vector, phi: Floats, parts: list[tuple[Labels, list[int]]]
) -> Iterator[tuple[Labels, Floats, Flags]]:
    for labels, members in parts:
        values, present = operand.values[members], operand.present[members]
        result = [quantile(float(phi[step]), values[present[:, step], step]) for step in range(operand.steps)]
        yield labels, np.array(result), somewhere(present)


def _extremes(operand: Vector, sizes: Floats, parts: list[tuple[Labels, list[int]]], *, largest: bool) -> Vector:
    """The k largest or smallest rows of each group at each step; NaN comes last either way."""
    chosen = np.zeros(operand.present.shape, np.bool_)
    order: list[int] = []
    for _, members in parts:
        at = np.array(members)
        for step in range(operand.steps):
            if np.isnan(sizes[step]):
                raise execution("Parameter value is NaN")
            there = at[operand.present[at, step]]
            keys = -operand.values[there, step] if largest else operand.values[there, step]
            best = there[np.argsort(keys, kind="stable")][: max(int(min(sizes[step], len(there))), 0)]
            chosen[best, step] = True
            if operand.steps == 1:
                order.extend(int(row) for row in best)
    if operand.steps != 1:
        order = [int(row) for row in np.flatnonzero(chosen.any(axis=1))]
    return Vector([operand.labels[row] for row in order], operand.values[order], chosen[order])


def _count_values(operand: Vector, param: Value | None, modifier: promql.AggModifier | None) -> Vector:
    """How many rows have each value; the value becomes the label that the parameter names."""
    if not isinstance(param, Text):
        raise execution("count_values needs a label name as its parameter")
    made: dict[frozenset[tuple[str, str]], Floats] = {}
    for labels, members in _groups(operand.labels, modifier):
        for row in members:
            for step in np.flatnonzero(operand.present[row]):
                key = frozenset({**labels, param.value: go_float(float(operand.values[row, step]))}.items())
                made.setdefault(key, np.zeros(operand.steps))[step] += 1
    return rows(((dict(key), counts, counts > 0) for key, counts in made.items()), operand.steps)
