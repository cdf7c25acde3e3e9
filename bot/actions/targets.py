"""In which environments the target of an action lies: they, and not what was typed, decide whose approval is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from bot.actions.registry import Action
from bot.deps import Deps
from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.domain.policy import ANYWHERE, Risk
from bot.team import TeamFile

Parameters = Mapping[str, Any]


async def governing_environments(deps: Deps, action: Action, parameters: Parameters, requested: str) -> frozenset[str]:
    """Return the environments whose rules hold for an action: its target's, and the `requested` one.

    Raises Unavailable if the cluster cannot say which pods run on a node.
    """
    namespaces: set[str] = set()
    if _kind(action) == "node" and deps.kubernetes is not None:
        pods = await deps.kubernetes.nodes.pods(str(parameters["node"]))
        namespaces = {pod.namespace for pod in pods if pod.skip_reason is None}
    return environments(deps.team, action, parameters, requested, namespaces)


def environments(
    team: TeamFile, action: Action, parameters: Parameters, requested: str, pod_namespaces: Collection[str] = ()
) -> frozenset[str]:
    """Return the environments whose rules hold, given the namespaces of the pods on the target, if it is a node.

    What lies in several environments, in none, or is unknown has the strictest rules. The `requested` environment can
    only add rules.
    """
    if action.risk is Risk.READ:
        return frozenset({requested})
    found = _found(team, action, parameters, requested, pod_namespaces)
    if not found:
        found = _declared(team, action.lock_key(dict(parameters), environment=requested) or action.name)
    return frozenset({requested, found.pop() if len(found) == 1 else ANYWHERE})


def lock_key(team: TeamFile, action: Action, parameters: Parameters, environment: str) -> str | None:
    """Return the lock of an action's target: the same one, whether its namespace or database is named or is the default
    of its environment. None if it has no target.
    """
    resolved = dict(parameters)
    if "namespace" in resolved:
        resolved["namespace"] = _namespace(team, parameters, environment)
    if "database" in resolved and resolved["database"] is None:
        resolved["database"] = team.database_of(environment)
    return action.lock_key(resolved, environment=environment)


def working_environment(team: TeamFile, parameters: Parameters, requested: str) -> str:
    """Return the environment that an action works in: that of the namespace that its parameters name, else the
    requested one.
    """
    given = parameters.get("namespace")
    candidates = {
        environment
        for service in team.services.values()
        for environment, name in service.namespaces.items()
        if given and name == given
    }
    return requested if not candidates or requested in candidates else min(candidates)


def require_known(team: TeamFile, environment: str | None) -> None:
    """Raise BadInput for an environment that the team file does not have."""
    if environment is not None and environment not in team.environments:
        known = sorted(team.environments)
        raise BadInput("unknown_environment", environment=environment, nearest=nearest(environment, known), known=known)


def _kind(action: Action) -> str:
    return (action.target or "").partition("/")[0]


def _found(
    team: TeamFile, action: Action, parameters: Parameters, requested: str, pod_namespaces: Collection[str]
) -> set[str]:
    """Return the environments that the target lies in, as far as the team file and the cluster say."""
    kind, target = _kind(action), action.target or ""
    if "{namespace}" in target:
        return _of_namespaces(team, [_namespace(team, parameters, requested)])
    if kind == "node":
        return _of_namespaces(team, pod_namespaces)
    if kind in ("database", "restored"):  # what is restored of a database has its data
        return _of_database(team, parameters, requested)
    if kind == "backups":
        return _of_backups(team, str(parameters.get("backups")))
    if kind == "secret":
        return _of_secret(team, str(parameters.get("name")), requested)
    if kind == "shutdown":
        return _of_services(team, parameters.get("services") or team.services, requested)
    return {requested} if "{environment}" in target else set()


def _namespace(team: TeamFile, parameters: Parameters, requested: str) -> str | None:
    """Return the namespace that an action works in, as Context.namespace finds it."""
    if parameters.get("namespace"):
        return str(parameters["namespace"])
    named = (parameters.get(name) for name in ("deployment", "release", "service"))
    service = team.services.get(next((str(name) for name in named if name), team.default_service or ""))
    return service.namespaces.get(requested) if service else None


def _of_namespaces(team: TeamFile, namespaces: Iterable[str | None]) -> set[str]:
    """Return the environments of namespaces; one that no service has lies anywhere."""
    found: set[str] = set()
    for namespace in namespaces:
        found |= {
            environment
            for service in team.services.values()
            for environment, name in service.namespaces.items()
            if name == namespace
        } or {ANYWHERE}
    return found


def _of_database(team: TeamFile, parameters: Parameters, requested: str) -> set[str]:
    name = parameters.get("into") or parameters.get("database")
    if name is None:
        return {requested} if team.database_of(requested) else set()
    return {team.databases[name].environment} if name in team.databases else set()


def _of_backups(team: TeamFile, name: str) -> set[str]:
    """Return the environments of all backups that are stored in the same place."""
    if name not in team.backups:
        return set()
    here = team.backups[name]
    return {
        other.environment
        for other in team.backups.values()
        if other.bucket == here.bucket
        and (other.prefix.startswith(here.prefix) or here.prefix.startswith(other.prefix))
    }


def _of_secret(team: TeamFile, name: str, requested: str) -> set[str]:
    """Return the environments that read the secret's path."""
    secret = team.secrets.get(name)
    path = secret.paths.get(requested) if secret else None
    return {
        environment
        for other in team.secrets.values()
        for environment, stored_at in other.paths.items()
        if secret and other.mount == secret.mount and stored_at == path
    }


def _of_services(team: TeamFile, services: Iterable[str], requested: str) -> set[str]:
    known = [team.services[name] for name in services if name in team.services]
    return _of_namespaces(team, [service.namespaces[requested] for service in known if requested in service.namespaces])


def _declared(team: TeamFile, target: str) -> set[str]:
    """Return the environment that the team file declares for a target that no service, database or backup places."""
    return {environment for pattern, environment in team.policy.targets.items() if fnmatchcase(target, pattern)}
