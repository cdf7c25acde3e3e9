"""Pods: list, resource usage, logs, events and descriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from bot.integrations.kubernetes.cluster import Cluster, client, quantity

Kind = Literal["pod", "deployment", "job", "node"]
FIELDS: Mapping[Kind, Sequence[str]] = {
    "pod": ("spec.nodeName", "spec.serviceAccountName", "status.phase", "status.podIP", "status.startTime"),
    "deployment": (
        "spec.replicas",
        "status.updatedReplicas",
        "status.availableReplicas",
        "status.unavailableReplicas",
        "spec.strategy.type",
    ),
    "job": ("status.active", "status.succeeded", "status.failed", "status.startTime", "status.completionTime"),
    "node": ("spec.unschedulable", "status.nodeInfo.kubeletVersion", "status.capacity.cpu", "status.capacity.memory"),
}
EVENTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as in `kubectl get pods`. `age` in seconds."""

    name: str
    phase: str
    ready: str
    restarts: int
    node: str | None
    age: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of a pod or a node: CPU in cores, memory in bytes."""

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
        listing = await self._cluster.ask(
            f"pods of {namespace}", self._v1.list_namespaced_pod, namespace, label_selector=selector
        )
        return [_pod(pod) for pod in listing.items]

    async def top(self, namespace: str) -> Sequence[Usage]:
        """Return the usage of each pod, from metrics-server."""
        usages = await self._metrics("pods", namespace)
        return [
            Usage(
                usage["metadata"]["name"],
                sum(_quantity(container["usage"]["cpu"]) for container in usage["containers"]),
                sum(int(_quantity(container["usage"]["memory"])) for container in usage["containers"]),
            )
            for usage in usages
        ]

    async def top_nodes(self) -> Sequence[Usage]:
        usages = await self._metrics("nodes", None)
        return [
            Usage(
                usage["metadata"]["name"],
                _quantity(usage["usage"]["cpu"]),
                int(_quantity(usage["usage"]["memory"])),
            )
            for usage in usages
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
        """Return the newest log lines of several pods; `since` in seconds."""

        async def read_log(pod: str) -> str:
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

        texts = await asyncio.gather(*(read_log(pod) for pod in pods))
        return dict(zip(pods, texts, strict=True))

    async def events(self, namespace: str, about: str | None = None) -> Sequence[ClusterEvent]:
        """Return events, the newest last."""
        selector = f"involvedObject.name={about}" if about else None
        listing = await self._cluster.ask(
            f"events of {namespace}", self._v1.list_namespaced_event, namespace, field_selector=selector
        )
        events = [
            ClusterEvent(
                event.last_timestamp or event.event_time or event.metadata.creation_timestamp,
                str(event.type),
                str(event.reason),
                f"{event.involved_object.kind}/{event.involved_object.name}",
                str(event.message or ""),
                int(event.count or 1),
            )
            for event in listing.items
        ]
        return sorted(events, key=lambda event: event.at or datetime.min.replace(tzinfo=UTC))

    async def _metrics(self, plural: str, namespace: str | None) -> Sequence[dict[str, Any]]:
        custom = client.CustomObjectsApi(self._cluster.api)
        group, version = "metrics.k8s.io", "v1beta1"
        if namespace is None:
            content = await self._cluster.ask(
                "metrics of nodes", custom.list_cluster_custom_object, group, version, plural
            )
        else:
            content = await self._cluster.ask(
                f"metrics of {namespace}", custom.list_namespaced_custom_object, group, version, namespace, plural
            )
        items: Sequence[dict[str, Any]] = content["items"]
        return items


def _pod(pod: Any) -> Pod:
    statuses = pod.status.container_statuses or []
    waiting = next(
        (container.state.waiting.reason for container in statuses if container.state and container.state.waiting), None
    )
    terminating = "Terminating" if pod.metadata.deletion_timestamp else None
    age = (datetime.now(UTC) - pod.metadata.creation_timestamp).total_seconds()
    return Pod(
        pod.metadata.name,
        terminating or waiting or str(pod.status.phase),
        f"{sum(1 for container in statuses if container.ready)}/{len(pod.spec.containers)}",
        sum(int(container.restart_count) for container in statuses),
        pod.spec.node_name,
        max(0.0, age),
    )


def _quantity(text: str) -> float:
    """Return `250m` cores or `512Mi` bytes as a number."""
    return float(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class DescribeLine:
    """One line of a description. `part` is field, container, condition or event."""

    part: str
    name: str
    state: str
    why: str = ""


class Describer:
    def __init__(self, cluster: Cluster, pods: Pods) -> None:
        self._cluster = cluster
        self._pods = pods

    async def describe(self, kind: Kind, name: str, namespace: str) -> list[DescribeLine]:
        """Describe an object. Values of variables are left out, as they may be secrets.

        A node has no namespace; its events are in `default`.
        """
        call, prefix = self._reading(kind)
        arguments = (name,) if kind == "node" else (name, namespace)
        thing, events = await asyncio.gather(
            self._cluster.ask(f"{kind} {prefix.format(namespace=namespace)}{name}", call, *arguments),
            self._pods.events("default" if kind == "node" else namespace, name),
        )
        thing = self._cluster.plain(thing)
        event_lines = [
            DescribeLine("event", event.reason, f"×{event.count}", event.message) for event in events[-EVENTS_SHOWN:]
        ]
        return [*_fields(kind, thing), *_containers(thing), *_conditions(thing), *event_lines]

    def _reading(self, kind: Kind) -> tuple[Callable[..., Any], str]:
        api = self._cluster.api
        match kind:
            case "pod":
                return client.CoreV1Api(api).read_namespaced_pod, "{namespace}/"
            case "deployment":
                return client.AppsV1Api(api).read_namespaced_deployment, "{namespace}/"
            case "job":
                return client.BatchV1Api(api).read_namespaced_job, "{namespace}/"
            case "node":
                return client.CoreV1Api(api).read_node, ""


def _fields(kind: Kind, thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    for path in FIELDS[kind]:
        value: Any = thing
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            yield DescribeLine("field", path.rpartition(".")[2], str(value))


def _containers(thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    spec = thing.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or spec
    statuses = {entry["name"]: entry for entry in (thing.get("status") or {}).get("containerStatuses") or ()}
    for container in pod.get("containers") or ():
        status = statuses.get(container["name"]) or {}
        state, why = "", ""
        for state, details in (status.get("state") or {}).items():  # noqa: B007 - a state has one entry
            why = " ".join(str(details[name]) for name in ("reason", "message", "exitCode") if name in details)
        if status.get("restartCount"):
            why = f"{why} restarts={status['restartCount']}".strip()
        yield DescribeLine("container", container["name"], f"{container['image']} {state}".strip(), why)


def _conditions(thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    for condition in (thing.get("status") or {}).get("conditions") or ():
        why = ": ".join(str(condition[name]) for name in ("reason", "message") if condition.get(name))
        yield DescribeLine("condition", condition["type"], condition["status"], why)
