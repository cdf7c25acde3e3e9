"""The samples that a real Prometheus and the sandbox's are both given, and their OpenMetrics text.

All kinds of trouble are in them: counters that reset, series that begin late, end early or pause, NaN and Inf.
Two things on which Prometheus 2 and 3 differ are kept out, since the sandbox follows 3 and either may be installed:
- a sample at the very left end of a range counts in 2: so no sample lies on a whole or half second;
- a counter that begins inside a range, near zero, is extrapolated less in 3: so it begins at zero or far above.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.prometheus.tsdb import Tsdb

BEGIN = 1_767_225_600_000  # 2026-01-01T00:00:00Z, in ms
HOURS = 3
EVERY = 15_000
BOUNDS = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")


@dataclass(frozen=True)
class Line:
    name: str
    labels: tuple[tuple[str, str], ...]
    points: tuple[tuple[int, float], ...]


def lines() -> list[Line]:
    """Every series with its points (ms, value); the same on every call."""
    chance = random.Random(7)  # noqa: S311 - figures, no secret
    return [
        *_histograms(chance),
        *_requests(chance),
        *_gpus(chance),
        *_frames(chance),
        *_deployments(),
        *_databases(),
        *_oddities(chance),
    ]


def openmetrics(series: list[Line]) -> str:
    rows = []
    for line in series:
        labels = ",".join(f'{name}="{value}"' for name, value in line.labels)
        rows += [f"{line.name}{{{labels}}} {_text(value)} {at / 1000:.3f}" for at, value in line.points]
    return "\n".join([*rows, "# EOF", ""])


def tsdb(series: list[Line]) -> Tsdb:
    filled = Tsdb()
    for line in series:
        target = filled.series(line.name, dict(line.labels))
        for at, value in line.points:
            target.append(at, value)
    return filled


def _text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(value) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def _times(phase: int, first: float = 0, last: float = 1) -> list[int]:
    count = HOURS * 3_600_000 // EVERY
    return [BEGIN + number * EVERY + phase for number in range(int(first * count), int(last * count))]


def _line(name: str, labels: dict[str, str], points: Iterator[tuple[int, float]]) -> Line:
    return Line(name, tuple(labels.items()), tuple(points))


PODS = {"xr-engine": ("xr-engine-a", "xr-engine-b", "xr-engine-c"), "tamv-core": ("tamv-core-a", "tamv-core-b")}
FIRST = {"xr-engine-a": 1e6, "xr-engine-b": 2e6, "tamv-core-a": 3e6, "tamv-core-b": 4e6}  # what a counter begins at
LIVES = {"xr-engine-c": (0.4, 1.0), "tamv-core-b": (0.0, 0.62)}


def _histograms(chance: random.Random) -> Iterator[Line]:
    for service, pods in PODS.items():
        for pod in pods:
            times = _times(chance.randrange(100, 400), *LIVES.get(pod, (0.0, 1.0)))
            labels = {"service": service, "namespace": "tamv-prod", "pod": pod}
            total = first = FIRST.get(pod, 0.0)
            counts = [first] * len(BOUNDS)
            points: list[list[tuple[int, float]]] = [[] for _ in BOUNDS]
            sums: list[tuple[int, float]] = []
            for number, at in enumerate(times):
                if pod == "xr-engine-b" and number == 300:  # the pod restarts
                    counts, total = [0.0] * len(BOUNDS), 0.0
                for bucket, count in zip(points, counts, strict=True):
                    bucket.append((at, count))
                sums.append((at, total))
                center = 0.12 if number < 380 else 0.4
                for _ in range(chance.randrange(5, 30)):
                    seconds = chance.lognormvariate(math.log(center), 0.7)
                    total += seconds
                    counts = [c + (seconds <= float(b)) for c, b in zip(counts, BOUNDS, strict=True)]
            for bound, bucket in zip(BOUNDS, points, strict=True):
                yield _line("http_request_duration_seconds_bucket", {**labels, "le": bound}, iter(bucket))
            yield _line("http_request_duration_seconds_count", labels, iter(points[-1]))
            yield _line("http_request_duration_seconds_sum", labels, iter(sums))


def _requests(chance: random.Random) -> Iterator[Line]:
    for service, pods in PODS.items():
        for pod in pods:
            for status, most in (("200", 40), ("404", 3), ("500", 2), ("503", 1)):
                value = FIRST.get(pod, 0.0)
                points = []
                for number, at in enumerate(_times(chance.randrange(100, 400), *LIVES.get(pod, (0.0, 1.0)))):
                    if pod == "xr-engine-b" and number == 300:
                        value = 0.0
                    points.append((at, value))
                    value += chance.randrange(0, most * (3 if number > 380 else 1))
                labels = {"service": service, "namespace": "tamv-prod", "pod": pod, "status": status}
                yield _line("http_requests_total", labels, iter(points))


def _gpus(chance: random.Random) -> Iterator[Line]:
    for node in ("gpu-node-1", "gpu-node-2", "gpu-node-3"):
        lives = (0.0, 0.5) if node == "gpu-node-3" else (0.0, 1.0)
        times = _times(chance.randrange(100, 400), *lives)
        points = ((at, round(62 + 8 * math.sin(at / 200_000) + chance.gauss(0, 2), 3)) for at in times)
        yield _line("nvidia_gpu_utilization_gpu", {"instance": node, "gpu": "0"}, points)


def _frames(chance: random.Random) -> Iterator[Line]:
    for pod in PODS["xr-engine"]:
        times = _times(chance.randrange(100, 400), *LIVES.get(pod, (0.0, 1.0)))
        kept = [at for number, at in enumerate(times) if not 200 <= number < 260]  # 15 minutes without a sample
        points = ((at, round(88 + chance.gauss(0, 3), 2)) for at in kept)
        yield _line("xr_frame_rate", {"service": "xr-engine", "pod": pod}, points)


def _databases() -> Iterator[Line]:
    points = ((at, 22.0 + number % 7) for number, at in enumerate(_times(230)))
    yield _line("aws_rds_cpuutilization_average", {"dbinstance_identifier": "tamv-prod-postgres"}, points)


def _deployments() -> Iterator[Line]:
    for service, counts in (("xr-engine", (3, 10)), ("tamv-core", (4, 4)), ("isabella-ai", (2, 2))):
        points = ((at, float(counts[number > 400])) for number, at in enumerate(_times(311)))
        yield _line("kube_deployment_status_replicas", {"deployment": service, "namespace": "tamv-prod"}, points)
        yield _line(
            "service_owner", {"service": service, "team": f"team-{service[:2]}"}, iter([(a, 1.0) for a in _times(317)])
        )


def _oddities(chance: random.Random) -> Iterator[Line]:
    cycle = (1.0, -2.5, 0.0, math.nan, 7.25, math.inf, -math.inf, 1e-9, 3e22)
    yield _line("odd", {"kind": "mixed"}, ((at, cycle[n % 9]) for n, at in enumerate(_times(177))))
    yield _line("odd", {"kind": "flat"}, ((at, 5.0) for at in _times(179)))
    yield _line("odd", {"kind": "small"}, ((at, chance.uniform(-3, 3)) for at in _times(183)))
    yield _line("sparse", {"kind": "slow"}, ((at, float(n)) for n, at in enumerate(_times(187)) if n % 17 == 0))
