"""`flow.*`: waiting, conditions, approvals and questions between other steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import BadInput, WrongState
from bot.domain.policy import Risk
from bot.domain.run import ApprovalState, WaitsFor
from bot.domain.runbook import Input, InputType
from bot.domain.times import DailyWindow, Duration

Question = Annotated[str, Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True)
class Waited:
    seconds: float


@dataclass(frozen=True, slots=True)
class Checked:
    holds: bool


@dataclass(frozen=True, slots=True)
class Approved:
    """Slack user ids; empty in a dry run."""

    by: list[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer in its type, and who gave it (a Slack user id); the default and None in a dry run."""

    answer: Any
    by: str | None


@action("flow.wait", risk=Risk.READ, example="/ops flow.wait 5m")
async def wait(ctx: Context, duration: Duration) -> Waited:
    """Wait for a duration."""
    if not ctx.dry_run:
        await ctx.clock.sleep((ctx.began + duration - ctx.clock.now()).total_seconds())
    return Waited(timedelta.total_seconds(duration))


@action("flow.check", risk=Risk.READ, example="/ops flow.check true")
async def check(ctx: Context, that: bool, otherwise: str = "") -> Checked:
    """Continue only if a condition holds."""
    if not that:
        raise WrongState("condition_failed", why=otherwise)
    return Checked(that)


@action(
    "flow.approve",
    risk=Risk.READ,
    waits_for=WaitsFor.APPROVAL,
    example="/ops flow.approve '¿Seguimos con la migración?'",
)
async def approve(ctx: Context, question: Question) -> Approved:
    """Continue only if another person approves; the step's `approval` sets who, how many and until when."""
    return Approved([person for person, _ in await _agreeing(ctx)])


@action("flow.ask", risk=Risk.READ, waits_for=WaitsFor.ANSWER, example="/ops flow.ask '¿Qué servicio?' type=service")
async def ask(
    ctx: Context,
    question: Question,
    type: InputType = "string",
    options: list[str] | None = None,
    default: str | None = None,
) -> Answered:
    """Ask the people in the channel; they answer in a form, and the answer has a type."""
    if (type == "choice") != bool(options):
        raise BadInput("choice_without_options")
    spec = Input(type=type, options=options or [])
    decisions = await _agreeing(ctx)
    person, text = decisions[-1] if decisions else (None, default)
    return Answered(spec.read(question, text, ctx.team.services) if text is not None else None, person)


async def _agreeing(ctx: Context) -> list[tuple[str, str | None]]:
    """Return who agreed, each with their text."""
    run_id, _, step_id = ctx.key.partition("/")
    approval = None if ctx.dry_run else await ctx.deps.store.runs.approval(run_id, step_id)
    agreed = (ApprovalState.APPROVED, ApprovalState.BROKEN_GLASS)
    return (
        [(decision.person, decision.reason) for decision in approval.decisions if decision.verdict in agreed]
        if approval
        else []
    )


@dataclass(frozen=True, slots=True)
class Window:
    """Start and end of a maintenance window."""

    begins: datetime
    ends: datetime


@action("flow.next_window", risk=Risk.READ, example="/ops flow.next_window 02:00 04:00 notice=24h")
async def next_window(ctx: Context, opens: time, closes: time, notice: Duration = timedelta(hours=24)) -> Window:
    """Find the next maintenance window (UTC) that leaves enough time to announce it."""
    return Window(*DailyWindow(opens, closes).next(ctx.clock.now() + notice))


@action("flow.window", risk=Risk.READ, example="/ops flow.window 2026-01-31T02:00:00Z 2026-01-31T04:00:00Z")
async def window(ctx: Context, begins: AwareDatetime, ends: AwareDatetime) -> Window:
    """Continue only inside a maintenance window: waits until it opens, fails if it is over."""
    if not ctx.dry_run and (seconds_until_open := (begins - ctx.clock.now()).total_seconds()) > 0:
        await ctx.clock.sleep(seconds_until_open)
    if ctx.clock.now() >= ends:
        raise WrongState("window_over", ends=ends.isoformat(timespec="minutes"))
    return Window(begins, ends)
