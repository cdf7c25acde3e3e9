"""Find out what came of a change that was stopped: by its calls' answers, else by looking until it is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bot.domain.errors import BotError
from bot.domain.run import LEFT, OUTCOME, ChangeOutcome, Effect, StepRun
from bot.integrations.effects import Execution, dry_run

LOOK_AGAIN_SECONDS = 1.0  # of the wall clock: the remote service takes its own time, however fast the bot's clock runs
GIVE_UP_LOOKING_SECONDS = 60.0  # longer than any remote service keeps a request whose sender has gone

Look = Callable[[], Awaitable[tuple[Effect, ...]]]


async def find_outcome(
    step_run: StepRun, execution: Execution | None, look: Look, *, give_up_after: float = GIVE_UP_LOOKING_SECONDS
) -> dict[str, Any]:
    """Return what came of a change, as facts of its step.

    `execution` is None if another process began it and nobody here has its answers. `look` returns the effects that the
    action would still have. A call without an answer is looked for until its effect is there, or time is up.
    """
    if execution and not execution.started:
        return {OUTCOME: ChangeOutcome.NOT_STARTED.value}
    uncertain = execution is None or execution.uncertain
    if execution and not uncertain and not execution.failed and execution.done >= len(step_run.effects):
        return {OUTCOME: ChangeOutcome.DONE.value}
    until = time.monotonic() + give_up_after
    left = await _left(step_run, look)
    while uncertain and left != [] and time.monotonic() < until:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        left = await _left(step_run, look)
    if left == []:
        return {OUTCOME: ChangeOutcome.DONE.value}
    facts = {LEFT: None if left is None else [effect.to_json() for effect in left]}
    if uncertain or left is None:
        return {OUTCOME: ChangeOutcome.UNKNOWN.value} | facts
    made_something = bool(execution and execution.done) or len(left) < len(step_run.effects)
    return {OUTCOME: (ChangeOutcome.PARTLY if made_something else ChangeOutcome.NOT_STARTED).value} | facts


async def remaining_effects(action: Callable[[], Awaitable[Any]]) -> tuple[Effect, ...]:
    """Return the effects that the action would have now. Raises the errors of its dry run."""
    with dry_run() as recorder:
        await action()
    return tuple(recorder.effects)


async def _left(step_run: StepRun, look: Look) -> list[Effect] | None:
    """Return the planned effects that are not there yet; None if that cannot be seen now."""
    try:
        effects = await look()
    except BotError:
        return None
    had_diff = {effect.key for effect in step_run.effects if effect.diff}
    # An effect that had a diff and has none any more is there, although the action would state it again.
    return [effect for effect in effects if effect.diff or effect.key not in had_diff]
