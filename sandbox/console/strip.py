"""The strip above the page: the world's clock, the four figures of the render service, the scenario's buttons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.clock import Clock
from sandbox.prometheus.backend import Prometheus
from sandbox.prometheus.engine import query_range
from sandbox.prometheus.values import Vector
from sandbox.slack.state import JSON

SPAN = 20 * 60_000  # ms of the small curves
STEP = 20_000  # ms between two of their points
MAX_SPEED = 120.0


@dataclass(frozen=True)
class Figure:
    """One figure: PromQL, its unit, and the value above which (`below`: under which) it is bad."""

    query: str
    unit: str
    threshold: float
    below: bool = False


# A window of one minute, not the bot's five: the strip shows the present, not what an alert acts on.
FIGURES: Mapping[str, Figure] = {
    "p95": Figure(
        "histogram_quantile(0.95, sum by (le) "
        '(rate(http_request_duration_seconds_bucket{service="xr-engine"}[1m]))) * 1000',
        "ms",
        500,
    ),
    "errors": Figure(
        'sum(rate(http_requests_total{service="xr-engine",status=~"5.."}[1m]))'
        ' / sum(rate(http_requests_total{service="xr-engine"}[1m])) * 100',
        "%",
        2,
    ),
    "gpu": Figure('avg(nvidia_gpu_utilization_gpu{instance=~".*gpu.*"})', "%", 90),
    "fps": Figure('avg(xr_frame_rate{service="xr-engine"})', "FPS", 60, below=True),
}


@dataclass(frozen=True)
class Scenario:
    """What the strip's buttons do: start the scenario, recover from it; `running` tells the state."""

    start: Callable[[], None]
    recover: Callable[[], None]
    running: Callable[[], bool]


@dataclass(frozen=True)
class Strip:
    """The strip. Without `prometheus` or `scenario` it shows less."""

    clock: Clock
    prometheus: Prometheus | None = None
    scenario: Scenario | None = None

    def as_json(self) -> JSON:
        """Return `now` (ISO 8601), `speed`, `figures` by name, `running` (None when there is no scenario)."""
        return {
            "now": self.clock.now().isoformat(),
            "speed": self.clock.speed,
            "figures": _figures(self.prometheus) if self.prometheus else {},
            "running": self.scenario.running() if self.scenario else None,
        }

    def do(self, action: str, speed: float | None = None) -> None:
        """Do `start`, `recover` or `speed`. Raises ValueError for anything else, or when it is not possible."""
        if action == "speed" and speed is not None and speed <= MAX_SPEED:
            self.clock.speed = speed
        elif action in ("start", "recover") and self.scenario:
            (self.scenario.start if action == "start" else self.scenario.recover)()
        else:
            raise ValueError(action)


def _figures(prometheus: Prometheus) -> JSON:
    prometheus.refresh()
    return {name: _figure(prometheus, figure) for name, figure in FIGURES.items()}


def _figure(prometheus: Prometheus, figure: Figure) -> JSON:
    end = prometheus.now()
    result = query_range(prometheus.tsdb, figure.query, end - SPAN, end, STEP)
    points: list[float | None] = []
    if isinstance(result, Vector) and len(result.labels):
        points = [
            round(float(value), 3) if present and math.isfinite(value) else None
            for value, present in zip(result.values[0], result.present[0], strict=True)
        ]
    value = points[-1] if points else None
    return {
        "value": value,
        "points": points,
        "unit": figure.unit,
        "threshold": figure.threshold,
        "bad": value is not None and (value < figure.threshold if figure.below else value > figure.threshold),
    }
