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
    wanted = name or login()
    owner = next((owner for owner in team.people if wanted.lower() in _names(owner)), None)
    if owner is None:
        names = sorted(owner.login or owner.github or owner.slack for owner in team.people)
        raise NotAllowed("nobody_known", name=wanted, known=names)
    return Person(owner.slack, owner.name)


def _names(owner: Owner) -> set[str]:
    return {name.lower() for name in (owner.login, owner.github, owner.slack, owner.email, owner.name) if name}
