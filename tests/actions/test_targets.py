"""The rules that hold for an action are those of the place where its target lies, whatever was typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.actions.targets import environments, lock_key
from bot.domain.policy import ANYWHERE, Policy, Risk, Rule
from bot.team import TeamFile, load_team, policy_of
from tests.architecture.tree import ROOT

TEAM = load_team(ROOT / "teams/tamv/team.yaml")
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
TYPED = ("production", "staging")
CHANGING = [action for action in ACTIONS.all() if action.risk is not Risk.READ]
# What each parameter may name, and the environment that it lies in; None: nowhere, or nobody knows.
NAMED: Mapping[str, list[tuple[Any, str | None]]] = {
    "namespace": [("tamv-prod", "production"), ("tamv-staging", "staging"), ("kube-system", None)],
    "database": [("tamv-prod-postgres", "production"), ("tamv-staging-postgres", "staging"), ("somebody-elses", None)],
    "into": [("tamv-restore", None)],
    "backups": [("database", "production")],
    "node": [("gpu-node-1", None)],
    "branch": [("main", None)],
    "number": [(42, None)],
    "workflow": [("cd_canary.yml", None)],
}
POLICIES = [
    policy_of(TEAM),
    Policy(rules=(Rule(environment="production", approvals=3), Rule(environment="staging", approvals=0))),
    Policy(rules=(Rule(environment="*", approvals=0), Rule(environment="production", risk=Risk.DESTRUCTIVE))),
]


def _places(action: Action) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The targets that an action's parameters may name, each with the environment it lies in."""
    for name in NAMED:
        if action.target and f"{{{name}}}" in action.target:
            rest = dict.fromkeys(action.parameters.model_fields)
            rest |= {key: "xr-engine" for key in ("deployment", "release", "service") if key in rest}
            yield from ((rest | {name: value}, environment) for value, environment in NAMED[name])


CASES = [(action, *place) for action in CHANGING for place in _places(action)]


@pytest.mark.parametrize(("action", "parameters", "place"), CASES, ids=[f"{c[0].name}-{c[2]}" for c in CASES])
def test_what_is_typed_never_lowers_what_the_target_asks_for(
    action: Action, parameters: dict[str, Any], place: str | None
) -> None:
    for typed, policy in product(TYPED, POLICIES):
        found = policy.requires(action.name, action.risk, environments(TEAM, action, parameters, typed), NOW)
        for environment in [place] if place else TYPED:
            assert found.approvals >= policy.requires(action.name, action.risk, {environment}, NOW).approvals
        assert found.approvals >= policy.requires(action.name, action.risk, {typed}, NOW).approvals


def test_every_target_is_of_a_kind_that_is_tried_here() -> None:
    tried = {action.name for action, *_ in CASES}
    rest = {action.name for action in CHANGING if action.target} - tried
    assert rest == {"kubernetes.shut_down", "vault.rotate", "vault.restore"}  # they lie where they are asked for


@pytest.mark.parametrize("action", [one for one in CHANGING if one.target is None], ids=lambda one: one.name)
def test_what_has_no_target_has_the_strictest_rules(action: Action) -> None:
    assert ANYWHERE in environments(TEAM, action, {}, "staging")


@pytest.mark.parametrize(
    ("pods", "place"),
    [
        ({"tamv-staging"}, "staging"),
        ({"tamv-prod"}, "production"),
        ({"tamv-staging", "tamv-prod"}, ANYWHERE),
        ({"tamv-staging", "somebody-elses"}, ANYWHERE),
        (set(), ANYWHERE),
    ],
)
def test_a_node_lies_where_its_pods_run(pods: set[str], place: str) -> None:
    drain = ACTIONS.get("kubernetes.drain")
    assert environments(TEAM, drain, {"node": "gpu-node-1"}, "staging", pods) == {"staging", place}


def test_what_several_environments_share_has_the_strictest_rules() -> None:
    team = _team(
        services={"one": {"namespaces": {"production": "shared", "staging": "shared"}}},
        secrets={"jwt": {"paths": {"production": "same", "staging": "same"}, "key": "jwt", "form": "hex"}},
        backups={
            "live": {"bucket": "all", "prefix": "database/"},
            "test": {"bucket": "all", "prefix": "database/test/", "environment": "staging"},
        },
    )
    scale, rotate, prune = (ACTIONS.get(name) for name in ("kubernetes.scale", "vault.rotate", "aws.s3_prune"))
    assert ANYWHERE in environments(team, scale, {"deployment": "one", "namespace": None}, "staging")
    assert ANYWHERE in environments(team, rotate, {"name": "jwt"}, "staging")
    assert ANYWHERE in environments(team, prune, {"backups": "test"}, "staging")


def test_the_team_file_places_what_belongs_to_no_service() -> None:
    team = _team(policy={"targets": {"workflow/cd_staging.yml": "staging", "node/*": "staging"}})
    dispatch, drain = ACTIONS.get("github.dispatch_workflow"), ACTIONS.get("kubernetes.drain")
    assert environments(team, dispatch, {"workflow": "cd_staging.yml"}, "staging") == {"staging"}
    assert ANYWHERE in environments(team, dispatch, {"workflow": "cd_canary.yml"}, "staging")
    assert environments(team, drain, {"node": "n"}, "staging") == {"staging"}
    assert "production" in environments(team, drain, {"node": "n"}, "staging", {"tamv-prod"})  # its pods say more


def test_one_target_has_one_lock_however_it_is_named() -> None:
    scale, failover = ACTIONS.get("kubernetes.scale"), ACTIONS.get("aws.rds_failover")
    names = [{"deployment": "xr-engine", "namespace": namespace} for namespace in (None, "tamv-prod")]
    assert len({lock_key(TEAM, scale, given, "production") for given in names}) == 1
    databases = [{"database": database} for database in (None, "tamv-prod-postgres")]
    assert len({lock_key(TEAM, failover, given, "production") for given in databases}) == 1


def _team(**changed: Any) -> TeamFile:
    raw = TEAM.model_dump(mode="json")
    for name, value in changed.items():
        raw[name] = {**raw[name], **value}
    return TeamFile.model_validate(raw)
