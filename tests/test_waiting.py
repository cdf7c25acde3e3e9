"""What waits for Slack is counted, and said once it is there; turns keep the order."""

from __future__ import annotations

import asyncio

from bot.turns import Turns
from bot.waiting import Delay, WaitingMessages


class HandClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_last_message_of_a_place_says_how_many_came_late() -> None:
    clock = HandClock()
    waiting = WaitingMessages(clock)
    for key in ("a", "b"):
        waiting.refused(key, "INC-1", "invalid_auth")
    waiting.refused("c", "INC-2", "invalid_auth")
    clock.seconds = 90
    assert (waiting.count, waiting.oldest_seconds) == (3, 90)
    assert waiting.sent("a") is None
    assert waiting.sent("b") == Delay(2, 90, "invalid_auth")
    assert waiting.sent("never refused") is None
    assert waiting.count == 1


def test_a_short_delay_is_not_worth_a_line() -> None:
    clock = HandClock()
    waiting = WaitingMessages(clock)
    waiting.refused("a", "INC-1", "ratelimited")
    clock.seconds = 5
    assert waiting.sent("a") is None
    assert (waiting.count, waiting.oldest_seconds) == (0, 0)


def test_what_nobody_tries_to_send_any_more_does_not_wait() -> None:
    clock = HandClock()
    waiting = WaitingMessages(clock)
    waiting.refused("a", "D1", "timed_out")
    clock.seconds = 1000
    assert waiting.count == 0


async def test_a_turn_comes_when_no_lower_one_is_held() -> None:
    turns, order = Turns(), []

    async def speak(number: int, pause: float) -> None:
        with turns.take("INC-1", number) as turn:
            await asyncio.sleep(pause)
            await turn.come()
            order.append(number)

    await asyncio.gather(speak(1, 0.03), speak(2, 0.0), speak(3, 0.01))
    assert order == [1, 2, 3]
    with turns.take("INC-2", 9) as other:
        await asyncio.wait_for(other.come(), 1)
