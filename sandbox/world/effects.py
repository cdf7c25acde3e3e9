"""From causes to figures: the formulas of the world, pure.

A request passes two stations, the replicas and (when the service renders) the GPUs. Each slows down as an M/M/1
queue does, by 1 / (1 - utilisation) (Kleinrock, Queueing Systems I, 3.2), measured against its healthy
utilisation. Latencies are log-logistic, which has the long tail of real ones and a closed distribution function.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.world.services import Service

SHAPE = 3.5  # of the log-logistic; smaller has a longer tail
P95_OVER_MEDIAN = 19 ** (1 / SHAPE)
MEAN_OVER_MEDIAN = (math.pi / SHAPE) / math.sin(math.pi / SHAPE)
SATURATED = 0.97  # utilisation above which work is refused instead of queued
GPU_SATURATION = 4.03  # how fast the GPU's meter nears 100 %: 62 % when healthy
FRAME_WAIT = 0.3  # part of a frame's time that waits for the GPU


@dataclass(frozen=True)
class Causes:
    """What acts on a service. All but `replicas` are 1 (or 0 for `errors`) when all is well.

    `load` multiplies the traffic, `work` what a request costs the replicas, `gpu_work` what it costs the GPUs,
    `gpu_power` the GPUs' capacity, `latency` the answer times of whatever cause; `errors` is an added ratio.
    """

    replicas: float
    load: float = 1.0
    work: float = 1.0
    gpu_work: float = 1.0
    gpu_power: float = 1.0
    latency: float = 1.0
    errors: float = 0.0


@dataclass(frozen=True)
class Figures:
    """What comes of it: requests a second, seconds, ratio, percent, frames a second, cores a replica."""

    rate: float
    p95: float
    errors: float
    gpu: float
    frames: float
    cpu: float


def figures(service: Service, causes: Causes) -> Figures:
    """The figures of a service under the causes."""
    replicas = max(causes.replicas, 0.05)
    busy = service.busy * causes.load * causes.work * service.replicas / replicas
    gpu_busy = service.gpu_busy * causes.load * causes.gpu_work / max(causes.gpu_power, 0.01)
    on_replicas = causes.work * stretch(busy, service.busy)
    on_gpu = causes.gpu_work * stretch(gpu_busy, service.gpu_busy)
    slowdown = (1 - service.gpu_share) * on_replicas + service.gpu_share * on_gpu
    p95 = service.p95 * slowdown * causes.latency
    refused = max(_refused(busy), _refused(gpu_busy) if service.gpu_share else 0.0)
    errors = service.errors + causes.errors + late(p95, service.deadline) + refused
    return Figures(
        rate=service.rate * causes.load,
        p95=p95,
        errors=min(errors, 1.0),
        gpu=100 * (1 - math.exp(-GPU_SATURATION * gpu_busy)) if service.gpu_share else 0.0,
        frames=service.frames / (1 - FRAME_WAIT + FRAME_WAIT * on_gpu * causes.latency),
        cpu=service.cpu * min(busy, 1.0) / service.busy,
    )


def stretch(utilisation: float, healthy: float) -> float:
    """How much longer a station takes than when it is healthy."""
    return (1 - healthy) / (1 - min(utilisation, SATURATED))


def _refused(utilisation: float) -> float:
    """The share of work that is refused because a station cannot do more."""
    return 1 - SATURATED / utilisation if utilisation > SATURATED else 0.0


def late(p95: float, deadline: float) -> float:
    """The share of requests that take longer than the deadline, and fail."""
    return 1 - 1 / (1 + math.pow(p95 / P95_OVER_MEDIAN / deadline, SHAPE))


def within(p95: float | NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of requests that take at most each of the bounds (seconds)."""
    median = p95 / P95_OVER_MEDIAN
    return 1 / (1 + (median / bounds) ** SHAPE)


def mean(p95: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the answer times in seconds."""
    return p95 / P95_OVER_MEDIAN * MEAN_OVER_MEDIAN
