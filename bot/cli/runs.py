"""A run that is asked for in a terminal: begun in the store, and watched to its end.

Whichever bot leads plays it; when none does, this process is the bot for as long as it takes (docs/adr/0011).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import NoReturn

import typer

from bot.app import running_bot
from bot.cli.terminal import exit_with_error, login, person, settings_or_exit
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.people import Person
from bot.domain.run import ApprovalState, Run, RunState, StepRef, StepState
from bot.domain.runbook import Runbook
from bot.messages.run import lines, result_text
from bot.messages.text import as_text
from bot.services.bot import Bot
from bot.workflows.runs.undo import NOT_UNDONE, TARGETS_RELEASED, undo_workflow_id

POLL_SECONDS = 0.2

Begin = Callable[[Bot, str], Awaitable[Run]]
Over = Callable[[Run], Awaitable[bool]]
SUCCEEDED = (RunState.SUCCEEDED,)


def start_and_watch(begin: Begin, well: Collection[RunState] = SUCCEEDED) -> NoReturn:
    """Begin a run (with the cause that names this call), print how it goes; exit 0 only when it ended in `well`."""

    async def played(bot: Bot, idempotency_key: str) -> bool:
        run = await _watch(bot, await begin(bot, idempotency_key), _has_ended)
        typer.echo(as_text(bot.deps.words.render_block("terminal", "ended", run=run), names(bot.deps)))
        return run.state in well

    _exit(played)


def undo(run_id: str, by: str | None) -> NoReturn:
    """Have a run undone, print how that goes; exit 0 only when nothing is left that should have been undone."""

    async def undone(bot: Bot, idempotency_key: str) -> bool:
        run = await bot.runs.undo(run_id, by=person(bot.deps.team, by), idempotency_key=idempotency_key)
        run = await _watch(
            bot, run, lambda run: bot.engine.has_completed(undo_workflow_id(idempotency_key), TARGETS_RELEASED)
        )
        left = [step.id for step in run.steps if NOT_UNDONE in step.facts]
        typer.echo(bot.deps.words.render_block("terminal", "undone", run=run, left=left))
        return not left

    _exit(undone)


async def decide(bot: Bot, by: Person, step: StepRef, verdict: ApprovalState) -> Run:
    """Approve or reject exactly these parameters, under the same policy as a button."""
    await bot.runs.decide(step, verdict, by=by, idempotency_key=_cause())
    return await bot.deps.store.runs.get(step.run_id)


async def pending_approvers(deps: Deps, run: Run, step_id: str) -> str | None:
    """Who else is needed, and how they agree in a terminal of theirs."""
    approval = await deps.store.runs.approval(run.id, step_id)
    if approval is None or approval.state is not ApprovalState.WAITING:
        return None
    return deps.words.render_block("terminal", "asked", asked=approval)


def names(deps: Deps) -> dict[str, str]:
    """People's names by their Slack ids."""
    return {owner.slack: owner.name for owner in deps.team.people}


def _exit(do: Callable[[Bot, str], Awaitable[bool]]) -> NoReturn:
    """Be a bot until `do(bot, cause)` is done; exit 0 when it was well, 1 when not or refused."""
    settings = settings_or_exit()
    logging.disable(logging.ERROR)

    async def done() -> bool:
        async with running_bot(settings) as bot:
            return await do(bot, _cause())

    try:
        well = asyncio.run(done())
    except BotError as problem:
        exit_with_error(problem, settings.locale)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if well else 1)


def _cause() -> str:
    return f"terminal:{login()}:{uuid.uuid4().hex}"


async def _has_ended(run: Run) -> bool:
    return run.state.ended


async def _watch(bot: Bot, run: Run, over: Over) -> Run:
    """Print what becomes of it, line by line, until it is over."""
    words, store, people = bot.deps.words, bot.deps.store, names(bot.deps)
    typer.echo(
        words.render_block(
            "terminal", "begun", run=run.id, title=words.pick(Runbook.model_validate(run.definition).title)
        )
    )
    shown: dict[int, str] = {}
    printed: set[str] = set()
    while True:
        ended = await over(run)  # before the last look, which then shows all of it
        run = await store.runs.get(run.id)
        for number, (line, step) in enumerate(zip(lines(run, words), run.steps, strict=True)):
            if step.state is not StepState.PENDING and shown.get(number) != line:
                shown[number] = line
                typer.echo(as_text(line, people))
                if step.state is StepState.DONE:
                    typer.echo("".join(f"    {line}\n" for line in result_text(step)), nl=False)
            if (
                step.state is StepState.WAITING
                and (how := await pending_approvers(bot.deps, run, step.id))
                and how not in printed
            ):
                printed.add(how)
                typer.echo(how)
        if ended:
            return run
        await asyncio.sleep(POLL_SECONDS)
