"""Who types in the terminal: the user of the operating system, as the team's file knows them."""

from __future__ import annotations

import getpass
import os

from bot.domain.errors import NotAllowed
from bot.domain.people import Person
from bot.team import Owner, TeamFile


def login() -> str:
    """The user's name; behind sudo that of who called it."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def person(team: TeamFile, name: str | None) -> Person:
    """The person called `name` (login, GitHub login, Slack id, address or name), or whose login is the user's.

    Raises NotAllowed with whom the file knows.
    """
    asked = name or login()
    found = next((one for one in team.people if asked.lower() in _names(one)), None)
    if found is None:
        known = sorted(one.login or one.github or one.slack for one in team.people)
        raise NotAllowed("nobody_known", name=asked, known=known)
    return Person(found.slack, found.name)


def _names(one: Owner) -> set[str]:
    return {name.lower() for name in (one.login, one.github, one.slack, one.email, one.name) if name}
