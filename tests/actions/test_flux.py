"""What Flux owns: whether it puts a change back, where it stands in Git, and why no pull request can make it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.integrations.github.github import GitHub
from bot.messages.run import line
from sandbox.github.state import TOKEN
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, deep_copy
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.flux import GIT_REPOSITORY, HELM_RELEASE, KUSTOMIZATION, NAMESPACE
from sandbox.server import Sandbox
from sandbox.world.scenario import GitOps
from tests.harness.actor import Actor, in_cluster, parts

QUANTUM, PROD = "quantum-processor", "tamv-prod"
FILE = f"deploy/{PROD}/{QUANTUM}/deployment.yaml"
RELEASE = f"deploy/{PROD}/{QUANTUM}/release.yaml"


@dataclass
class Place:
    sandbox: Sandbox
    actor: Actor

    def change(self, kind: Kind, name: str, change: Callable[[Object], None], namespace: str = NAMESPACE) -> None:
        found = self.sandbox.kubernetes.store.get(kind, namespace, name)
        assert found
        after = deep_copy(found)
        change(after)
        self.sandbox.kubernetes.store.put(kind, after)

    async def owner(self, action: str = "kubernetes.scale", **given: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """What is said of Flux before a change, as facts and in each language."""
        given = given or {"replicas": 4}
        (effect,), _ = await self.actor.rehearse(action, deployment=QUANTUM, **given)
        (owner,) = (one for one in effect.facts["owners"] if one["kind"] == "flux")
        return owner, {name: line(effect, words) for name, words in self.actor.deps.words_by_locale.items()}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with in_cluster(tmp_path) as (sandbox, url, kubernetes):
        sandbox.world.act([GitOps(do="gitops", service=QUANTUM, by="flux")])
        github = GitHub(TOKEN, "tamv/tamv-platform", f"{url}/github/api", 8.0, seconds_between_writes=0)
        yield Place(sandbox, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes, github=github)))


async def test_the_place_in_git_is_that_of_the_kustomization_and_its_repository(place: Place) -> None:
    owner, told = await place.owner()
    assert (owner["name"], owner["heals"], owner["place"]["file"]) == (QUANTUM, True, FILE)
    assert "will put it back at its next reconciliation: suspend it" in told["en"]
    assert "lo revertirá en su próxima reconciliación: suspéndelo" in told["es"]


def _ref(**ref: str) -> Callable[[Object], None]:
    return lambda found: found["spec"].update(ref=ref)


def _spec(**spec: Any) -> Callable[[Object], None]:
    return lambda found: found["spec"].update(spec)


@pytest.mark.parametrize(
    ("kind", "name", "change", "why"),
    [
        (GIT_REPOSITORY, "fleet", _spec(url="https://github.com/tamv/other"), "elsewhere"),
        (GIT_REPOSITORY, "fleet", _ref(tag="v1.2.0"), "pinned"),
        (GIT_REPOSITORY, "fleet", _ref(branch="main", commit="0" * 40), "pinned"),
        (KUSTOMIZATION, QUANTUM, _spec(patches=[{"patch": "x"}]), "built"),
        (KUSTOMIZATION, QUANTUM, _spec(sourceRef={"kind": "OCIRepository", "name": "fleet"}), "built"),
        (KUSTOMIZATION, QUANTUM, _spec(path="./deploy/nowhere"), "unwritten"),
    ],
)
async def test_why_no_pull_request_can_make_it_is_said_with_what_to_do(
    place: Place, kind: Kind, name: str, change: Callable[[Object], None], why: str
) -> None:
    place.change(kind, name, change)
    owner, told = await place.owner()
    assert (owner.get("place"), owner["no_place"]) == (None, why)
    for language, words in place.actor.deps.words_by_locale.items():
        assert words.label(f"no_places.{why}") in told[language]


async def test_a_rollback_is_made_in_git_by_a_revert_and_a_restart_needs_nothing_there(place: Place) -> None:
    owner, told = await place.owner("kubernetes.rollout_undo", revision=1)
    assert owner["no_place"] == "rollback"
    assert "revert the commit" in told["en"] and "revierte el commit" in told["es"]
    (effect,), _ = await place.actor.rehearse("kubernetes.restart", "R-2/a", deployment=QUANTUM)
    told = {name: line(effect, words) for name, words in place.actor.deps.words_by_locale.items()}
    assert "Flux (`quantum-processor`) leaves a restart alone" in told["en"]
    assert "Flux (`quantum-processor`) respeta un reinicio" in told["es"]


async def test_what_flux_lets_be_is_not_said_to_be_put_back(place: Place) -> None:
    place.change(KUSTOMIZATION, QUANTUM, _spec(suspend=True))
    owner, told = await place.owner()
    assert owner["heals"] is False and owner["place"]["file"] == FILE
    assert "does not put it back by itself" in told["en"] and "no revierte por sí solo" in told["es"]

    def disabled(workload: Object) -> None:
        annotations = workload["metadata"].setdefault("annotations", {})
        annotations["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"

    place.change(DEPLOYMENT, QUANTUM, disabled, PROD)
    (effect,), _ = await place.actor.rehearse("kubernetes.scale", deployment=QUANTUM, replicas=4)
    assert effect.facts["owners"] == []


async def test_a_source_that_may_not_be_read_is_said_with_the_role(place: Place) -> None:
    cluster = place.sandbox.kubernetes
    found = cluster.store.get(KUSTOMIZATION, NAMESPACE, QUANTUM)
    assert found
    cluster.writer.delete(KUSTOMIZATION, found)
    owner, told = await place.owner()
    assert owner["no_place"] == "unread" and "deploy/kubernetes/access" in told["en"]


@pytest.mark.parametrize(("drift", "heals"), [({"mode": "enabled"}, True), ({"mode": "warn"}, False), (None, False)])
async def test_a_helm_release_is_edited_in_its_values_and_heals_only_where_it_detects_drift(
    place: Place, drift: object, heals: bool
) -> None:
    key = place.actor.deps.team.services[QUANTUM].replicas_value
    assert key
    text = f"apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: quantum, namespace: {PROD}}}\n"
    values = "".join(f"{'  ' * depth}{part}:" + "\n" for depth, part in enumerate(key.split("."), 2)).rstrip("\n")
    place.sandbox.github.code.put_file(
        RELEASE, f"{text}spec:\n  values:\n{values} 2\n", "Release", "ana-torres", branch="main", replaces=None
    )
    marks = {f"{KUSTOMIZATION.group}/name": QUANTUM, f"{KUSTOMIZATION.group}/namespace": NAMESPACE}
    metadata = {"name": "quantum", "namespace": PROD, "labels": marks}
    spec = {"driftDetection": drift} if drift else {}
    place.sandbox.kubernetes.store.put(HELM_RELEASE, {"metadata": metadata, "spec": spec})

    def owned(workload: Object) -> None:
        group = HELM_RELEASE.group
        workload["metadata"]["labels"] = {f"{group}/name": "quantum", f"{group}/namespace": PROD}

    place.change(DEPLOYMENT, QUANTUM, owned, PROD)
    owner, _ = await place.owner()
    assert (owner["name"], owner["heals"], owner["place"]["file"]) == ("quantum", heals, RELEASE)
