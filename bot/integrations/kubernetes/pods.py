"""Pods: listed, measured, their logs and their events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio import client
from kubernetes.utils.quantity import parse_quantity

from bot.integrations.kubernetes.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as `kubectl get pods` shows it. `age` in seconds."""

    name: str
    phase: str
    ready: str
    restarts: int
    node: str | None
    age: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod or a node uses: CPU in cores, memory in bytes."""

    name: str
    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """An event of the cluster."""

    at: datetime | None
    kind: str
    reason: str
    about: str
    message: str
    count: int


class Pods:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _v1(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._cluster.api)

    async def list(self, namespace: str, selector: str | None = None) -> list[Pod]:
        found = await self._cluster.ask(
            f"pods of {namespace}", self._v1.list_namespaced_pod, namespace, label_selector=selector
        )
        return [_pod(one) for one in found.items]

    async def top(self, namespace: str) -> Sequence[Usage]:
        """What the pods use, by metrics-server."""
        found = await self._metrics("pods", namespace)
        return [
            Usage(
                one["metadata"]["name"],
                sum(_quantity(each["usage"]["cpu"]) for each in one["containers"]),
                sum(int(_quantity(each["usage"]["memory"])) for each in one["containers"]),
            )
            for one in found
        ]

    async def top_nodes(self) -> Sequence[Usage]:
        found = await self._metrics("nodes", None)
        return [
            Usage(
                one["metadata"]["name"],
                _quantity(one["usage"]["cpu"]),
                int(_quantity(one["usage"]["memory"])),
            )
            for one in found
        ]

    async def logs(
        self,
        pods: Sequence[str],
        namespace: str,
        *,
        since: float | None = None,
        tail: int = 200,
        container: str | None = None,
        previous: bool = False,
    ) -> dict[str, str]:
        """The newest lines of several pods at once; `since` in seconds."""

        async def one(pod: str) -> str:
            return str(
                await self._cluster.ask(
                    f"logs of {namespace}/{pod}",
                    self._v1.read_namespaced_pod_log,
                    pod,
                    namespace,
                    container=container,
                    previous=previous or None,
                    since_seconds=int(since) if since else None,
                    tail_lines=tail,
                    timestamps=True,
                )
                or ""
            )

        texts = await asyncio.gather(*(one(pod) for pod in pods))
        return dict(zip(pods, texts, strict=True))

    async def events(self, namespace: str, about: str | None = None) -> Sequence[ClusterEvent]:
        """The newest last."""
        selector = f"involvedObject.name={about}" if about else None
        found = await self._cluster.ask(
            f"events of {namespace}", self._v1.list_namespaced_event, namespace, field_selector=selector
        )
        happened = [
            ClusterEvent(
                one.last_timestamp or one.event_time or one.metadata.creation_timestamp,
                str(one.type),
                str(one.reason),
                f"{one.involved_object.kind}/{one.involved_object.name}",
                str(one.message or ""),
                int(one.count or 1),
            )
            for one in found.items
        ]
        return sorted(happened, key=lambda one: one.at or datetime.min.replace(tzinfo=UTC))

    async def _metrics(self, plural: str, namespace: str | None) -> Sequence[dict[str, Any]]:
        custom = client.CustomObjectsApi(self._cluster.api)
        group, version = "metrics.k8s.io", "v1beta1"
        if namespace is None:
            found = await self._cluster.ask(
                "metrics of nodes", custom.list_cluster_custom_object, group, version, plural
            )
        else:
            found = await self._cluster.ask(
                f"metrics of {namespace}", custom.list_namespaced_custom_object, group, version, namespace, plural
            )
        items: Sequence[dict[str, Any]] = found["items"]
        return items


def _pod(one: Any) -> Pod:
    statuses = one.status.container_statuses or []
    waiting = next((each.state.waiting.reason for each in statuses if each.state and each.state.waiting), None)
    leaving = "Terminating" if one.metadata.deletion_timestamp else None
    age = (datetime.now(UTC) - one.metadata.creation_timestamp).total_seconds()
    return Pod(
        one.metadata.name,
        leaving or waiting or str(one.status.phase),
        f"{sum(1 for each in statuses if each.ready)}/{len(one.spec.containers)}",
        sum(int(each.restart_count) for each in statuses),
        one.spec.node_name,
        max(0.0, age),
    )


def _quantity(text: str) -> float:
    """`250m` cores, `512Mi` bytes, as a number."""
    return float(parse_quantity(text))  # type: ignore[no-untyped-call]
