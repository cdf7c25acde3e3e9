"""Argo CD in the sandbox's cluster: it keeps what Git says; and a service that runs as a StatefulSet."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.kubernetes.objects import Object, deep_copy
from sandbox.kubernetes.resources.argo_cd import APPLICATION, GIT_POLL_SECONDS, NAMESPACE, SELF_HEAL_SECONDS
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.stateful_sets import STATEFUL_SET
from sandbox.server import Sandbox
from sandbox.world.scenario import GitOps, RunAs
from tests.harness.hand_clock import HandClock

CORE, PROD, LEDGER = "tamv-core", "tamv-prod", "blockchain-msr"
FILE = f"deploy/{PROD}/{CORE}/deployment.yaml"


class Place:
    """A cluster where Argo CD owns a service, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.sandbox = Sandbox(clock=self.clock)
        self.cluster = self.sandbox.kubernetes
        self.sandbox.world.act([GitOps(do="gitops", service=CORE)])
        self.after(1)

    def after(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.cluster.advance()

    def scale(self, replicas: int) -> None:
        self.sandbox.world.scale(CORE, replicas)
        self.cluster.advance()

    @property
    def replicas(self) -> int:
        found = self.cluster.store.get(DEPLOYMENT, PROD, CORE)
        assert found
        return int(found["spec"]["replicas"])

    @property
    def app(self) -> Object:
        found = self.cluster.store.get(APPLICATION, NAMESPACE, CORE)
        assert found
        return found

    def set_policy(self, automated: Any) -> None:
        after = deep_copy(self.app)
        after["spec"]["syncPolicy"] = {"automated": automated}
        self.cluster.writer.replace(APPLICATION, self.app, after)
        self.cluster.cluster.settle()


def test_a_change_by_hand_is_put_back_within_seconds() -> None:
    place = Place()
    assert (place.replicas, place.app["status"]["sync"]["status"]) == (4, "Synced")
    place.scale(9)
    assert (place.replicas, place.app["status"]["sync"]["status"]) == (9, "OutOfSync")
    place.after(SELF_HEAL_SECONDS + 1)
    assert (place.replicas, place.app["status"]["sync"]["status"]) == (4, "Synced")


@pytest.mark.parametrize("policy", [None, {"enabled": False, "selfHeal": True}, {"prune": True}])
def test_it_stays_where_the_sync_does_not_heal(policy: Any) -> None:
    place = Place()
    place.set_policy(policy)
    place.scale(9)
    place.after(2 * GIT_POLL_SECONDS)
    assert (place.replicas, place.app["status"]["sync"]["status"]) == (9, "OutOfSync")
    place.set_policy({"selfHeal": True})
    place.after(SELF_HEAL_SECONDS + 1)
    assert place.replicas == 4


def test_a_new_commit_is_applied_at_the_next_look() -> None:
    place = Place()
    text = place.sandbox.github.files("HEAD")[1][FILE]
    assert "replicas: 4  # enough for a normal day" in text
    place.sandbox.github.commit(FILE, text.replace("replicas: 4", "replicas: 6"), "More")
    place.after(GIT_POLL_SECONDS + 1)
    assert place.replicas == 6


def test_a_service_becomes_a_stateful_set_that_serves_all_the_time_and_scales_one_by_one() -> None:
    clock = HandClock()
    sandbox = Sandbox(clock=clock)
    cluster, world = sandbox.kubernetes, sandbox.world
    world.act([RunAs(do="run_as", service=LEDGER, kind="statefulset")])
    clock.forward(60)
    cluster.advance()
    assert cluster.store.get(DEPLOYMENT, PROD, LEDGER) is None
    assert {pod.name for pod in world.pods(LEDGER)} == {f"{LEDGER}-0", f"{LEDGER}-1"}
    assert world.figures(LEDGER).errors < 0.01
    world.scale(LEDGER, 4)
    clock.forward(120)
    cluster.advance()
    found = cluster.store.get(STATEFUL_SET, PROD, LEDGER)
    assert found and found["status"]["readyReplicas"] == 4
    assert {pod.name for pod in world.pods(LEDGER) if pod.is_ready(world.at)} == {f"{LEDGER}-{n}" for n in range(4)}
