"""Deadlines of those who wait for other programs."""

from __future__ import annotations

import asyncio
import time

import pytest

from sandbox.deadline import LONGEST_STRETCH, cpu_share, deadline


async def test_deadline_ends_a_wait_for_what_never_comes() -> None:
    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with deadline(0.3):
            await asyncio.Event().wait()
    assert 0.25 < time.perf_counter() - started < 0.3 * LONGEST_STRETCH + 1


async def test_deadline_starts_anew_when_something_moves() -> None:
    async with deadline(0.4) as limit:
        for _ in range(4):
            await asyncio.sleep(0.2)
            limit.restart()


async def test_deadline_has_an_end_even_when_something_always_moves() -> None:
    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with deadline(0.05) as limit:
            while True:
                await asyncio.sleep(0.01)
                limit.restart()
    assert time.perf_counter() - started > 0.3


def test_cpu_share_is_a_part_of_one() -> None:
    assert 0 < cpu_share() <= 1
