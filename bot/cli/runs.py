"""Runs started in a terminal: saved in the store and watched to their end.

A bot that serves plays the run; without one, this process is the bot until the run ends (docs/adr/0011).
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import NoReturn

import typer

from bot.actions.catalogue import ACTIONS
from bot.app import running_bot
from bot.cli.terminal import (
    exit_with_error,
    has_slack_settings,
    login,
    person,
    plain,
    say,
    settings_or_exit,
    settings_without_slack,
)
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.people import Person
from bot.domain.run import (
    UNDO,
    ApprovalState,
    Run,
    RunState,
    StepRef,
    StepRun,
    StepState,
    WaitsFor,
    base_step_id,
    is_undo,
    undo_step_id,
)
from bot.domain.runbook import Runbook
from bot.messages import results
from bot.messages.run import lines
from bot.services.bot import Bot
from bot.settings import Settings
from bot.workflows.runs.undo import NOT_UNDONE, TARGETS_RELEASED, undo_workflow_id

POLL_SECONDS = 0.2

StartRun = Callable[[Bot, str], Awaitable[Run]]
IsOver = Callable[[Run], Awaitable[bool]]
SUCCEEDED = (RunState.SUCCEEDED,)


def start_and_watch(start: StartRun, success: Collection[RunState] = SUCCEEDED, *, dry_run: bool = False) -> NoReturn:
    """Start a run and print its progress; exit 0 only if it ends in a state of `success`.

    A `dry_run` does without Slack's settings: nothing is posted then, and nothing is kept.
    """

    async def play(bot: Bot, idempotency_key: str) -> bool:
        run = await _watch(bot, await start(bot, idempotency_key), _has_ended)
        words = bot.deps.words
        typer.echo(plain(words.render_block("terminal", "ended", run=run), words, names(bot.deps)))
        return run.state in success

    if dry_run and not has_slack_settings():
        with tempfile.TemporaryDirectory() as folder:
            _exit(play, settings_without_slack(f"sqlite:///{folder}/dry-run.db"))
    _exit(play)


def undo(run_id: str, by: str | None) -> NoReturn:
    """Undo a run and print the progress; exit 0 only if nothing is left that should have been undone."""

    async def run_undo(bot: Bot, idempotency_key: str) -> bool:
        run = await bot.runs.undo(run_id, by=person(bot.deps.team, by), idempotency_key=idempotency_key)
        run = await _watch(
            bot, run, lambda run: bot.engine.has_completed(undo_workflow_id(idempotency_key), TARGETS_RELEASED)
        )
        not_undone = [step.id for step in run.steps if NOT_UNDONE in step.facts]
        typer.echo(bot.deps.words.render_block("terminal", "undone", run=run, left=not_undone))
        return not not_undone

    _exit(run_undo)


async def decide(bot: Bot, by: Person, step: StepRef, verdict: ApprovalState) -> Run:
    """Approve or reject exactly these parameters, under the same policy as a button."""
    await bot.runs.decide(step, verdict, by=by, idempotency_key=_idempotency_key())
    return await bot.deps.store.runs.get(step.run_id)


async def answer(bot: Bot, by: Person, step: StepRef, text: str) -> Run:
    """Answer the question of a step, as its form does."""
    await bot.runs.answer(step, text, by=by, idempotency_key=_idempotency_key())
    return await bot.deps.store.runs.get(step.run_id)


async def pending_approvers(deps: Deps, run: Run, step_id: str) -> str | None:
    """Return who else must approve or what is asked, and the command for it; None if the step does not wait."""
    approval = await deps.store.runs.approval(run.id, step_id)
    if approval is None or approval.state is not ApprovalState.WAITING:
        return None
    step = run.step(base_step_id(step_id))
    is_question = not is_undo(step_id) and ACTIONS.get(step.uses).waits_for is WaitsFor.ANSWER
    return deps.words.render_block("terminal", "question" if is_question else "asked", asked=approval)


def names(deps: Deps) -> dict[str, str]:
    """Return people's names by Slack id."""
    return {owner.slack: owner.name for owner in deps.team.people}


def _exit(work: Callable[[Bot, str], Awaitable[bool]], settings: Settings | None = None) -> NoReturn:
    """Run a bot until `work(bot, idempotency_key)` is done; exit 0 if it returned True, else 1."""
    settings = settings or settings_or_exit()
    logging.disable(logging.ERROR)

    async def run_bot() -> bool:
        async with running_bot(settings, spare=True) as bot:
            return await work(bot, _idempotency_key())

    try:
        succeeded = asyncio.run(run_bot())
    except BotError as problem:
        exit_with_error(problem, settings.locale)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if succeeded else 1)


def _idempotency_key() -> str:
    return f"terminal:{login()}:{uuid.uuid4().hex}"


def _asks(step: StepRun, asked: str) -> bool:
    """Return True if the step, or its undo, may wait for an approval."""
    return UNDO in step.facts if is_undo(asked) else step.state is StepState.WAITING


async def _has_ended(run: Run) -> bool:
    return run.state.ended


async def _watch(bot: Bot, run: Run, is_over: IsOver) -> Run:
    """Print the run's progress, line by line, until it is over."""
    words, store, people = bot.deps.words, bot.deps.store, names(bot.deps)
    typer.echo(
        words.render_block(
            "terminal", "begun", run=run.id, title=words.pick(Runbook.model_validate(run.definition).title)
        )
    )
    shown: dict[int, str] = {}
    printed: set[str] = set()
    while True:
        ended = await is_over(run)  # check first, so that the last refresh shows everything
        run = await store.runs.get(run.id)
        for number, (line, step) in enumerate(zip(lines(run, words), run.steps, strict=True)):
            if step.state is not StepState.PENDING and shown.get(number) != line:
                shown[number] = line
                say(plain(line, words, people))
                if step.state is StepState.DONE:
                    typer.echo("".join(f"    {line}\n" for line in results.lines(step, words)), nl=False)
            for asked in (step.id, undo_step_id(step.id)):
                command = await pending_approvers(bot.deps, run, asked) if _asks(step, asked) else None
                if command and command not in printed:
                    printed.add(command)
                    say(command)
        if ended:
            return run
        await asyncio.sleep(POLL_SECONDS)
