"""Building blocks of workflows: durable steps, retries, durable sleep, starting another workflow.

A workflow is an async function `(deps, *arguments)` with JSON arguments. Between its steps it must be deterministic: it
reads the outside world only in durable steps. Reading the store between steps may raise Unavailable; the workflow is
then replayed, as after a crash.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dbos import DBOS, SetWorkflowID

from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.integrations.base import retry
from bot.metrics import Metrics

log = logging.getLogger(__name__)

Workflow = Callable[..., Coroutine[Any, Any, Any]]

MIN_SLEEP_SECONDS = 0.001

registered: dict[str, Workflow] = {}  # wrapped by DBOS, by name; filled by the engine


@dataclass(frozen=True, slots=True)
class Running:
    """The workflow of the current task: its name, the metrics, and a gate that opens while this process may act.

    `redact` takes secrets out of what is recorded.
    """

    name: str
    metrics: Metrics
    gate: Callable[[], Awaitable[None]]
    redact: Callable[[dict[str, Any]], dict[str, Any]] = dict


current: ContextVar[Running] = ContextVar("workflow")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step returned, or the error that ended it. Plain JSON, so that a replay sees the same."""

    value: Any = None
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.error is None


async def durable_step(
    name: str, call: Callable[[], Awaitable[Any]], give_up_after: timedelta | None = None
) -> Outcome:
    """Do something outside at least once, and never again after it is recorded as done.

    `call` returns plain JSON, or an Outcome (see `run_with_retries`). It may be called again after a crash, so it must
    be idempotent. It is retried on Unavailable for `give_up_after` (None: forever). Never raises: check the outcome.
    """

    async def recorded() -> dict[str, Any]:  # without arguments, because DBOS logs those of cancelled steps
        outcome = await run_with_retries(name, call, give_up_after)
        return {"value": outcome.value} if outcome.ok else {"error": outcome.error, "facts": dict(outcome.facts)}

    envelope = await DBOS.run_step_async({"name": name}, recorded)
    return Outcome(**envelope)


async def run_with_retries(
    name: str,
    call: Callable[[], Awaitable[Any]],
    give_up_after: timedelta | None = None,
    *,
    on_retry: Callable[[Unavailable], Awaitable[None]] | None = None,
) -> Outcome:
    """Do a part of a durable step, with the same retries, without recording it.

    Recording costs more than most parts do. A step may therefore consist of several parts, each of which may be
    repeated after a crash; the step's `call` then returns an Outcome. `on_retry` is called before each wait.
    """
    workflow = current.get()

    async def about_to_retry(problem: Unavailable) -> None:
        log.warning("step %s of %s is retried: %s", name, DBOS.workflow_id, problem)
        workflow.metrics.step_waits(workflow.name, name)
        if on_retry:
            await on_retry(problem)

    async def call_within_lease() -> Any:
        await workflow.gate()
        return await call()

    try:
        outcome = await retry(call_within_lease, give_up_after, on_retry=about_to_retry)
        return outcome if isinstance(outcome, Outcome) else Outcome(outcome)
    except BotError as problem:
        workflow.metrics.step_failed(workflow.name, name, problem.key)
        log.warning("step %s of %s failed: %s", name, DBOS.workflow_id, problem)
        return Outcome(error=problem.key, facts=workflow.redact(to_json_facts(problem.facts)))
    except Exception:
        workflow.metrics.step_failed(workflow.name, name, "unexpected")
        reference = uuid.uuid4().hex[:8]
        log.exception("step %s of %s failed unexpectedly, reference %s", name, DBOS.workflow_id, reference)
        return Outcome(error="unexpected", facts={"reference": reference})


async def sleep_until(deps: Deps, moment: datetime) -> None:
    """Sleep until a time of the bot's clock; a restart does not prolong it."""
    seconds = (moment - deps.clock.now()).total_seconds() / deps.clock.speed
    # DBOS does not record a sleep of zero seconds: in a replay every later step would be off by one.
    await DBOS.sleep_async(max(MIN_SLEEP_SECONDS, seconds))


async def start(name: str, workflow_id: str, *arguments: Any) -> None:
    """Start another workflow from inside one, unless this id was started before."""
    with SetWorkflowID(workflow_id):
        await DBOS.start_workflow_async(registered[name], *arguments)


def to_json_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error's facts as plain JSON."""
    plain = (str, int, float, bool, type(None), list, dict)
    return {name: value if isinstance(value, plain) else str(value) for name, value in facts.items()}
