"""Binary operators: arithmetic, comparisons, set operators, and the matching of two vectors."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import promql_parser as promql

from sandbox.prometheus.errors import execution, unsupported
from sandbox.prometheus.tsdb import NAME, Flags, Floats, Labels
from sandbox.prometheus.values import Scalar, Value, Vector, empty, rows, vector

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


def binary(operator: str, left: Value, right: Value, modifier: promql.BinModifier | None) -> Value:
    """`left operator right`, each a scalar or a vector."""
    as_bool = modifier is not None and modifier.return_bool
    with np.errstate(all="ignore"):
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return Scalar(_computed(operator, left.values, right.values))
        if isinstance(left, Vector) and isinstance(right, Scalar):
            return _with_scalar(operator, left, right.values, as_bool=as_bool, swapped=False)
        if isinstance(left, Scalar) and isinstance(right, Vector):
            return _with_scalar(operator, right, left.values, as_bool=as_bool, swapped=True)
        if isinstance(left, Vector) and isinstance(right, Vector):
            if operator in SETS:
                return _sets(operator, left, right, modifier)
            return _matched(operator, left, right, modifier)
    raise execution(f"{operator} needs scalars or instant vectors")


def _computed(operator: str, left: Floats, right: Floats) -> Floats:
    """The operator's number; a comparison gives 1 or 0."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](left, right)
    if operator in COMPARISONS:
        return COMPARISONS[operator](left, right).astype(np.float64)
    raise unsupported(f"the operator {operator}")


def _with_scalar(operator: str, operand: Vector, number: Floats, *, as_bool: bool, swapped: bool) -> Vector:
    left, right = (number, operand.values) if swapped else (operand.values, number)
    result = _computed(operator, left, right)
    if operator in COMPARISONS and not as_bool:
        return operand.only(operand.present & (result != 0))
    return Vector(operand.labels, result, operand.present).without_name()


def _key(modifier: promql.BinModifier | None) -> Callable[[Labels], Key]:
    """What two rows must have in common to be matched."""
    matching = modifier.matching if modifier is not None else None
    named = frozenset(matching.labels if matching is not None else ())
    if matching is not None and matching.type == promql.LabelModifierType.Include:
        return lambda labels: frozenset((k, v) for k, v in labels.items() if k in named)
    return lambda labels: frozenset((k, v) for k, v in labels.items() if k not in named and k != NAME)


def _grouped(operand: Vector, key: Callable[[Labels], Key]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = {}
    for row, labels in enumerate(operand.labels):
        groups.setdefault(key(labels), []).append(row)
    return groups


def _sets(operator: str, left: Vector, right: Vector, modifier: promql.BinModifier | None) -> Vector:
    key = _key(modifier)
    if operator == "or":
        left, right = right, left  # all of the left, and what of the right has no partner there
    partners = _grouped(right, key)
    found = np.zeros(left.present.shape, np.bool_)
    for row, labels in enumerate(left.labels):
        found[row] = right.present[partners.get(key(labels), [])].any(axis=0)
    kept = left.only(left.present & (found if operator == "and" else ~found))
    if operator != "or":
        return kept
    return vector(
        [*right.labels, *kept.labels],
        np.concatenate([right.values, kept.values]),
        np.concatenate([right.present, kept.present]),
    )


def _matched(operator: str, left: Vector, right: Vector, modifier: promql.BinModifier | None) -> Vector:
    """Arithmetic or comparison between partners, one to one, or many to one by group_left / group_right."""
    card = modifier.card if modifier is not None else promql.VectorMatchCardinality.OneToOne
    if modifier is not None and (modifier.fill_values.lhs, modifier.fill_values.rhs) != (None, None):
        raise unsupported("fill values of a vector match")
    if not left.labels or not right.labels:
        return empty(left.steps)
    grouped = card != promql.VectorMatchCardinality.OneToOne
    swapped = card == promql.VectorMatchCardinality.OneToMany
    many, one = (right, left) if swapped else (left, right)
    as_bool = modifier is not None and modifier.return_bool
    naming = _Naming(operator, modifier, grouped=grouped, as_bool=as_bool)
    key = _key(modifier)
    partners = _grouped(one, key)

    side = "left" if swapped else "right"
    asked = many.present.any(axis=0)  # where one side is empty, nothing is looked for
    for members in partners.values():
        _must_be_alone(one.present[members] & asked, side)

    def pairs() -> Iterator[tuple[Labels, Floats, Flags]]:
        for group, members in _grouped(many, key).items():
            others = partners.get(group, [])
            if not grouped:
                _must_be_single(many.present[members] & one.present[others].any(axis=0))
            for row, other in product(members, others):
                present = many.present[row] & one.present[other]
                a, b = many.values[row], one.values[other]
                if swapped:
                    a, b = b, a
                result = _computed(operator, a, b)
                if operator in COMPARISONS and not as_bool:
                    present, result = present & (result != 0), a
                yield naming(many.labels[row], one.labels[other]), result, present

    return rows(pairs(), left.steps)


def _must_be_alone(present: Flags, side: str) -> None:
    if len(present) > 1 and (present.sum(axis=0) > 1).any():
        raise execution(
            f"found duplicate series for the match group on the {side} hand-side of the operation;"
            "many-to-many matching not allowed: matching labels must be unique on one side"
        )


def _must_be_single(present: Flags) -> None:
    if len(present) > 1 and (present.sum(axis=0) > 1).any():
        raise execution("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")


class _Naming:
    """The labels of a matched pair: those of the "many" side, with what the modifier takes from the other."""

    def __init__(self, operator: str, modifier: promql.BinModifier | None, *, grouped: bool, as_bool: bool) -> None:
        matching = modifier.matching if modifier is not None else None
        self._unnamed = operator in ARITHMETIC or as_bool
        self._grouped = grouped
        self._on = matching is not None and matching.type == promql.LabelModifierType.Include
        self._named = frozenset(matching.labels if matching is not None else ())
        self._included = (modifier.group_labels if modifier is not None else None) or []

    def __call__(self, many: Labels, one: Labels) -> Labels:
        kept = {k: v for k, v in many.items() if not (self._unnamed and k == NAME)}
        if not self._grouped:
            kept = {k: v for k, v in kept.items() if (k in self._named) == self._on}
        for label in self._included:
            kept.pop(label, None)
            if one.get(label):
                kept[label] = one[label]
        return kept
