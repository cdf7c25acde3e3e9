"""What all terminal commands share: settings, errors, dependencies, the current person."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import re
import secrets
import shutil
import socket
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from bot.app import build_deps
from bot.deps import Deps
from bot.domain.errors import BotError, NotAllowed
from bot.domain.nearest import nearest
from bot.domain.people import Person
from bot.expected import expectation
from bot.messages.text import as_text
from bot.messages.translations import Translations, load_translations, translations_of
from bot.settings import Settings, TeamSettings, WrongSettings, load_settings, load_team_settings
from bot.shipped import languages
from bot.store.migrate import pending
from bot.team import Owner, TeamFile, load_team

T = TypeVar("T")

NOT_A_TERMINAL = 100_000  # columns
NOBODY: Mapping[str, str] = {}
# Settings, folders, versions and rights that are wrong before anything is begun.
WRONG_SETTING = (
    "backup_folder",
    "database_not_copied",
    "database_not_empty",
    "database_not_opened",
    "no_backup",
    "no_database",
    "program_missing",
    "runbook_wrong",
    "team_file_unreadable",
    "team_file_wrong",
)
_PATHS = {  # how Typer's sentences about a path end, and what is said instead
    "does not exist": "absent",
    "is a file": "a_file",
    "is a directory": "a_folder",
    "is not readable": "not_readable",
}


def known_language(value: str | None) -> str | None:
    """Return the value of an option; raises BadParameter if the bot does not speak it."""
    if value and value not in languages():
        raise typer.BadParameter(expected("one_of", ", ".join(languages())))
    return value


def _language(value: str) -> str:
    return known_language(value) or team_settings_or_exit().locale


Language = Annotated[str, typer.Option("--lang", envvar="LOCALE", help="Language.", callback=_language)]


def terminal_language() -> str:
    """Return the language of the terminal by LOCALE or LANG; English if the bot has none of them."""
    wanted = (os.environ.get("LOCALE", ""), os.environ.get("LANG", "")[:2])
    return next((language for language in wanted if language in languages()), "en")


def expected(kind: str, limit: object = "") -> str:
    """Return what the value of an option must be, in the terminal's language; `kind` is a key of `expected`."""
    words = load_translations()[terminal_language()]
    what = words.label(f"expected.{kind}", limit=str(limit).removesuffix(".0"))
    return words.render_block("terminal", "expected", what=what)


def team_settings_or_exit() -> TeamSettings:
    """Return where the team's folder is; if that is invalid, print one line per mistake and exit with 2."""
    try:
        return load_team_settings()
    except WrongSettings as error:
        exit_with(error.lines)


def settings_or_exit() -> Settings:
    """Return the settings; if they are invalid, print one line per mistake and exit with 2."""
    try:
        return load_settings()
    except WrongSettings as error:
        exit_with(error.lines)


def has_slack_settings() -> bool:
    """Return True unless Slack's settings are all that is missing."""
    try:
        load_settings()
    except WrongSettings as error:
        return not all(": is not set" in line and line.startswith("SLACK_") for line in error.lines)
    return True


def settings_without_slack(database_url: str) -> Settings:
    """Return the settings of a bot that nobody reads: its Slack is an address where nobody answers.

    If the others are invalid, print one line per mistake and exit with 2.
    """
    token = secrets.token_hex()  # secrets are taken out of texts: it must not be a word of one
    without = {"slack_bot_token": token, "slack_signing_secret": token, "slack_app_token": None}
    try:
        return load_settings(slack_api_url="http://127.0.0.1:9/", database_url=database_url, **without)
    except WrongSettings as error:
        exit_with(error.lines)


def team_words(locale: str) -> Translations:
    """Return the texts with the team's names of the commands; the product's if its file cannot be read."""
    try:
        return translations_of(load_team(load_team_settings().team_file), locale)[locale]
    except (BotError, WrongSettings):
        return load_translations()[locale]


def runbook_names(incomplete: str) -> list[str]:
    """Return the names of the team's runbooks that begin so, for the shell's completion."""
    try:
        folder = load_team_settings().team_folder / "runbooks"
    except WrongSettings:
        return []
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem.startswith(incomplete))


def plain(mrkdwn: str, words: Translations, names: Mapping[str, str] = NOBODY) -> str:
    """Return a message as plain text, with the terminal's commands; `names`: Slack id → name."""
    return words.names.in_terminal(as_text(mrkdwn, names))


def say(text: str) -> None:
    """Print text, wrapped at words to the terminal's width; what is not written to a terminal is left as it is."""
    width = shutil.get_terminal_size((NOT_A_TERMINAL, 24)).columns
    for line in text.splitlines() or [""]:
        typer.echo(_wrapped(line, width))


