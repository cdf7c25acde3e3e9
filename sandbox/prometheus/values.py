"""What an expression evaluates to, for all steps of a query at once, and the errors of evaluation.

Evaluation is by column: a vector is a table with one row a series and one column a step, and `present` marks where the
series has a value (NaN is a value).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sandbox.prometheus.tsdb import NAME, Flags, Floats, Labels, Times, Tsdb


class QueryError(Exception):
    """A query that cannot be answered. `kind` is Prometheus' errorType: `bad_data` (HTTP 400) or `execution` (422)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def bad_data(message: str) -> QueryError:
    """The request is invalid: it does not parse, or a parameter is out of range."""
    return QueryError("bad_data", message)


def execution(message: str) -> QueryError:
    """The request is well formed, but evaluating it failed."""
    return QueryError("execution", message)


def unsupported(feature: str) -> QueryError:
    """PromQL that the sandbox does not implement."""
    return execution(f"the sandbox does not support {feature}")


@dataclass(frozen=True)
class Context:
    """What an expression is evaluated against.

    `steps` are the times to answer for, `start` and `end` those of the whole query (for `@ start()`), all in
    ms; a sample counts for `lookback` ms unless the series has ended. `subquery_step` is used where a subquery
    names none.
    """

    tsdb: Tsdb
    steps: Times
    start: int
    end: int
    lookback: int = 300_000
    subquery_step: int = 60_000


@dataclass(frozen=True, eq=False)
class Scalar:
    """One number a step."""

    values: Floats


@dataclass(frozen=True)
class Text:
    """A string literal."""

    value: str


@dataclass(frozen=True, eq=False)
class Vector:
    """Rows: `labels`. `values` and `present` have the shape (rows, steps)."""

    labels: Sequence[Labels]
    values: Floats
    present: Flags

    @property
    def steps(self) -> int:
        return int(self.values.shape[1])

    def without_name(self) -> Vector:
        return vector([unnamed(labels) for labels in self.labels], self.values, self.present)

    def only(self, present: Flags) -> Vector:
        """Return the same values, present in fewer places."""
        return Vector(self.labels, self.values, present)


@dataclass(frozen=True, eq=False)
class Window:
    """One series and, for each step, which of its samples lie in the range before that step.

    Sample i of step s is in the window when `first[s] <= i < last[s]`. `opens` and `closes` are the range's
    ends in ms; `first` and `last` may be equal (no sample).
    """

    labels: Labels
    times: Times
    values: Floats
    first: Times
    last: Times
    opens: Times
    closes: Times

    @property
    def counts(self) -> Times:
        return self.last - self.first


@dataclass(frozen=True, eq=False)
class RangeVector:
    windows: Sequence[Window]


Value = Scalar | Text | Vector | RangeVector


def vector(labels: Sequence[Labels], values: Floats, present: Flags) -> Vector:
    """Make a vector, merging rows of the same labels. Raises QueryError where two are present at a step."""
    by_labels: dict[frozenset[tuple[str, str]], int] = {}
    target = [by_labels.setdefault(frozenset(row.items()), len(by_labels)) for row in labels]
    if len(by_labels) == len(labels):
        return Vector(labels, values, present)
    merged_values = np.zeros((len(by_labels), values.shape[1]))
    merged_present = np.zeros(merged_values.shape, np.bool_)
    for row, into in enumerate(target):
        if (merged_present[into] & present[row]).any():
            raise execution("vector cannot contain metrics with the same labelset")
        merged_values[into] = np.where(present[row], values[row], merged_values[into])
        merged_present[into] |= present[row]
    return Vector([dict(key) for key in by_labels], merged_values, merged_present)


def rows(candidates: Iterable[tuple[Labels, Floats, Flags]], steps: int) -> Vector:
    """Make a vector of rows (labels, values, present), without the rows that are present nowhere."""
    kept = [row for row in candidates if row[2].any()]
    if not kept:
        return empty(steps)
    return vector([row[0] for row in kept], np.array([row[1] for row in kept]), np.array([row[2] for row in kept]))


def empty(steps: int) -> Vector:
    return Vector([], np.empty((0, steps)), np.empty((0, steps), np.bool_))


def somewhere(present: Flags) -> Flags:
    """Return the steps at which any row is present."""
    return np.asarray(present.any(axis=0), np.bool_)


def unnamed(labels: Labels) -> Labels:
    """The labels without the metric's name."""
    return {key: value for key, value in labels.items() if key != NAME}
