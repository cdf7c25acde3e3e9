"""The people and things of the sandbox's company: the seed of every service, from company.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sandbox import yaml_file

SEED = Path(__file__).with_name("company.yaml")

T = TypeVar("T")


@dataclass(frozen=True)
class Workspace:
    team_id: str
    domain: str
    name: str
    app_id: str
    bot_id: str
    bot_user_id: str
    bot_name: str


@dataclass(frozen=True)
class Person:
    """One person, with their id in each service."""

    slack: str
    handle: str
    name: str
    locale: str
    email: str
    github: str
    pagerduty: str
    title: str


@dataclass(frozen=True)
class Channel:
    """A channel that exists from the start; `members` are handles, `bot` is True if the bot is a member."""

    id: str
    name: str
    members: tuple[str, ...]
    bot: bool


@dataclass(frozen=True)
class UserGroup:
    id: str
    handle: str
    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class PagerDutyService:
    id: str
    name: str
    escalation_policy: str


@dataclass(frozen=True)
class EscalationPolicy:
    """`levels` are handles, the first level first; people of one level rotate every `rotation_hours`."""

    id: str
    name: str
    levels: tuple[tuple[str, ...], ...]
    rotation_hours: int


@dataclass(frozen=True)
class PagerDuty:
    services: tuple[PagerDutyService, ...]
    escalation_policies: tuple[EscalationPolicy, ...]

    def service(self, id_or_name: str) -> PagerDutyService:
        return _find_one(self.services, id_or_name, "id", "name")


@dataclass(frozen=True)
class GitHub:
    repository: str
    teams: tuple[str, ...]
    labels: tuple[str, ...]
    codeowners: str


@dataclass(frozen=True)
class Company:
    workspace: Workspace
    people: tuple[Person, ...]
    channels: tuple[Channel, ...]
    usergroups: tuple[UserGroup, ...]
    pagerduty: PagerDuty
    github: GitHub
    services: tuple[str, ...]

    def person(self, key: str) -> Person:
        """Return the person by handle, e-mail, or Slack, GitHub or PagerDuty id. Raises KeyError."""
        return _find_one(self.people, key, "handle", "slack", "github", "pagerduty", "email")

    def usergroup(self, key: str) -> UserGroup:
        """Return the user group by id, handle (`sre-team`) or name (`SRETeam`). Raises KeyError."""
        return _find_one(self.usergroups, key.removeprefix("@"), "id", "handle", "name")


def load_company(path: Path = SEED) -> Company:
    """Read the seed. Raises KeyError or TypeError for a missing or unknown key."""
    raw: dict[str, Any] = yaml_file.read(path)
    people = tuple(Person(**person) for person in raw["people"])
    handles = tuple(person.handle for person in people)
    return Company(
        workspace=Workspace(**raw["workspace"]),
        people=people,
        channels=tuple(
            Channel(
                id=channel["id"],
                name=channel["name"],
                members=handles if channel["members"] == "all" else tuple(channel["members"]),
                bot=channel["bot"],
            )
            for channel in raw["channels"]
        ),
        usergroups=tuple(UserGroup(**{**group, "members": tuple(group["members"])}) for group in raw["usergroups"]),
        pagerduty=PagerDuty(
            services=tuple(PagerDutyService(**service) for service in raw["pagerduty"]["services"]),
            escalation_policies=tuple(
                EscalationPolicy(**{**policy, "levels": tuple(tuple(level) for level in policy["levels"])})
                for policy in raw["pagerduty"]["escalation_policies"]
            ),
        ),
        github=GitHub(
            repository=raw["github"]["repository"],
            teams=tuple(raw["github"]["teams"]),
            labels=tuple(raw["github"]["labels"]),
            codeowners=raw["github"]["codeowners"],
        ),
        services=tuple(raw["services"]),
    )


def _find_one(items: tuple[T, ...], key: str, *attributes: str) -> T:
    for item in items:
        if any(getattr(item, attribute) == key for attribute in attributes):
            return item
    raise KeyError(key)
