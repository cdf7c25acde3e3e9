"""What every command of the terminal begins and ends with."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, NoReturn, TypeVar

import typer

from bot.app import build_deps
from bot.deps import Deps
from bot.domain.errors import BotError, NotAllowed
from bot.domain.people import Person
from bot.messages.text import as_text
from bot.messages.translations import load_translations
from bot.settings import Settings, WrongSettings, languages, load_settings
from bot.store.migrate import pending
from bot.team import Owner, TeamFile

T = TypeVar("T")


def _spoken(value: str) -> str:
    if value not in languages():
        raise typer.BadParameter(f"must be one of {', '.join(languages())}")
    return value


Language = Annotated[str, typer.Option("--lang", envvar="LOCALE", help="The language.", callback=_spoken)]


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


def exit_with_error(problem: BotError, locale: str) -> NoReturn:
    """Say what was wrong, a line for each mistake of a runbook; exit code 1."""
    mistakes = problem.facts.get("mistakes")
    exit_with(
        mistakes if isinstance(mistakes, list) else [as_text(load_translations()[locale].error(problem), {})], code=1
    )


def ask(question: Callable[[Deps], Awaitable[T]]) -> T:
    """The answer of the bot's parts, without an engine; a mistake is said in a line, and the exit code is 1."""
    settings = settings_or_exit()
    logging.disable(logging.WARNING)

    async def asked() -> T:
        async with build_deps(settings) as deps:
            if missing := await asyncio.to_thread(pending, settings.database_url):
                exit_with([deps.words.render_block("terminal", "not_migrated", count=len(missing))], code=1)
            return await question(deps)

    try:
        return asyncio.run(asked())
    except BotError as problem:
        exit_with_error(problem, settings.locale)


def login() -> str:
    """The user's name; behind sudo that of who called it."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def person(team: TeamFile, name: str | None) -> Person:
    """The person called `name` (login, GitHub login, Slack id, address or name), or whose login is the user's.

    Raises NotAllowed with whom the file knows.
    """
    wanted = name or login()
    owner = next((owner for owner in team.people if wanted.lower() in _names(owner)), None)
    if owner is None:
        names = sorted(owner.login or owner.github or owner.slack for owner in team.people)
        raise NotAllowed("nobody_known", name=wanted, known=names)
    return Person(owner.slack, owner.name)


def _names(owner: Owner) -> set[str]:
    return {name.lower() for name in (owner.login, owner.github, owner.slack, owner.email, owner.name) if name}
