"""The owner of a follow-up: a team, a person, or the owners of a path in GitHub's CODEOWNERS file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codeowners import CodeOwners

from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.team import TeamFile

GITHUB = "github:"
_MENTION = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>|([UW][A-Z0-9]{6,})")
_USERGROUP = re.compile(r"(?:<!subteam\^)?(S[A-Z0-9]{6,})(?:\|[^>]*)?>?")


@dataclass(frozen=True, slots=True)
class Assignee:
    """An owner on GitHub: the login that is assigned and the team that is mentioned. None where unknown."""

    login: str | None = None
    team: str | None = None


def owners(codeowners: str, path: str) -> list[str]:
    """Return the owners of a file or folder, as CODEOWNERS writes them; empty for a path without owner.

    Follows GitHub's rules: the last matching line wins, `/dir/*` matches only direct children of the directory, a
    directory matches everything below it, `**` matches any depth. Lines that are no valid pattern are ignored.
    Source: GitHub Docs, "About code owners".
    """
    owners_file, path = _parse(codeowners), path.strip("/")
    as_file, as_folder = (owners_file.matching_line(name) for name in (path, f"{path}/"))
    return [owner for _, owner in max(as_file, as_folder, key=lambda line: line[1] or 0)[0]]


def default_owner(
    team: TeamFile, codeowners: str, *, path: str | None = None, labels: Sequence[str] = (), service: str | None = None
) -> str:
    """Return the owner of a follow-up for which nobody was named: a team, a Slack user id or `github:<login>`.

    Tries in turn: the owners of `path`; of a folder named like one of the `labels`; of the service's chart; the
    service's own team; the team file's owner of follow-ups.
    """
    deployed = team.services.get(service or "")
    for candidate in _paths(codeowners, path, labels, deployed.chart if deployed else None):
        for handle in owners(codeowners, candidate):
            if (owner := _by_handle(handle, team)) is not None:
                return owner
    if path and (below := _service_below(team, path)):
        return below
    if deployed and deployed.owners:
        return deployed.owners[0]
    return team.followups.owner


def find_team(text: str, team: TeamFile) -> str:
    """Return the owner that a person typed: a team's name, a Slack user id, `github:<login>`, or a path.

    Accepts a team by any of its names, a Slack mention, a person of the team file by name, a GitHub login of the team
    file, and a path (contains a slash), whose owners are looked up when the issue is created. Raises BadInput with the
    nearest name for anything else.
    """
    text = text.strip()
    if mentioned := _MENTION.fullmatch(text):
        return mentioned[1] or mentioned[2]
    if group := _USERGROUP.fullmatch(text):
        text = next((name for name, t in team.teams.items() if t.usergroup == group[1]), text)
    if (owner := _by_handle(text, team)) is not None:
        return owner
    typed = text.removeprefix("@").casefold()
    for person in team.people:
        if person.name.casefold() == typed:
            return person.slack
    if is_path(text):
        return text.strip("/")
    names = [*team.teams, *(person.name for person in team.people), *_logins(team)]
    raise BadInput("unknown_owner", owner=text, nearest=nearest(typed, names), known=list(team.teams))


def logins(handle: str, team: TeamFile) -> frozenset[str]:
    """Return the GitHub logins, in lower case, behind a handle of CODEOWNERS: a team's people or the one it names."""
    name = _by_handle(handle, team)
    if name in team.teams:
        handles = team.teams[name].github
    elif name is None:
        handles = [handle.removeprefix("@")]
    else:
        handles = [assignee(name, team).login or ""]
    return frozenset(login.casefold() for login in handles if login)


def slack_mentions(handles: Sequence[str], team: TeamFile) -> tuple[list[str], list[str]]:
    """Return the Slack user groups and the people behind handles of CODEOWNERS; unknown handles stay as written."""
    groups, people = [], []
    for handle in handles:
        name = _by_handle(handle, team)
        group = team.teams[name].usergroup if name in team.teams else None
        if group:
            groups.append(group)
        else:
            people.append(name or handle)
    return groups, people


def is_path(owner: str) -> bool:
    """Return True if this owner is a path whose owners still have to be looked up."""
    return "/" in owner


def assignee(owner: str, team: TeamFile) -> Assignee:
    """Return who gets the issue. GitHub cannot assign teams: the team's first login is assigned, the team mentioned."""
    if owner.startswith(GITHUB):
        return Assignee(login=owner.removeprefix(GITHUB))
    if (group := team.teams.get(owner)) is not None:
        return Assignee(group.github[0] if group.github else None, group.github_team)
    person = team.person(slack=owner)
    return Assignee(login=person.github if person else None)


def _parse(codeowners: str) -> CodeOwners:
    lines = []
    for line in codeowners.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line)
        try:
            CodeOwners(line)
        except ValueError:
            continue
        lines.append(line)
    return CodeOwners("\n".join(lines))


def _paths(codeowners: str, path: str | None, labels: Sequence[str], chart: str | None) -> Iterator[str]:
    if path:
        yield path
    folders = set(re.findall(r"^\s*/?([^/\s*]+)/", codeowners, re.MULTILINE))
    yield from (f"{label}/{label}" for label in labels if label in folders)
    if chart:
        yield chart


def _service_below(team: TeamFile, path: str) -> str | None:
    """Return the owning team of the service whose chart contains the path."""
    for service in team.services.values():
        if service.chart and service.owners and f"{path.strip('/')}/".startswith(f"{service.chart}/"):
            return service.owners[0]
    return None


def _by_handle(handle: str, team: TeamFile) -> str | None:
    """Return the owner behind a GitHub handle, an e-mail address or a team name; None when there is none."""
    normalized = handle.removeprefix("@").casefold()
    for name, group in team.teams.items():
        if normalized in (name.casefold(), (group.github_team or name).casefold()):
            return name
    for person in team.people:
        if normalized in ((person.github or "").casefold(), (person.email or "").casefold()) and normalized:
            return person.slack
    return next((GITHUB + login for login in _logins(team) if login.casefold() == normalized), None)


def _logins(team: TeamFile) -> list[str]:
    return list(dict.fromkeys(login for group in team.teams.values() for login in group.github))
