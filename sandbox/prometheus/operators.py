"""Operators: aggregations, arithmetic, comparisons, set operators, and the matching of two vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import promql_parser as promql

from sandbox.prometheus.functions import quantile
from sandbox.prometheus.literals import go_float
from sandbox.prometheus.tsdb import NAME, Flags, Floats, Labels
from sandbox.prometheus.values import (
    Scalar,
    Text,
    Value,
    Vector,
    empty,
    execution,
    rows,
    somewhere,
    unsupported,
    vector,
)

Reduction = Callable[[Floats, Flags], Floats]
Key = frozenset[tuple[str, str]]

ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}

COMPARISONS: dict[str, Callable[[Floats, Floats], Flags]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
SETS = ("and", "or", "unless")


# Aggregations: sum, avg, min, max, count, group, stddev, stdvar, quantile, topk, bottomk, count_values.


def aggregate(name: str, operand: Vector, param: Value | None, modifier: promql.AggModifier | None) -> Vector:
    """`name by/without (labels) (param, operand)`; the rows of a group become one, or are picked (topk)."""
    if name == "count_values":
        return _count_values(operand, param, modifier)
    groups = _groups(operand.labels, modifier)
    with np.errstate(invalid="ignore", over="ignore"):
        if name in REDUCTIONS:
            reduce = REDUCTIONS[name]
            made = (
                (
                    labels,
                    reduce(operand.values[members], operand.present[members]),
                    somewhere(operand.present[members]),
                )
                for labels, members in groups
            )
            return rows(made, operand.steps)
        numbers = _parameter(name, param)
        if name == "quantile":
            return rows(_group_quantiles(operand, numbers, groups), operand.steps)
        if name in ("topk", "bottomk"):
            return _extremes(operand, numbers, groups, largest=name == "topk")
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


def _parameter(name: str, param: Value | None) -> Floats:
    if not isinstance(param, Scalar):
        raise execution(f"{name} needs a number as its parameter")
    return param.values


def _group_quantiles(
    operand: Vector, phi: Floats, groups: list[tuple[Labels, list[int]]]
) -> Iterator[tuple[Labels, Floats, Flags]]:
    for labels, members in groups:
        values, present = operand.values[members], operand.present[members]
        result = [quantile(float(phi[step]), values[present[:, step], step]) for step in range(operand.steps)]
        yield labels, np.array(result), somewhere(present)


def _extremes(operand: Vector, sizes: Floats, groups: list[tuple[Labels, list[int]]], *, largest: bool) -> Vector:
    """The k largest or smallest rows of each group at each step; NaN comes last either way."""
    chosen = np.zeros(operand.present.shape, np.bool_)
    order: list[int] = []
    for _, members in groups:
        at = np.array(members)
        for step in range(operand.steps):
            if np.isnan(sizes[step]):
                raise execution("Parameter value is NaN")
            present = at[operand.present[at, step]]
            keys = -operand.values[present, step] if largest else operand.values[present, step]
            best = present[np.argsort(keys, kind="stable")][: max(int(min(sizes[step], len(present))), 0)]
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


def _sum(values: Floats, present: Flags) -> Floats:
    total: Floats = np.sum(values, axis=0, where=present, initial=0.0)
    return total


def _mean(values: Floats, present: Flags) -> Floats:
    return _sum(values, present) / np.maximum(REDUCTIONS["count"](values, present), 1)


def _variance(values: Floats, present: Flags) -> Floats:
    return _mean((values - _mean(values, present)) ** 2, present)


REDUCTIONS: dict[str, Reduction] = {
    "sum": _sum,
    "avg": _mean,
    "min": lambda values, present: np.fmin.reduce(np.where(present, values, np.nan), axis=0),
    "max": lambda values, present: np.fmax.reduce(np.where(present, values, np.nan), axis=0),
    "count": lambda values, present: present.sum(axis=0).astype(np.float64),
    "group": lambda values, present: np.ones(values.shape[1]),
    "stddev": lambda values, present: np.sqrt(_variance(values, present)),
    "stdvar": _variance,
}


# Binary operators.


def binary(operator: str, left: Value, right: Value, modifier: promql.BinModifier | None) -> Value:
    """`left operator right`, each a scalar or a vector."""
    as_bool = modifier is not None and modifier.return_bool
    with np.errstate(all="ignore"):
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return Scalar(_compute(operator, left.values, right.values))
        if isinstance(left, Vector) and isinstance(right, Scalar):
            return _with_scalar(operator, left, right.values, as_bool=as_bool, swapped=False)
        if isinstance(left, Scalar) and isinstance(right, Vector):
            return _with_scalar(operator, right, left.values, as_bool=as_bool, swapped=True)
        if isinstance(left, Vector) and isinstance(right, Vector):
            if operator in SETS:
                return _set_operation(operator, left, right, modifier)
            return _match(operator, left, right, modifier)
    raise execution(f"{operator} needs scalars or instant vectors")


def _compute(operator: str, left: Floats, right: Floats) -> Floats:
    """The operator's number; a comparison gives 1 or 0."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](left, right)
    if operator in COMPARISONS:
        return COMPARISONS[operator](left, right).astype(np.float64)
    raise unsupported(f"the operator {operator}")


