"""What runs in the background can be ended at any moment."""

from __future__ import annotations

import asyncio
import threading
import time

from bot.integrations.base import in_thread
from bot.tasks import PAUSE_SECONDS, answering, cancel_and_wait, continue_in_background, yield_to_requests

DEADLINE = 10.0


async def test_a_call_that_ends_in_the_moment_in_which_it_is_cancelled_is_cancelled() -> None:
    went_on = False
    gate = threading.Event()

    async def calling() -> None:
        nonlocal went_on
        await in_thread(gate.wait, deadline=DEADLINE, service="a library")
        went_on = True

    task = asyncio.create_task(calling())
    await asyncio.sleep(0)
    gate.set()
    time.sleep(0.05)  # noqa: ASYNC251 - the loop must not see the result before the cancellation
    task.cancel()
    await asyncio.wait([task], timeout=DEADLINE)
    assert task.cancelled() and not went_on


async def test_one_that_misses_it_is_told_again() -> None:
    missed = 0

    async def deaf() -> None:
        nonlocal missed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                missed += 1
                if missed == 2:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        await cancel_and_wait([task], again=0.01)
    assert task.cancelled() and missed == 2


async def test_one_takes_its_turn_in_each_round_of_the_loop_first_come_first_served() -> None:
    rounds, went = 0, dict[int, int]()

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def wait(number: int) -> None:
        await yield_to_requests()
        went[number] = rounds

    counting = asyncio.create_task(count())
    await asyncio.gather(*(wait(number) for number in range(20)))
    await cancel_and_wait([counting])
    assert list(went) == list(range(20))
    assert len(set(went.values())) == 20


async def test_who_is_cut_off_while_waiting_takes_nobody_elses_turn() -> None:
    first, second, third = [asyncio.create_task(yield_to_requests()) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    async with asyncio.timeout(1):
        await third
        await yield_to_requests()
    assert first.cancelled() and second.cancelled()


async def work_in_background(turns: list[float]) -> None:
    while True:
        await yield_to_requests()
        turns.append(asyncio.get_running_loop().time())


async def test_background_work_pauses_while_a_request_is_unanswered() -> None:
    turns: list[float] = []
    working = asyncio.create_task(work_in_background(turns))
    await asyncio.sleep(0.05)
    with answering():
        await asyncio.sleep(0)
        turns.clear()
        await asyncio.sleep(20 * PAUSE_SECONDS)
        assert 1 <= len(turns) <= 20  # it goes on, slowly
        turns.clear()
    await asyncio.sleep(PAUSE_SECONDS)
    assert len(turns) > 10
    await cancel_and_wait([working])


async def test_a_request_waits_for_no_turn_until_it_continues_in_the_background() -> None:
    working = [asyncio.create_task(work_in_background([])) for _ in range(50)]
    await asyncio.sleep(0)
    order: list[str] = []

    async def handle() -> None:
        await yield_to_requests()
        order.append("handled")
        await continue_in_background()
        order.append("worked in the background")

    with answering():
        handling = asyncio.create_task(handle())
        await asyncio.sleep(PAUSE_SECONDS / 2)
        order.append("answered")
    await handling
    assert order == ["handled", "answered", "worked in the background"]
    await cancel_and_wait(working)


async def test_a_request_that_takes_long_holds_up_nothing() -> None:
    turns: list[float] = []
    working = asyncio.create_task(work_in_background(turns))
    with answering(head_start=0.02):
        await asyncio.sleep(0.05)
        turns.clear()
        await asyncio.sleep(10 * PAUSE_SECONDS)
        assert len(turns) > 100
    await cancel_and_wait([working])
