"""What a test asks of a world: the figures that the bot's catalogue asks for, over the last minute."""

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.prometheus.engine import query
from sandbox.prometheus.values import Vector
from sandbox.world.world import World
from tests.harness.hand_clock import HandClock


@dataclass(frozen=True)
class Seen:
    """p95 in seconds, errors in percent, GPU in percent, frames a second."""

    p95: float
    errors: float
    gpu: float
    frames: float


def value(world: World, promql: str) -> float:
    """The one value of a query now."""
    found = _rows(world, promql)
    assert len(found) == 1, (promql, found)
    return found[0][1]


def labels(world: World, promql: str) -> list[dict[str, str]]:
    """The labels of a query's answer now."""
    return [own for own, _ in _rows(world, promql)]


def _rows(world: World, promql: str) -> list[tuple[dict[str, str], float]]:
    world.advance()
    found = query(world.tsdb, promql, world.at)
    assert isinstance(found, Vector)
    rows = zip(found.labels, found.values[:, 0], found.present[:, 0], strict=True)
    return [(dict(own), float(number)) for own, number, there in rows if there]


def seen(world: World, service: str = "xr-engine", window: str = "1m") -> Seen:
    own = f'service="{service}"'
    return Seen(
        p95=value(
            world,
            f"histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{{own}}}[{window}])))",
        ),
        errors=value(
            world,
            f'sum(rate(http_requests_total{{{own},status=~"5.."}}[{window}]))'
            f" / sum(rate(http_requests_total{{{own}}}[{window}])) * 100",
        ),
        gpu=value(world, 'avg(nvidia_gpu_utilization_gpu{instance=~".*gpu.*"})'),
        frames=value(world, 'avg(xr_frame_rate{service="xr-engine"})'),
    )


def minutes(clock: HandClock, world: World, count: int) -> Iterator[int]:
    """Let the world go on minute by minute."""
    for minute in range(1, count + 1):
        clock.forward(60)
        world.advance()
        yield minute
