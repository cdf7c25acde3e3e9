"""Tempo's state: one trace in some hundred requests, as slow as the world's services were at that moment."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sandbox.prometheus.engine import query_range
from sandbox.prometheus.values import Vector
from sandbox.tempo.traceql import SERVICE_FIELDS, Condition
from sandbox.world import World
from sandbox.world.effects import P95_OVER_MEDIAN, SHAPE

EVERY = 5_000  # ms between two traces of one service
STEP = 60_000  # ms for which a service counts as equally slow
LONGEST = 7 * 86_400_000  # ms, the longest search
P95 = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{service="{}"}}[2m])))'
PATHS = ("GET /api/v1/session", "GET /api/v1/scene", "POST /api/v1/presence")

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """`began` in ms; `id` is 32 hexadecimal digits."""

    id: str
    service: str
    name: str
    began: int
    milliseconds: float


class Tempo:
    def __init__(self, world: World) -> None:
        self.world = world

    def search(self, conditions: list[Condition], start: int, end: int, limit: int) -> list[Trace]:
        """The newest traces between two moments (ms) for which all conditions hold."""
        self.world.advance()
        found = [
            trace
            for service in self.world.deployments
            if all(_equal(service, one) for one in conditions if one.field in SERVICE_FIELDS)
            for trace in self._traces(service, start, min(end, self.world.at))
            if all(_holds(trace, one) for one in conditions)
        ]
        return sorted(found, key=lambda trace: trace.began, reverse=True)[:limit]

    def trace(self, id: str) -> Trace | None:
        """One of the last two hours."""
        end = self.world.at
        for service in self.world.deployments:
            for trace in self._traces(service, end - 7_200_000, end):
                if trace.id == id:
                    return trace
        return None

    def _traces(self, service: str, start: int, end: int) -> Iterator[Trace]:
        start = max(start, end - LONGEST) // STEP * STEP
        if end <= start:
            return
        answer = query_range(self.world.tsdb, P95.format(service), start, end // STEP * STEP, STEP)
        if not isinstance(answer, Vector):  # which this query always gives
            return
        for step in range(answer.steps):
            if len(answer.labels) and answer.present[0, step] and np.isfinite(p95 := float(answer.values[0, step])):
                for offset in range(0, STEP, EVERY):
                    began = start + step * STEP + offset
                    if began <= end:
                        yield _trace(service, began, p95)


def _trace(service: str, began: int, p95: float) -> Trace:
    """A trace whose duration is drawn from the service's log-logistic distribution, always the same one."""
    drawn = hashlib.sha256(f"{service}/{began}".encode()).digest()
    share = (int.from_bytes(drawn[:6], "big") + 0.5) / 2**48
    seconds = p95 / P95_OVER_MEDIAN * math.pow(share / (1 - share), 1 / SHAPE)
    return Trace(drawn[:16].hex(), service, PATHS[drawn[20] % len(PATHS)], began, round(seconds * 1000, 3))


def _equal(service: str, condition: Condition) -> bool:
    return (condition.operator == "=") == (service == condition.value)


def _holds(trace: Trace, condition: Condition) -> bool:
    match condition.field:
        case "duration" | "traceDuration":
            return _COMPARISONS[condition.operator](trace.milliseconds, float(condition.value))
        case "name":
            return (condition.operator == "=") == (trace.name == condition.value)
        case "status":
            return condition.value in ("ok", "unset")
        case _:
            return _equal(trace.service, condition)
