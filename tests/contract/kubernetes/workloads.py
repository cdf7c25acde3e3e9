"""The workloads of the contract, and waiting for what becomes of them."""

from __future__ import annotations

from typing import Any

from kubernetes.aio import watch

from sandbox.deadline import deadline
from tests.contract.kubernetes.conftest import Cluster

DEADLINE = 20.0  # real seconds


def deployment(
    name: str = "web", replicas: int = 2, image: str = "registry.example/web:1", **spec: Any
) -> dict[str, Any]:
    """A deployment of one container `app`, with a sidecar."""
    labels = {"app": name}
    containers = [
        {"name": "app", "image": image, "env": [{"name": "MODE", "value": "plain"}], "ports": [{"containerPort": 80}]},
        {"name": "side", "image": "registry.example/side:1"},
    ]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


def is_rolled_out(found: Any) -> bool:
    """As `kubectl rollout status` decides it."""
    status, wanted = found.status, found.spec.replicas
    counts = (status.updated_replicas, status.replicas, status.available_replicas)
    seen: bool = status.observed_generation == found.metadata.generation
    return seen and all((count or 0) == wanted for count in counts)


async def rolled_out(cluster: Cluster, name: str = "web") -> Any:
    """Watch a deployment until it is rolled out."""
    async with deadline(DEADLINE), watch.Watch() as changes:  # type: ignore[no-untyped-call]
        async for event in changes.stream(
            cluster.apps.list_namespaced_deployment,
            cluster.namespace,
            field_selector=f"metadata.name={name}",
            timeout_seconds=int(DEADLINE),
        ):
            if is_rolled_out(event["object"]):
                return event["object"]
    raise TimeoutError(f"{name} is not rolled out after {DEADLINE} s")
