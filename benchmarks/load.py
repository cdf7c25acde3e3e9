"""Requests one at a time, and requests by the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.place import Place
from benchmarks.requests import Request


@dataclass(frozen=True, slots=True)
class Answers:
    """Milliseconds until each answer, and how many were no 2xx."""

    milliseconds: Sequence[float]
    refused: int


async def one_at_a_time(place: Place, make: Callable[[int], Request], count: int, *, pause: float = 0.0) -> Answers:
    """The next request `pause` seconds after an answer."""
    answered = []
    for number in range(count):
        answered.append(await place.send(make(number)))
        await asyncio.sleep(pause)
    return _answers(answered)


async def by_the_clock(place: Place, make: Callable[[int], Request], *, rate: float, count: int) -> Answers:
    """`count` requests, `rate` a second, however long the answers take.

    An answer's time counts from when its request was due, so that what waits behind a slow one is not forgotten
    (G. Tene, "How NOT to Measure Latency": coordinated omission).
    """
    began = time.perf_counter()

    async def send(number: int) -> tuple[int, float]:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late = (time.perf_counter() - due) * 1000
        request = make(number)
        status, milliseconds = await place.send(request)
        return status, late + milliseconds

    return _answers(await asyncio.gather(*(send(number) for number in range(count))))


def _answers(answered: Sequence[tuple[int, float]]) -> Answers:
    refused = sum(not 200 <= status < 300 for status, _ in answered)
    return Answers([milliseconds for _, milliseconds in answered], refused)
