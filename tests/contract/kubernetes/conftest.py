"""The clusters that the contract is held against: the sandbox's, and a real control plane.

REAL_KUBECONFIG names another real one, whose nodes must be as fakelet's are: no image is ever pulled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from kubernetes.aio import client, config

from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.containers import Behaviour
from sandbox.world.world import World
from tests.contract.kubernetes.programs import Program
from tests.real import helm as real
from tests.real.kubernetes import kubernetes
from tests.real.parts import require
from tests.sandbox.kubernetes_serving import served_cluster

T = TypeVar("T")

DEADLINE = 20.0  # real seconds
SPEED = 100.0  # a pod that takes 20 s is ready after 0.2 s
CLUSTERS = ["sandbox", pytest.param("real", marks=pytest.mark.real("kubernetes"))]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@dataclass(frozen=True)
class Cluster:
    """A cluster by its kubeconfig, and a namespace of the test's own in it."""

    kubeconfig: Path
    namespace: str
    api: client.ApiClient

    @property
    def apps(self) -> Any:  # what it gives is optional to the last field, which a test need not say each time
        return client.AppsV1Api(self.api)

    @property
    def batch(self) -> Any:
        return client.BatchV1Api(self.api)

    @property
    def policy(self) -> Any:
        return client.PolicyV1Api(self.api)

    @property
    def custom(self) -> Any:
        return client.CustomObjectsApi(self.api)

    @property
    def main(self) -> Any:
        return client.CoreV1Api(self.api)

    async def get(self, path: str, query: dict[str, str] | None = None, accept: str = "application/json") -> Any:
        """What the API says at a path, as JSON."""
        return (await self.ask("GET", path, query, accept=accept))[1]

    async def ask(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        accept: str = "*/*",
        content_type: str = "application/json",
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers of an answer, whatever it is; nothing is checked by the client on its way."""
        status, content, headers = await self.answer(method, path, query, body, accept, content_type)
        return status, json.loads(content), headers

    async def answer(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        accept: str = "*/*",
        content_type: str = "application/json",
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """The same of an answer that need not be JSON."""
        api: Any = self.api
        headers = {"Accept": accept, "Content-Type": content_type}
        request = await api.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        answer = await api.call_api(*request)
        return answer.status, await answer.read(), answer.headers

    async def until(self, ask: Callable[[], Awaitable[T]], wanted: T) -> None:
        """Wait until something is as it is wanted."""
        async with deadline(DEADLINE):
            while (seen := await ask()) != wanted:
                del seen
                await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def sandbox_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    sandbox = Kubernetes(World(Clock(speed=SPEED)))
    sandbox.behaviours.set("*:broken", Behaviour(fault="ImagePullBackOff"))
    with served_cluster(sandbox) as url:
        path = tmp_path_factory.mktemp("sandbox") / "kubeconfig"
        path.write_text(sandbox.kubeconfig(url))
        yield path


@pytest.fixture(scope="session")
def real_kubeconfig() -> Iterator[Path]:
    if said := os.environ.get("REAL_KUBECONFIG"):
        yield Path(said)
        return
    require("kubernetes")
    with kubernetes() as path:
        yield path


@pytest.fixture(scope="session", params=CLUSTERS)
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """The kubeconfig of each target."""
    path: Path = request.getfixturevalue(f"{request.param}_kubeconfig")
    return path


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A new namespace in each target, deleted afterwards."""
    configuration = client.Configuration()
    await config.load_kube_config_from_dict(  # type: ignore[no-untyped-call]
        yaml.safe_load(kubeconfig.read_text()), client_configuration=configuration
    )
    namespace = f"contract-{secrets.token_hex(4)}"
    async with client.ApiClient(configuration) as api:
        main: Any = client.CoreV1Api(api)
        await main.create_namespace({"metadata": {"name": namespace}})
        yield Cluster(kubeconfig, namespace, api)
        with contextlib.suppress(client.ApiException):
            await main.delete_namespace(namespace)


@pytest.fixture
def kubectl(cluster: Cluster, home: Path) -> Program:
    return Program(real.kubectl(), cluster.kubeconfig, cluster.namespace, home)


@pytest.fixture
def helm(cluster: Cluster, home: Path) -> Program:
    return Program(real.helm(), cluster.kubeconfig, cluster.namespace, home)
