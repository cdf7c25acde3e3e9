"""Values as the `data` of Prometheus' HTTP API."""

from typing import Any

from sandbox.prometheus.numbers import json_float
from sandbox.prometheus.tsdb import Labels
from sandbox.prometheus.values import RangeVector, Scalar, Text, Value, Vector

Json = dict[str, Any]


def instant_answer(value: Value, at: int) -> Json:
    """The answer of /api/v1/query at `at` ms."""
    match value:
        case Scalar():
            return {"resultType": "scalar", "result": _point(at, value.values[0])}
        case Text():
            return {"resultType": "string", "result": [_seconds(at), value.value]}
        case RangeVector():
            return {"resultType": "matrix", "result": _windows(value)}
        case Vector():
            result = [
                {"metric": _metric(labels), "value": _point(at, values[0])}
                for labels, values, present in zip(value.labels, value.values, value.present, strict=True)
                if present[0]
            ]
            return {"resultType": "vector", "result": result}


def range_answer(value: Scalar | Vector, start: int, step: int) -> Json:
    """The answer of /api/v1/query_range; series in the order of their labels."""
    if isinstance(value, Scalar):
        points = [_point(start + number * step, each) for number, each in enumerate(value.values)]
        return {"resultType": "matrix", "result": [{"metric": {}, "values": points}]}
    result = []
    for labels, values, present in zip(value.labels, value.values.tolist(), value.present.tolist(), strict=True):
        points = [_point(start + number * step, values[number]) for number, here in enumerate(present) if here]
        if points:
            result.append({"metric": _metric(labels), "values": points})
    return {"resultType": "matrix", "result": sorted(result, key=lambda series: list(series["metric"].items()))}


def _windows(value: RangeVector) -> list[Json]:
    result = []
    for window in value.windows:
        samples = slice(int(window.first[0]), int(window.last[0]))
        pairs = zip(window.times[samples].tolist(), window.values[samples].tolist(), strict=True)
        result.append({"metric": _metric(window.labels), "values": [_point(at, each) for at, each in pairs]})
    return result


def _metric(labels: Labels) -> dict[str, str]:
    return dict(sorted(labels.items()))


def _point(at: int, value: float) -> list[Any]:
    return [_seconds(at), json_float(float(value))]


def _seconds(at: int) -> float | int:
    return at / 1000 if at % 1000 else at // 1000
