"""The sandbox as a team has it: its people and channels, the workloads of its services, and figures that are in bounds.

What the sandbox's own world has (the example team's services) keeps its world; another team's services are created in
the cluster by their names, and a query of theirs that finds nothing there is answered with a value in bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from slugify import slugify

from bot.actions.boards import board
from bot.team import Owner, TeamFile
from sandbox.company import Channel, Company, EscalationPolicy, PagerDuty, PagerDutyService, Person, UserGroup
from sandbox.company import load_company as own_company
from sandbox.kubernetes.access import ADMIN
from sandbox.kubernetes.seed import STAGING
from sandbox.world.services import NAMESPACE, SERVICES

PLURALS = {"deployment": "deployments", "statefulset": "statefulsets", "daemonset": "daemonsets"}
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
REPLICAS = 2
STAND_INS = 3  # people made up for a role that only a Slack user group gives


@dataclass(frozen=True)
class Workload:
    """A workload of the team's file, with the service it belongs to."""

    service: str
    kind: str
    name: str
    namespace: str

    @property
    def in_the_world(self) -> bool:
        """True if the sandbox's world has it from the start, with its releases, figures and health."""
        known = self.name in {service.name for service in SERVICES} and self.namespace in (NAMESPACE, STAGING)
        return known and self.kind == "deployment"


def workloads(team: TeamFile) -> Iterator[Workload]:
    """Yield every workload of the team's services, in each of their namespaces."""
    for name, service in team.services.items():
        for reference in service.runs_as or [name]:
            kind, _, workload = reference.rpartition("/")
            for namespace in dict.fromkeys(service.namespaces.values()):
                yield Workload(name, kind.lower() or "deployment", workload, namespace)


def is_the_worlds(team: TeamFile) -> bool:
    """Return True if all services of the team are those of the sandbox's world."""
    return bool(team.services) and all(workload.in_the_world for workload in workloads(team))


def company_of(team: TeamFile, incident_channel: str) -> Company:
    """Return who and what exists in Slack, PagerDuty and GitHub for this team.

    A role that only a Slack user group gives is filled with people made up, since the file does not name them.
    """
    own = own_company()
    people = _people(team)
    handles = [person.handle for person in people]
    services = dict.fromkeys(one.pagerduty for one in team.teams.values() if one.pagerduty)
    policy = EscalationPolicy("PPOLICY", team.organisation, (tuple(handles[:2]),), 168)
    channels = dict.fromkeys(filter(None, (incident_channel, team.stakeholders_channel)))
    own_services = {service.name: service for service in own.pagerduty.services}
    return replace(
        own,
        people=people,
        channels=tuple(
            Channel(f"C0CHANNEL{number}", name.removeprefix("#"), tuple(handles), bot=True)
            for number, name in enumerate(channels)
        ),
        usergroups=tuple(_usergroups(team, people)),
        pagerduty=PagerDuty(
            tuple(
                replace(own_services[name], escalation_policy=policy.id)
                if name in own_services
                else PagerDutyService(f"PSERVICE{number}", name, policy.id)
                for number, name in enumerate(services or [team.organisation])
            ),
            (policy,),
        ),
        github=replace(
            own.github,
            teams=tuple(team.teams),
            labels=tuple(dict.fromkeys((*own.github.labels, *team.followups.labels))),
            codeowners=own.github.codeowners if is_the_worlds(team) else "",
        ),
        services=tuple(team.services),
    )


def _people(team: TeamFile) -> tuple[Person, ...]:
    people: list[Person] = []
    handles: set[str] = set()
    for number, owner in enumerate(team.people):
        first, whole = slugify(owner.name.split()[0]), slugify(owner.name, separator=".")
        handle = next(name for name in (first, whole, f"{whole}.{number}") if name and name not in handles)
        handles.add(handle)
        people.append(_person(handle, owner))
    known = {person.slack for person in people}
    for group in sorted(team.role_groups):
        for number in range(STAND_INS):
            handle = f"{group.lower()}-{number + 1}"
            people.append(_person(handle, Owner(name=f"{group} {number + 1}", slack=f"U{group}{number + 1}")))
    for slack in sorted({id for role in team.roles.values() for id in role.people} - known):
        people.append(_person(slack.lower(), Owner(name=slack, slack=slack)))
    return tuple(people) or (_person("somebody", Owner(name="Somebody", slack="U0SOMEBODY")),)


