"""Who gets a follow-up: a team, a person, or the owners of a path by GitHub's CODEOWNERS file."""

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
_USERGROUP = re.compile(r"<!subteam\^([A-Z0-9]+)(?:\|[^>]*)?>")


@dataclass(frozen=True, slots=True)
class Assignee:
    """An owner in GitHub: the login that gets the issue, and the team that its text mentions. None where unknown."""

    login: str | None = None
    team: str | None = None


def owners(codeowners: str, path: str) -> list[str]:
    """The owners of a file or folder of the repository as they stand in the file; none for an unowned `path`.

    GitHub's rules: the last line that fits wins, `/dir/*` is the directory's own entries only, a directory is all
    that lies below it, `**` any depth. A line that is no pattern is left out, as GitHub does.
    Source: GitHub Docs, "About code owners".
    """
    file, path = _file(codeowners), path.strip("/")
    as_file, as_folder = (file.matching_line(name) for name in (path, f"{path}/"))
    return [name for _, name in max(as_file, as_folder, key=lambda line: line[1] or 0)[0]]


def default_owner(
    team: TeamFile, codeowners: str, *, path: str | None = None, labels: Sequence[str] = (), service: str | None = None
) -> str:
    """The owner, in the bot's words, of work that nobody was named for.

    Tried in turn: the owners of `path`; of a folder that is called like one of the `labels`; of the service's chart;
    the service's own team; the team that gets what nobody else owns.
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
    """The owner that a person means: a team's name, a Slack user id, `github:<login>`, or a path as typed.

    Understands a team by any of its names, a Slack mention, a person of the team's file by name, a GitHub login of
    the file, and a path (it holds a slash), whose owners are looked up when the issue is filed. BadInput otherwise,
    with the nearest name.
    """
    text = text.strip()
    if mentioned := _MENTION.fullmatch(text):
        return mentioned[1] or mentioned[2]
    if group := _USERGROUP.fullmatch(text):
        text = next((name for name, t in team.teams.items() if t.usergroup == group[1]), text)
    if (owner := _by_handle(text, team)) is not None:
        return owner
    wanted = text.removeprefix("@").casefold()
    for person in team.people:
        if person.name.casefold() == wanted:
            return person.slack
    if is_path(text):
        return text.strip("/")
    names = [*team.teams, *(person.name for person in team.people), *_logins(team)]
    raise BadInput("unknown_owner", owner=text, nearest=nearest(wanted, names), known=list(team.teams))


def logins(handle: str, team: TeamFile) -> frozenset[str]:
    """Who may speak for a handle of the file, by GitHub login in lower case: a team's people, or the one it names."""
    name = _by_handle(handle, team)
    if name in team.teams:
        handles = team.teams[name].github
    elif name is None:
        handles = [handle.removeprefix("@")]
    else:
        handles = [assignee(name, team).login or ""]
    return frozenset(login.casefold() for login in handles if login)


def slack_mentions(handles: Sequence[str], team: TeamFile) -> tuple[list[str], list[str]]:
    """The user groups and people that Slack knows handles of the file by; a handle that it does not know, as it is."""
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
    """Whether this owner is still a path, to be looked up."""
    return "/" in owner


def assignee(owner: str, team: TeamFile) -> Assignee:
    """Who gets the issue. GitHub assigns no teams, so a team's first login gets it and the team is mentioned."""
    if owner.startswith(GITHUB):
        return Assignee(login=owner.removeprefix(GITHUB))
    if (group := team.teams.get(owner)) is not None:
        return Assignee(group.github[0] if group.github else None, group.github_team)
    person = team.person(slack=owner)
    return Assignee(login=person.github if person else None)


def _file(codeowners: str) -> CodeOwners:
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
    """The team of the service in whose chart the path lies."""
    for service in team.services.values():
        if service.chart and service.owners and f"{path.strip('/')}/".startswith(f"{service.chart}/"):
            return service.owners[0]
    return None


def _by_handle(handle: str, team: TeamFile) -> str | None:
    """The owner of this GitHub handle, e-mail address or team name, in the bot's words."""
    wanted = handle.removeprefix("@").casefold()
    for name, group in team.teams.items():
        if wanted in (name.casefold(), (group.github_team or name).casefold()):
            return name
    for person in team.people:
        if wanted in ((person.github or "").casefold(), (person.email or "").casefold()) and wanted:
            return person.slack
    return next((GITHUB + login for login in _logins(team) if login.casefold() == wanted), None)


def _logins(team: TeamFile) -> list[str]:
    return list(dict.fromkeys(login for group in team.teams.values() for login in group.github))
