"""What came of a change that was stopped, from how its calls ended and what a look shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NoReturn

import pytest

from bot.domain.errors import BotError, Refused, Unavailable, WrongState
from bot.domain.run import OUTCOME, ChangeOutcome, Effect, StepRun
from bot.integrations.effects import Execution, effect
from bot.workflows.runs.interrupts import run_until_interrupted
from bot.workflows.runs.outcome import find_outcome

PLANNED = (Effect("lamp.set", {"value": 10}), Effect("lamp.name", {"name": "desk"}, "-a\n+b"))
STATED_AGAIN = (Effect("lamp.name", {"name": "desk"}),)  # without a diff: it is so already


async def _returns() -> str:
    return ""


async def _is_refused() -> str:
    raise Refused("refused", service="lamp")


async def _is_lost() -> str:
    raise Unavailable("timed_out", service="lamp", uncertain=True)


async def _never_sent() -> str:
    raise Unavailable("unreachable", service="lamp")


@pytest.mark.parametrize(
    ("calls", "looks", "expected"),
    [
        ([], [PLANNED], ChangeOutcome.NOT_STARTED),
        ([_returns, _returns], [PLANNED], ChangeOutcome.DONE),
        ([_returns, _is_refused], [PLANNED[1:]], ChangeOutcome.PARTLY),
        ([_returns, _is_refused], [()], ChangeOutcome.DONE),
        ([_is_refused], [PLANNED], ChangeOutcome.NOT_STARTED),
        ([_never_sent], [PLANNED], ChangeOutcome.NOT_STARTED),
        ([_is_lost], [PLANNED, PLANNED, ()], ChangeOutcome.DONE),
        ([_is_lost], [PLANNED, STATED_AGAIN], ChangeOutcome.DONE),
        ([_is_lost], [PLANNED], ChangeOutcome.UNKNOWN),
        ([_is_lost], [Refused("refused", service="lamp")], ChangeOutcome.UNKNOWN),
        (None, [PLANNED], ChangeOutcome.UNKNOWN),
        (None, [()], ChangeOutcome.DONE),
    ],
)
async def test_how_the_calls_ended_and_a_look_tell_what_came_of_a_change(
    calls: Sequence[Callable[[], object]] | None,
    looks: Sequence[tuple[Effect, ...] | BotError],
    expected: ChangeOutcome,
) -> None:
    execution = None if calls is None else Execution()
    for call in calls or ():
        assert execution
        await asyncio.gather(execution.call(call), return_exceptions=True)  # type: ignore[arg-type]
    ahead = list(looks)

    async def look() -> tuple[Effect, ...]:
        seen = ahead.pop(0) if len(ahead) > 1 else ahead[0]
        if isinstance(seen, BotError):
            raise seen
        return seen

    found = await find_outcome(StepRun("a", "lamp.dim", effects=PLANNED), execution, look, give_up_after=2.5)
    assert found[OUTCOME] == expected


async def test_once_stopped_no_other_effect_begins() -> None:
    execution = Execution()
    await execution.close(0)
    with pytest.raises(asyncio.CancelledError):
        await execution.call(_returns)
    assert not execution.started


async def test_an_action_that_is_stopped_may_still_stop_what_it_began() -> None:
    lamp: list[str] = []

    class Lamp:
        @effect("lamp.set")
        async def set(self, value: int) -> None:
            lamp.append(f"set {value}")

        @effect("lamp.off", stops=True)
        async def off(self) -> None:
            lamp.append("off")

    async def shine() -> None:
        await Lamp().set(1)
        try:
            await asyncio.Event().wait()
        finally:
            await Lamp().off()
            await Lamp().set(2)

    async def stop() -> NoReturn:
        while not lamp:  # noqa: ASYNC110 - it waits for another task
            await asyncio.sleep(0)
        raise WrongState("run_cancelled")

    with pytest.raises(WrongState):
        await run_until_interrupted(shine(), stop(), execution=Execution())
    assert lamp == ["set 1", "off"]