def _person(handle: str, owner: Owner) -> Person:
    return Person(
        slack=owner.slack,
        handle=handle,
        name=owner.name,
        locale="en-US",
        email=owner.email or f"{handle}@team.example",
        github=owner.github or handle,
        pagerduty=owner.pagerduty or f"P{handle.upper()}",
        title="",
    )


def _usergroups(team: TeamFile, people: tuple[Person, ...]) -> Iterator[UserGroup]:
    """Yield a user group for each team, and one for each role that a group gives and that is no team's."""
    ids: set[str] = set()
    for number, (name, group) in enumerate(team.teams.items()):
        id = group.usergroup if group.usergroup and group.usergroup not in ids else f"S0TEAM{number}"
        ids.add(id)
        named = [one.handle for one in people if one.slack in group.members or one.github in group.github]
        members = named + _stand_ins(id, people)
        yield UserGroup(id, slugify(name), name, tuple(members or [people[0].handle]))
    for id in sorted(team.role_groups - ids):
        yield UserGroup(id, id.lower(), id, tuple(_stand_ins(id, people)))


def _stand_ins(group_id: str, people: tuple[Person, ...]) -> list[str]:
    return [one.handle for one in people if one.handle.startswith(f"{group_id.lower()}-")]


def with_role_members(team: TeamFile, company: Company) -> TeamFile:
    """Return the team, knowing who has its roles by a user group of this company."""
    groups = {group.id: frozenset(company.person(one).slack for one in group.members) for group in company.usergroups}
    return team.with_members({id: members for id, members in groups.items() if id in team.role_groups})


async def create_workloads(url: str, team: TeamFile) -> None:
    """Create the workloads of the team's services that the cluster at `url` does not have, with their namespaces."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    missing = [one for one in workloads(team) if not one.in_the_world and one.kind in PLURALS]
    async with aiohttp.ClientSession(f"{url}/kubernetes/", headers=headers) as http:
        for namespace in dict.fromkeys(one.namespace for one in missing):
            await http.post("api/v1/namespaces", json={"metadata": {"name": namespace}})  # 409 when it is there
        for one in missing:
            path = f"apis/apps/v1/namespaces/{one.namespace}/{PLURALS[one.kind]}"
            async with http.post(path, json=_manifest(one)) as answer:
                if answer.status not in (201, 409):
                    raise RuntimeError(f"{path}: {await answer.text()}")


def _manifest(workload: Workload) -> dict[str, Any]:
    labels = {"app": workload.name}
    pod = {"containers": [{"name": workload.name, "image": f"registry.example/{workload.name}:1.0.0"}]}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if workload.kind != "daemonset":
        spec["replicas"] = REPLICAS
    if workload.kind == "statefulset":
        spec["serviceName"] = workload.name
    metadata = {"name": workload.name, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": KINDS[workload.kind], "metadata": metadata, "spec": spec}


def healthy_endpoints(team: TeamFile) -> Mapping[str, int]:
    """Return host and path → the status that says healthy, for every health endpoint of the team."""
    checks = [check for service in team.services.values() for check in service.health.values()]
    addresses = [(urlsplit(str(check.url)), check.status) for check in checks]
    return {f"{address.netloc}{address.path or '/'}": status for address, status in addresses}


def values_in_bounds(team: TeamFile) -> Mapping[str, float]:
    """Return PromQL → a value on the good side of its threshold, for every query of the team and each service."""
    values: dict[str, float] = {}
    for name, query in team.queries.items():
        value = 1.0
        if query.threshold is not None:
            better = -1 if query.direction == "above" else 1
            value = query.threshold + better * abs(query.threshold) / 2
        services = [*team.services] if re.search(r"\$(service|namespace)", query.promql) else [None]
        for service in services:
            values[board(team, name, service).queries[0][1]] = value
    return values
