"""What `kubectl describe` tells: how an object stands, its containers, its conditions, what happened to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kubernetes.aio import client

from bot.integrations.kubernetes.cluster import Cluster
from bot.integrations.kubernetes.pods import Pods

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
NEWEST = 20  # events


@dataclass(frozen=True, slots=True)
class DescribeLine:
    """A line of a description. `part` is field, container, condition or event."""

    part: str
    name: str
    state: str
    why: str = ""


class Describer:
    def __init__(self, cluster: Cluster, pods: Pods) -> None:
        self._cluster = cluster
        self._pods = pods

    async def describe(self, kind: Kind, name: str, namespace: str) -> list[DescribeLine]:
        """The values of variables are not told: they may be secrets. A node has no namespace; its events do."""
        call, involved = self._reading(kind)
        arguments = (name,) if kind == "node" else (name, namespace)
        thing, events = await asyncio.gather(
            self._cluster.ask(f"{kind} {involved.format(namespace=namespace)}{name}", call, *arguments),
            self._pods.events("default" if kind == "node" else namespace, name),
        )
        thing = self._cluster.plain(thing)
        happened = [
            DescribeLine("event", cluster_event.reason, f"×{cluster_event.count}", cluster_event.message)
            for cluster_event in events[-NEWEST:]
        ]
        return [*_fields(kind, thing), *_containers(thing), *_conditions(thing), *happened]

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
        for state, details in (status.get("state") or {}).items():  # noqa: B007 - it has one
            why = " ".join(str(details[name]) for name in ("reason", "message", "exitCode") if name in details)
        if status.get("restartCount"):
            why = f"{why} restarts={status['restartCount']}".strip()
        yield DescribeLine("container", container["name"], f"{container['image']} {state}".strip(), why)


def _conditions(thing: Mapping[str, Any]) -> Iterator[DescribeLine]:
    for condition in (thing.get("status") or {}).get("conditions") or ():
        why = ": ".join(str(condition[name]) for name in ("reason", "message") if condition.get(name))
        yield DescribeLine("condition", condition["type"], condition["status"], why)
