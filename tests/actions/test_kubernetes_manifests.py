"""Manifests of the repository as a run applies and deletes them, and the descriptions of what stands there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput, NotFound, WrongState
from bot.messages.run import line
from sandbox.kubernetes.backend import Kubernetes as Backend
from sandbox.kubernetes.objects import Object, deep_copy
from sandbox.kubernetes.resources.autoscaling import AUTOSCALER
from sandbox.kubernetes.resources.basic import NETWORK_POLICY
from sandbox.kubernetes.state import WriteOptions
from tests.harness.actor import ROOT, Actor, in_cluster, parts

PROD = "tamv-prod"
SHIPPED = "drills/block-s3.yaml"
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {}
  policyTypes: [Egress]
"""
SCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: isabella-ai}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: isabella-ai}
  minReplicas: 4
  maxReplicas: 12
"""


@dataclass
class Cluster:
    backend: Backend
    actor: Actor
    folder: Path

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, "utf-8")
        return name

    def found(self, name: str) -> Object | None:
        return self.backend.store.get(NETWORK_POLICY, PROD, name)

    def bounds(self) -> tuple[int, int]:
        found = self.backend.store.get(AUTOSCALER, PROD, "isabella-ai")
        assert found
        return found["spec"]["minReplicas"], found["spec"]["maxReplicas"]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    folder = tmp_path / "manifests"
    folder.mkdir()
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        made = parts(tmp_path, sandbox.clock, kubernetes=kubernetes)
        made = replace(made, team=made.team.model_copy(update={"manifests": str(folder)}))
        yield Cluster(sandbox.kubernetes, Actor(made), folder)


async def refused(cluster: Cluster, action: str, **given: Any) -> str:
    with pytest.raises((BadInput, WrongState, NotFound)) as wrong:
        await cluster.actor.rehearse(action, **given)
    for words in cluster.actor.deps.words_by_locale.values():
        assert "{{" not in words.error(wrong.value)
    return wrong.value.key


async def test_a_policy_is_shown_applied_and_gone_after_the_undo(cluster: Cluster) -> None:
    cluster.write("closed.yaml", POLICY)
    effects, shown = await cluster.actor.rehearse("kubernetes.apply", manifest="closed.yaml")
    assert [effect.key for effect in effects] == ["kubernetes.apply"]
    assert "+kind: NetworkPolicy" in effects[0].diff and cluster.found("closed") is None
    done = await cluster.actor.perform("kubernetes.apply", manifest="closed.yaml")
    assert done == shown and cluster.found("closed")
    again = await cluster.actor.perform("kubernetes.apply", manifest="closed.yaml")
    assert again == done, "tried again, it still knows that there was none"
    await cluster.actor.undo("kubernetes.apply", done)
    assert cluster.found("closed") is None


async def test_what_was_there_comes_back_after_an_apply_and_after_a_delete(cluster: Cluster) -> None:
    before = cluster.bounds()
    cluster.write("scaler.yaml", SCALER)
    effects, _ = await cluster.actor.rehearse("kubernetes.apply", manifest="scaler.yaml")
    assert "+  maxReplicas: 12" in effects[0].diff and "-  maxReplicas: 8" in effects[0].diff
    done = await cluster.actor.perform("kubernetes.apply", manifest="scaler.yaml")
    assert cluster.bounds() == (4, 12)
    await cluster.actor.undo("kubernetes.apply", done)
    assert cluster.bounds() == before
    _, shown = await cluster.actor.rehearse("kubernetes.delete", key="R-2/a", manifest="scaler.yaml")
    assert cluster.bounds() == before
    gone = await cluster.actor.perform("kubernetes.delete", key="R-2/a", manifest="scaler.yaml")
    assert gone == shown and cluster.backend.store.get(AUTOSCALER, PROD, "isabella-ai") is None
    await cluster.actor.undo("kubernetes.delete", gone)
    assert cluster.bounds() == before


async def test_whose_fields_an_apply_takes_is_said_before(cluster: Cluster) -> None:
    cluster.write("closed.yaml", POLICY)
    theirs = {
        "metadata": {"name": "closed", "namespace": PROD},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
    }
    cluster.backend.writer.create(NETWORK_POLICY, theirs, WriteOptions(field_manager="kubectl-edit"))
    (effect,), _ = await cluster.actor.rehearse("kubernetes.apply", manifest="closed.yaml")
    assert effect.facts["taken"] == [".spec.podSelector (kubectl-edit)", ".spec.policyTypes (kubectl-edit)"]
    for words in cluster.actor.deps.words_by_locale.values():
        assert "⚠" in (told := line(effect, words)) and ".spec.policyTypes (kubectl-edit)" in told
    await cluster.actor.perform("kubernetes.apply", manifest="closed.yaml")
    assert (found := cluster.found("closed")) and found["spec"]["policyTypes"] == ["Egress"]


async def test_an_undo_and_an_approval_are_for_what_was_seen(cluster: Cluster) -> None:
    cluster.write("closed.yaml", POLICY)
    done = await cluster.actor.perform("kubernetes.apply", manifest="closed.yaml")
    found = cluster.found("closed")
    assert found
    theirs = deep_copy(found)
    theirs["spec"]["egress"] = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
    cluster.backend.writer.replace(NETWORK_POLICY, found, theirs, WriteOptions(field_manager="somebody"))
    with pytest.raises(WrongState) as changed:
        await cluster.actor.undo("kubernetes.apply", done)
    assert changed.value.key == "changed_since" and cluster.found("closed")
    await cluster.actor.rehearse("kubernetes.apply", key="R-3/a", manifest="closed.yaml")
    cluster.write("closed.yaml", POLICY.replace("[Egress]", "[Ingress, Egress]"))
    with pytest.raises(WrongState) as other:
        await cluster.actor.perform("kubernetes.apply", key="R-3/a", manifest="closed.yaml")
    assert other.value.key == "changed_since"


async def test_only_reviewed_manifests_of_a_few_kinds_are_used(cluster: Cluster) -> None:
    outside = cluster.folder.parent / "outside.yaml"
    outside.write_text(POLICY)
    (cluster.folder / "link.yaml").symlink_to(outside)
    cluster.write("notes.txt", POLICY)
    for path in ("../outside.yaml", str(outside), "link.yaml", "a/../../outside.yaml", "\0.yaml", "notes.txt"):
        assert await refused(cluster, "kubernetes.apply", manifest=path) == "manifest_outside", path
    assert await refused(cluster, "kubernetes.apply", manifest="other.yaml") == "no_such_manifest"
    secret = POLICY.replace("networking.k8s.io/v1", "v1").replace("NetworkPolicy", "Secret")
    for text, key in (
        (secret, "manifest_kind"),
        (POLICY.replace("{name: closed}", "{name: closed, namespace: kube-system}"), "manifest_wrong"),
        (POLICY.replace("metadata", "metadatum"), "manifest_wrong"),
        ("a: [", "manifest_wrong"),
        ("", "manifest_wrong"),
        ("- 1", "manifest_wrong"),
    ):
        assert await refused(cluster, "kubernetes.apply", manifest=cluster.write("wrong.yaml", text)) == key, text
        assert await refused(cluster, "kubernetes.delete", manifest="wrong.yaml") == key
    assert (
        await refused(cluster, "kubernetes.apply", manifest="wrong.yaml", namespace="kube-system")
        == "namespace_not_allowed"
    )
    assert cluster.backend.store.all(NETWORK_POLICY, PROD) == []


async def test_the_shipped_policy_is_one_that_the_cluster_takes(cluster: Cluster) -> None:
    cluster.write("block.yaml", (ROOT / "teams/tamv/manifests" / SHIPPED).read_text("utf-8"))
    done = await cluster.actor.perform("kubernetes.apply", manifest="block.yaml", namespace="tamv-staging")
    assert [one.name for one in done.objects] == ["drill-block-s3"]
    await cluster.actor.undo("kubernetes.apply", done)


async def test_an_object_is_described_with_what_happened_to_it(cluster: Cluster) -> None:
    told = await cluster.actor.perform("kubernetes.describe", kind="deployment", name="tamv-core")
    lines = {(row["part"], row["name"]): row["state"] for row in told.rows}
    assert lines["field", "replicas"].isdigit()
    assert lines["container", "tamv-core"].startswith("registry.tamv.world/tamv-core:")
    assert lines["condition", "Available"] == "True"
    one_more = int(lines["field", "replicas"]) + 1
    await cluster.actor.perform("kubernetes.scale", deployment="tamv-core", replicas=one_more)
    pods = await cluster.actor.perform("kubernetes.pods", service="tamv-core")
    newest = min(pods.rows, key=lambda row: row["age"])["name"]
    told = await cluster.actor.perform("kubernetes.describe", kind="pod", name=newest)
    assert {"field", "container", "condition", "event"} == {row["part"] for row in told.rows}
    assert any(row["name"] == "Started" for row in told.rows)
    assert (await cluster.actor.perform("kubernetes.describe", kind="node", name="gpu-node-2")).namespace == ""
    assert await refused(cluster, "kubernetes.describe", kind="pod", name="tamv-core-0") == "no_such_object"