def _wrapped(line: str, width: int) -> str:
    """Return the line, its continuations below its first word: behind its blanks, and the number or the sign."""
    mark = re.match(r"\s*(?:\d+\.\s+|[•·▫✅❌⏭✋📈⏳🔎↩🚫❔]\ufe0f?\s+)?", line)
    indent = " " * (len(mark[0]) if mark else 0)
    wrapped = textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(wrapped) if len(line) > width else line


def exit_with(lines: Iterable[str], code: int = 2) -> NoReturn:
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(code)


def exit_with_error(problem: BotError, locale: str, code: int = 1) -> NoReturn:
    """Print the error, one line per mistake of a file, and exit; with 2 if a setting is wrong."""
    code = 2 if problem.key in WRONG_SETTING else code
    words = team_words(locale)
    mistakes = problem.facts.get("mistakes") or problem.facts.get("lines")
    exit_with(mistakes if isinstance(mistakes, list) else [plain(words.error(problem), words)], code)


def mistyped(problem: typer.TyperException, root: Any, arguments: Sequence[str], words: Translations) -> str:
    """Return a mistake in a command line as one line: what is wrong with what, and how to see what is right.

    `root` is Typer's command for all of `arguments`.
    """
    command, path = root, "tamv-bot"
    for word in arguments:
        if child := getattr(command, "commands", {}).get(word):
            command, path = child, f"{path} {word}"
    kind, name, why, known = "other", "", problem.message.rstrip("."), list[str]()
    if hasattr(problem, "possibilities"):
        kind, name = "option", str(getattr(problem, "option_name", ""))
        known = [option for param in command.params for option in param.opts]
    elif hasattr(problem, "option_name"):
        kind, name = "no_value" if "not take" in why else "valueless", problem.option_name
    elif isinstance(problem, typer.BadParameter):
        kind, name = "value" if why else "missing", max(problem.param.opts, key=len) if problem.param else ""
        if isinstance(problem.__cause__, ValidationError):
            why = expected(**expectation(problem.__cause__.errors()[0]))
        for ending, what in _PATHS.items():
            if why.endswith(ending):
                kind, why = what, why.partition("'")[2].rpartition("'")[0]
    elif unexpected := re.search(r"extra arguments?.*\((.*)\)", why):
        kind, name = "extra", unexpected[1]
    elif unknown := re.search("No such command '(.*?)'", why):
        kind, name, known = "command", unknown[1], list(getattr(command, "commands", ()))
    facts = {"command": path, "kind": kind, "name": name, "why": why}
    return as_text(words.render_block("terminal", "mistyped", **facts, near=nearest(name, known)), {})


def ask(question: Callable[[Deps], Awaitable[T]]) -> T:
    """Return the result of `question`, with the bot's dependencies but without an engine; on an error, print it and
    exit with 1.
    """
    settings = settings_or_exit()
    logging.disable(logging.WARNING)

    async def run_question() -> T:
        async with build_deps(settings) as deps:
            if missing := await asyncio.to_thread(pending, settings.database_url):
                exit_with([deps.words.render_block("terminal", "not_migrated", count=len(missing))])
            return await question(deps)

    try:
        return asyncio.run(run_question())
    except BotError as problem:
        exit_with_error(problem, settings.locale)


def login() -> str:
    """Return the login of the process's user, as the operating system knows it; its number if it has no name.

    LOGNAME, USER and SUDO_USER say whatever somebody wants.
    """
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def person(team: TeamFile, name: str | None) -> Person:
    """Return who acts in this terminal: the person of the current user, or the one called `name` (login, GitHub login,
    Slack id, e-mail address or name), if the team file lets this user act for others.

    Raises NotAllowed with the known people, and for a user who may not act for others.
    """
    user, uid = login(), os.getuid()
    own = next((owner for owner in team.people if user == (owner.login or owner.github)), None)
    owner = next((owner for owner in team.people if name.lower() in _names(owner)), None) if name else own
    if owner is None:
        names = sorted(owner.login or owner.github or owner.slack for owner in team.people)
        raise NotAllowed("nobody_known", name=name or user, known=names)
    if owner != own and not {user, str(uid)} & set(team.policy.act_for_others):
        raise NotAllowed("not_for_others", user=user, uid=uid, name=owner.name, who=sorted(team.policy.act_for_others))
    return Person(owner.slack, owner.name, terminal=f"uid {uid}, {user}@{socket.gethostname()}")


def reader(team: TeamFile, name: str | None) -> Person:
    """Return who asks for a dry run: as `person`, or anybody where Slack's settings are missing, as in CI."""
    if name or has_slack_settings():
        return person(team, name)
    return Person(f"terminal:{login()}", login(), terminal=f"uid {os.getuid()}, {login()}@{socket.gethostname()}")


def _names(owner: Owner) -> set[str]:
    return {name.lower() for name in (owner.login, owner.github, owner.slack, owner.email, owner.name) if name}
