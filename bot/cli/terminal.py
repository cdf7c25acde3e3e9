"""What every command of the terminal begins and ends with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn, TypeVar

import typer

from bot.assembly import build_deps
from bot.domain.errors import BotError
from bot.messages.text import as_text
from bot.messages.words import load_translations
from bot.parts import Parts
from bot.settings import Locale, Settings, WrongSettings, load_settings
from bot.store.migrate import pending

T = TypeVar("T")


def settings_or_exit() -> Settings:
    """The settings; when they are wrong a line for each mistake, and exit code 2."""
    try:
        return load_settings()
    except WrongSettings as wrong:
        exit_with(wrong.lines)


def exit_with(lines: Iterable[str], code: int = 2) -> NoReturn:
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(code)


def exit_with_error(problem: BotError, locale: Locale) -> NoReturn:
    """Say what was wrong, a line for each mistake of a runbook; exit code 1."""
    mistakes = problem.facts.get("mistakes")
    exit_with(
        mistakes if isinstance(mistakes, list) else [as_text(load_translations()[locale].error(problem), {})], code=1
    )


def ask(question: Callable[[Parts], Awaitable[T]]) -> T:
    """The answer of the bot's parts, without an engine; a mistake is said in a line, and the exit code is 1."""
    settings = settings_or_exit()
    logging.disable(logging.WARNING)

    async def asked() -> T:
        async with build_deps(settings) as parts:
            if missing := await asyncio.to_thread(pending, settings.database_url):
                exit_with([parts.words.render_block("terminal", "not_migrated", count=len(missing))], code=1)
            return await question(parts)

    try:
        return asyncio.run(asked())
    except BotError as problem:
        exit_with_error(problem, settings.locale)
