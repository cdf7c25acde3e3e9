"""Real helm on TAMV's releases in the sandbox: the chart, the way back, the canary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sandbox.clock import Clock
from sandbox.kubernetes import charts
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.world.deployments import Version
from sandbox.world.services import SERVICES, Service
from sandbox.world.world import World
from tests.contract.kubernetes.programs import Program
from tests.real import helm as real
from tests.sandbox.kubernetes_serving import served_cluster

PROD = "tamv-prod"


@dataclass(frozen=True)
class Company:
    kubernetes: Kubernetes
    helm: Program
    charts: Path

    def deployment(self, name: str) -> Object | None:
        return self.kubernetes.store.get(DEPLOYMENT, PROD, name)

    def tag(self, name: str) -> str:
        found = self.deployment(name)
        assert found is not None
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]

    def upgrade(self, name: str, **values: object) -> None:
        said = ",".join(f"{key.replace('__', '.')}={value}" for key, value in values.items())
        self.helm("upgrade", "--install", name, str(self.charts / name), "--set", said, "--wait", "--timeout=30s")


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    kubernetes = Kubernetes(World(Clock(speed=100)))
    for service in SERVICES:
        charts.write(service, service.replicas, tmp_path, secrets(service))
    with served_cluster(kubernetes) as url:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(kubernetes.kubeconfig(url))
        yield Company(kubernetes, Program(real.helm(), kubeconfig, PROD, tmp_path), tmp_path)


def secrets(service: Service) -> str:
    return f"{service.name}-secrets" if service.name in ("tamv-core", "isabella-ai") else ""


def test_the_chart_renders_what_is_installed(company: Company) -> None:
    for service in SERVICES:
        rendered = company.helm("template", service.name, str(company.charts / service.name))
        found = [one for one in yaml.safe_load_all(rendered) if one]
        values = charts.values(service, service.replicas, secrets(service))
        wanted = charts.manifests(service.name, values, service.version)
        assert sorted(found, key=lambda one: str(one["kind"])) == sorted(wanted, key=lambda one: str(one["kind"]))


def test_an_upgrade_to_what_stands_there_replaces_no_pod(company: Company) -> None:
    before = company.kubernetes.world.pods("tamv-core")
    company.upgrade("tamv-core", image__tag="v2.4.0")
    assert [pod.name for pod in company.kubernetes.world.pods("tamv-core")] == [pod.name for pod in before]
    assert company.helm.json("history", "tamv-core")[-1]["revision"] == 5


def test_a_bad_version_is_installed_and_taken_back(company: Company) -> None:
    world = company.kubernetes.world
    world.images["tamv-core:v2.4.1"] = Version(errors=0.065)
    company.upgrade("tamv-core", image__tag="v2.4.1")
    assert {pod.template.version for pod in world.deployments["tamv-core"].ready(world.at)} == {"v2.4.1"}
    history = company.helm.json("history", "tamv-core")
    assert [(one["status"], one["app_version"]) for one in history[1:4]] == [
        ("superseded", "v2.3.1"), ("failed", "v2.4.0-rc1"), ("superseded", "v2.4.0"),
    ]  # fmt: skip
    company.helm("rollback", "tamv-core", "4", "--wait", "--timeout=30s")
    assert company.tag("tamv-core") == "v2.4.0"
    assert {pod.template.version for pod in world.deployments["tamv-core"].ready(world.at)} == {"v2.4.0"}


def test_a_canary_carries_a_share_and_then_takes_over(company: Company) -> None:
    world = company.kubernetes.world
    company.upgrade("tamv-core", image__tag="v2.4.1", canary__enabled="true", canary__weight=10)
    assert (company.tag("tamv-core"), company.tag("tamv-core-canary")) == ("v2.4.0", "v2.4.1")
    versions = [pod.template.version for pod in world.deployments["tamv-core"].ready(world.at)]
    assert sorted(versions) == ["v2.4.0"] * 4 + ["v2.4.1"]
    company.upgrade("tamv-core", image__tag="v2.4.1", canary__enabled="true", canary__weight=50)
    canary = company.deployment("tamv-core-canary")
    assert canary is not None
    assert canary["spec"]["replicas"] == 4
    company.upgrade("tamv-core", image__tag="v2.4.1", canary__weight=100)
    assert (company.tag("tamv-core"), company.deployment("tamv-core-canary")) == ("v2.4.1", None)
