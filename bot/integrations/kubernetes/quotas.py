"""Resource quotas: how many more pods of a workload they leave room for.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Refused
from bot.integrations.kubernetes.cluster import Cluster, client, to_number
from bot.integrations.kubernetes.status import is_sidecar
from bot.integrations.kubernetes.workloads import Workloads

COUNTS = ("pods", "count/pods")
REQUESTED = ("cpu", "memory", "ephemeral-storage")  # as `requests.cpu`, for short

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Room:
    """A quota leaves room for so many `pods` more; `resource` is what runs out first: `pods`, `requests.cpu`."""

    quota: str
    resource: str
    pods: int


class Quotas:
    def __init__(self, cluster: Cluster, workloads: Workloads) -> None:
        self._cluster = cluster
        self._workloads = workloads

    async def room(self, reference: str, namespace: str) -> Room | None:
        """Return the least room for more pods of a workload.

        None if no quota limits them, or if the bot may not see quotas. Those that hold for some pods only are left out.
        """
        api = client.CoreV1Api(self._cluster.api)
        try:
            quotas = await self._cluster.list_all(
                f"quotas of {namespace}", api.list_namespaced_resource_quota, namespace
            )
        except (NotFound, Refused):
            return None
        template = (await self._workloads.read(reference, namespace))["spec"].get("template")
        if not quotas or not template:
            return None
        rooms = [room for quota in quotas for room in rooms_in(quota, template["spec"])]
        return min(rooms, key=lambda room: room.pods, default=None)


def rooms_in(quota: Object, pod: Object) -> Iterator[Room]:
    """Yield how many more pods of this specification each resource of a quota leaves room for."""
    spec, status = quota["spec"], quota.get("status") or {}
    if spec.get("scopes") or spec.get("scopeSelector"):
        return
    for resource, hard in (status.get("hard") or {}).items():
        needed = 1.0 if resource in COUNTS else _needed(resource, pod)
        if needed > 0:
            left = to_number(hard) - to_number((status.get("used") or {}).get(resource, "0"))
            yield Room(quota["metadata"]["name"], resource, max(0, math.floor(left / needed + 1e-9)))


def _needed(resource: str, pod: Object) -> float:
    """Return how much of `requests.cpu`, `limits.memory`, `memory`, … a pod needs; 0 for what pods do not use."""
    part, dot, name = resource.partition(".")
    if resource in REQUESTED:
        part, name = "requests", resource
    elif not dot or part not in ("requests", "limits"):
        return 0.0
    starting = pod.get("initContainers") or ()
    lasting = _sum(part, name, [*pod["containers"], *filter(is_sidecar, starting)])
    return max([lasting, *(_amount(part, name, one) for one in starting)])


def _sum(part: str, name: str, containers: Sequence[Object]) -> float:
    return sum(_amount(part, name, container) for container in containers)


def _amount(part: str, name: str, container: Object) -> float:
    """Return what a container requests, which is its limit if it says no more, or its limit."""
    resources = container.get("resources") or {}
    said = (resources.get(part) or {}).get(name)
    if said is None and part == "requests":
        said = (resources.get("limits") or {}).get(name)
    return to_number(said) if said is not None else 0.0
