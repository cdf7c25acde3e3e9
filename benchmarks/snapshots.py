"""A snapshot: four range queries, four charts, one upload."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, median
from benchmarks.incidents import declared
from benchmarks.place import Place, place, until
from sandbox.clock import Clock
from sandbox.world.world import World
from tests.real.parts import missing
from tests.real.prometheus import prometheus

BAR = "snapshot: four range queries, four charts, upload"
LIMIT = 250.0
TIMES = 12
CHARTS = 4


async def of_the_sandbox() -> list[Figure]:
    async with place() as here:
        return _figures("the sandbox's Prometheus", [await _taken(here, channel) for channel in await _prepared(here)])


async def of_a_real_one() -> list[Figure]:
    if why := missing("prometheus"):
        return [Figure(BAR, "a real Prometheus", None, "ms", LIMIT, why)]
    with prometheus(openmetrics="\n".join([*_samples(World(Clock())), "# EOF", ""])) as url:
        async with place(prometheus=url) as here:
            return _figures("a real Prometheus", [await _taken(here, channel) for channel in await _prepared(here)])


def _figures(whose: str, taken: list[float]) -> list[Figure]:
    return [
        Figure(BAR, f"{whose}, median", median(taken), "ms", LIMIT),
        Figure(BAR, f"{whose}, slowest", max(taken), "ms", LIMIT, f"of {len(taken)}"),
    ]


async def _prepared(here: Place) -> list[str]:
    """The channel to ask in, as often as it is to be asked."""
    incident = await declared(here)
    return [incident.channel] * TIMES


async def _taken(here: Place, channel: str) -> float:
    """Milliseconds from the signed command until Slack has the last chart."""
    await here.forget()
    began = time.time()
    await here.send(here.workspace.command("/snapshot render service=xr-engine", channel))

    async def uploaded() -> float | None:
        calls = await here.calls("/files.completeUploadExternal")
        return float(calls[0]["at"]) if calls else None

    at = await until(uploaded)
    bytes_taken = [call for call in await here.calls() if "/upload/v1/" in call["path"]]
    assert len(bytes_taken) == CHARTS, len(bytes_taken)
    await here.quiet(0.5)
    return (at - began) * 1000


def _samples(world: World) -> Iterator[str]:
    """The world's two hours of history as OpenMetrics text."""
    world.advance()
    for series in world.tsdb:
        labels = ",".join(f'{name}="{value}"' for name, value in series.order if name != "__name__")
        for at, value in zip(series.times, series.values, strict=True):
            if math.isfinite(value):
                yield f"{series.labels['__name__']}{{{labels}}} {float(value)!r} {at / 1000:.3f}"
