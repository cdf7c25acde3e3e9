"""The sandbox's clock: world time that can run faster."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.clock import Clock, LoadAwareClock
from sandbox.deadline import deadline

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_starts_where_it_is_told_and_in_utc() -> None:
    there = datetime.fromisoformat("2026-01-01T02:00:00+02:00")
    now = Clock(there).now()
    assert now.tzinfo is UTC
    assert timedelta(0) <= now - START < timedelta(seconds=5)
    assert abs(Clock().now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_world_seconds_pass_at_its_speed() -> None:
    clock = Clock(START, speed=1000)
    earliest, before, latest = time.monotonic(), clock.now(), time.monotonic()
    while time.monotonic() - latest < 0.02:
        pass
    least = time.monotonic() - latest
    world = (clock.now() - before).total_seconds()
    most = time.monotonic() - earliest
    assert least * 1000 <= world + 0.001
    assert world <= most * 1000 + 0.001


def test_a_change_of_speed_makes_no_jump() -> None:
    clock = Clock(START)
    before = clock.now()
    clock.speed = 100_000.0
    clock.speed = 1.0
    assert clock.speed == 1.0
    assert timedelta(0) <= clock.now() - before < timedelta(minutes=30)
    before = clock.now()
    clock.speed = 50.0
    assert clock.now() - before < timedelta(seconds=5)


async def test_a_sleep_is_in_world_seconds_and_never_too_short() -> None:
    clock = Clock(START, speed=3600)
    before = clock.now()
    await clock.sleep(90)
    assert clock.now() - before >= timedelta(seconds=90)


async def test_a_sleeper_notices_that_the_clock_runs_faster_now() -> None:
    clock = Clock(START)
    sleeper = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    clock.speed = 1_000_000.0
    async with deadline(5):
        await sleeper


async def test_sleeping_no_time_lets_others_run() -> None:
    let_in = asyncio.Event()
    asyncio.get_running_loop().call_soon(let_in.set)
    await Clock().sleep(0)
    assert let_in.is_set()


@pytest.mark.parametrize("speed", [0, -1])
def test_a_clock_does_not_stand_or_go_back(speed: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Clock(speed=speed)
    clock = Clock()
    with pytest.raises(ValueError, match="above zero"):
        clock.speed = speed


def test_a_start_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Clock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_load_aware_clock_stands_still_while_nobody_could_read_it() -> None:
    clock = LoadAwareClock(START, speed=100)
    before = clock.now()
    time.sleep(0.6)
    assert clock.now() - before <= timedelta(seconds=26)


def test_load_aware_clock_is_exact_at_the_speed_of_the_wall_clock() -> None:
    clock = LoadAwareClock(START)
    real, before = time.monotonic(), clock.now()
    time.sleep(0.4)
    elapsed = (clock.now() - before).total_seconds()
    assert 0.4 <= elapsed <= time.monotonic() - real + 0.000_01  # it counts in microseconds