def _with_scalar(operator: str, operand: Vector, number: Floats, *, as_bool: bool, swapped: bool) -> Vector:
    left, right = (number, operand.values) if swapped else (operand.values, number)
    result = _compute(operator, left, right)
    if operator in COMPARISONS and not as_bool:
        return operand.only(operand.present & (result != 0))
    return Vector(operand.labels, result, operand.present).without_name()


def _set_operation(operator: str, left: Vector, right: Vector, modifier: promql.BinModifier | None) -> Vector:
    key = _matching_key(modifier)
    if operator == "or":
        left, right = right, left  # all of the left, and what of the right has no partner there
    partners = _group_rows(right, key)
    has_partner = np.zeros(left.present.shape, np.bool_)
    for row, labels in enumerate(left.labels):
        has_partner[row] = right.present[partners.get(key(labels), [])].any(axis=0)
    kept = left.only(left.present & (has_partner if operator == "and" else ~has_partner))
    if operator != "or":
        return kept
    return vector(
        [*right.labels, *kept.labels],
        np.concatenate([right.values, kept.values]),
        np.concatenate([right.present, kept.present]),
    )


def _match(operator: str, left: Vector, right: Vector, modifier: promql.BinModifier | None) -> Vector:
    """Arithmetic or comparison between partners, one to one, or many to one by group_left / group_right."""
    card = modifier.card if modifier is not None else promql.VectorMatchCardinality.OneToOne
    if modifier is not None and (modifier.fill_values.lhs, modifier.fill_values.rhs) != (None, None):
        raise unsupported("fill values of a vector match")
    if not left.labels or not right.labels:
        return empty(left.steps)
    grouped = card != promql.VectorMatchCardinality.OneToOne
    swapped = card == promql.VectorMatchCardinality.OneToMany
    many, single = (right, left) if swapped else (left, right)
    as_bool = modifier is not None and modifier.return_bool
    result_labels = _ResultLabels(operator, modifier, grouped=grouped, as_bool=as_bool)
    key = _matching_key(modifier)
    partners = _group_rows(single, key)

    side = "left" if swapped else "right"
    needed = many.present.any(axis=0)  # a step in which the other side is empty is not checked
    for members in partners.values():
        _check_unique(single.present[members] & needed, side)

    def pairs() -> Iterator[tuple[Labels, Floats, Flags]]:
        for group, members in _group_rows(many, key).items():
            others = partners.get(group, [])
            if not grouped:
                _check_one_to_one(many.present[members] & single.present[others].any(axis=0))
            for row, other in product(members, others):
                present = many.present[row] & single.present[other]
                a, b = many.values[row], single.values[other]
                if swapped:
                    a, b = b, a
                result = _compute(operator, a, b)
                if operator in COMPARISONS and not as_bool:
                    present, result = present & (result != 0), a
                yield result_labels(many.labels[row], single.labels[other]), result, present

    return rows(pairs(), left.steps)


def _matching_key(modifier: promql.BinModifier | None) -> Callable[[Labels], Key]:
    """Return the function from a row's labels to what two rows must have in common to match."""
    matching = modifier.matching if modifier is not None else None
    named = frozenset(matching.labels if matching is not None else ())
    if matching is not None and matching.type == promql.LabelModifierType.Include:
        return lambda labels: frozenset((k, v) for k, v in labels.items() if k in named)
    return lambda labels: frozenset((k, v) for k, v in labels.items() if k not in named and k != NAME)


def _group_rows(operand: Vector, key: Callable[[Labels], Key]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = {}
    for row, labels in enumerate(operand.labels):
        groups.setdefault(key(labels), []).append(row)
    return groups


def _check_unique(present: Flags, side: str) -> None:
    if len(present) > 1 and (present.sum(axis=0) > 1).any():
        raise execution(
            f"found duplicate series for the match group on the {side} hand-side of the operation;"
            "many-to-many matching not allowed: matching labels must be unique on one side"
        )


def _check_one_to_one(present: Flags) -> None:
    if len(present) > 1 and (present.sum(axis=0) > 1).any():
        raise execution("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")


class _ResultLabels:
    """The labels of a matched pair: those of the "many" side, with what the modifier takes from the other."""

    def __init__(self, operator: str, modifier: promql.BinModifier | None, *, grouped: bool, as_bool: bool) -> None:
        matching = modifier.matching if modifier is not None else None
        self._unnamed = operator in ARITHMETIC or as_bool
        self._grouped = grouped
        self._on = matching is not None and matching.type == promql.LabelModifierType.Include
        self._named = frozenset(matching.labels if matching is not None else ())
        self._included = (modifier.group_labels if modifier is not None else None) or []

    def __call__(self, many: Labels, single: Labels) -> Labels:
        kept = {k: v for k, v in many.items() if not (self._unnamed and k == NAME)}
        if not self._grouped:
            kept = {k: v for k, v in kept.items() if (k in self._named) == self._on}
        for label in self._included:
            kept.pop(label, None)
            if single.get(label):
                kept[label] = single[label]
        return kept
