"""The dead man's switch: called while the bot can do its job, silent when it cannot, and no reason to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.integrations.http import Http
from bot.tasks import cancel_and_wait
from handlers.heartbeat import beat
from sandbox.deadline import deadline
from tests.harness.receiver import Receiver


class Bot:
    def __init__(self) -> None:
        self.ready, self.asked = True, 0

    async def is_ready(self) -> bool:
        self.asked += 1
        return self.ready


@asynccontextmanager
async def beating(bot: Bot, url: str) -> AsyncIterator[None]:
    async with Http() as http:
        task = asyncio.create_task(beat(bot.is_ready, http, url, every=0.01))
        try:
            yield
            assert not task.done()
        finally:
            await cancel_and_wait([task])


async def until(receiver: Receiver, calls: int) -> None:
    async with deadline(30):
        while len(receiver.received) < calls:  # noqa: ASYNC110 - two programs meet here
            await asyncio.sleep(0.01)


async def asked(bot: Bot, times: int) -> None:
    """Wait until it has been asked so many times more."""
    bot.asked = 0
    async with deadline(30):
        while bot.asked < times:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)


async def test_it_beats_while_the_bot_is_ready_and_is_silent_while_it_is_not() -> None:
    bot, receiver = Bot(), Receiver()
    async with receiver.serving(), beating(bot, receiver.url):
        await until(receiver, 3)
        bot.ready = False
        await asked(bot, 2)  # by the second time, what was on its way has arrived
        before = len(receiver.received)
        await asked(bot, 5)
        assert len(receiver.received) == before
        bot.ready = True
        await until(receiver, before + 1)


async def test_a_url_that_fails_is_called_again() -> None:
    bot, receiver = Bot(), Receiver()
    receiver.answers = [500, 404]
    async with receiver.serving(), beating(bot, receiver.url):
        await until(receiver, 4)


async def test_an_address_at_which_nobody_answers_does_not_end_it() -> None:
    bot = Bot()
    async with beating(bot, "http://127.0.0.1:9/"):
        await asked(bot, 4)
