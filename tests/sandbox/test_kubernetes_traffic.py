"""Network policies cut the world's services off, load tests load them; both end with the objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.resources.basic import NETWORK_POLICY
from sandbox.kubernetes.resources.batch import JOB
from tests.architecture.tree import ROOT
from tests.harness.hand_clock import HandClock

PROD = "tamv-prod"
MANIFESTS = ROOT / "teams/tamv/manifests"


def manifest(path: str) -> Object:
    found: Object = yaml.safe_load((MANIFESTS / path).read_text("utf-8"))
    found["metadata"]["namespace"] = PROD
    return found


def forward(kubernetes: Kubernetes, clock: HandClock, seconds: int) -> None:
    for _ in range(seconds // 10):
        clock.forward(10)
        kubernetes.advance()


def policy(**spec: Any) -> Object:
    return {"metadata": {"name": "it", "namespace": PROD}, "spec": spec}


def test_without_storage_rendering_suffers_and_nothing_else(kubernetes: Kubernetes, clock: HandClock) -> None:
    world = kubernetes.world
    before = {name: world.figures(name) for name in world.deployments}
    made = kubernetes.writer.create(NETWORK_POLICY, manifest("drills/block-s3.yaml"))
    forward(kubernetes, clock, 120)
    assert world.figures("xr-engine").errors > 0.02 > before["xr-engine"].errors
    assert world.figures("tamv-core").errors == pytest.approx(before["tamv-core"].errors)
    kubernetes.writer.delete(NETWORK_POLICY, made)
    forward(kubernetes, clock, 180)
    assert world.figures("xr-engine").errors < 0.01


@pytest.mark.parametrize("path", sorted(path.name for path in (MANIFESTS / "isolate").glob("*.yaml")))
def test_an_isolated_service_answers_nobody(kubernetes: Kubernetes, clock: HandClock, path: str) -> None:
    service = Path(path).stem
    kubernetes.writer.create(NETWORK_POLICY, manifest(f"isolate/{path}"))
    forward(kubernetes, clock, 180)
    failing = {name for name in kubernetes.world.deployments if kubernetes.world.figures(name).errors > 0.9}
    assert failing == {service}


@pytest.mark.parametrize(
    "egress",
    [
        [{}],
        [{"ports": [{"port": 443, "protocol": "TCP"}]}],
        [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}],
    ],
)
def test_a_policy_that_lets_the_storage_through_costs_nothing(
    kubernetes: Kubernetes, clock: HandClock, egress: list[Any]
) -> None:
    kubernetes.writer.create(NETWORK_POLICY, policy(podSelector={}, policyTypes=["Egress"], egress=egress))
    forward(kubernetes, clock, 120)
    assert kubernetes.world.figures("xr-engine").errors < 0.01


def test_a_load_test_loads_its_target_for_as_long_as_it_runs(kubernetes: Kubernetes, clock: HandClock) -> None:
    job = manifest("jobs/load-test.yaml")
    given = {"VUS": "9000", "DURATION": "5m", "TARGET": "tamv-core"}
    job["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": n, "value": v} for n, v in given.items()]
    normal = kubernetes.world.figures("tamv-core").rate
    kubernetes.writer.create(JOB, job)
    forward(kubernetes, clock, 180)
    assert kubernetes.world.figures("tamv-core").rate == pytest.approx(10 * normal, rel=0.01)
    forward(kubernetes, clock, 360)
    assert kubernetes.world.figures("tamv-core").rate == pytest.approx(normal, rel=0.01)
