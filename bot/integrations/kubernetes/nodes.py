"""Nodes: cordon, drain by the eviction API, uncordon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Unavailable
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client

POLL_SECONDS = 1.0
MIRROR = "kubernetes.io/config.mirror"  # annotation of static pods, which the kubelet runs


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod on a node. `skip_reason` says why a drain leaves it; `has_emptydir`: the drain deletes local data."""

    namespace: str
    name: str
    skip_reason: str | None
    has_emptydir: bool

    @property
    def qualified_name(self) -> str:
        return f"{self.namespace}/{self.name}"


class Nodes:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _v1(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._cluster.api)

    async def is_schedulable(self, node: str) -> bool:
        """Return True if new pods may be scheduled on the node."""
        current = await self._cluster.ask(f"node {node}", self._v1.read_node, node)
        return not current.spec.unschedulable

    @effect("kubernetes.cordon")
    async def cordon(self, node: str, *, dry_run: bool = False) -> str:
        """Mark the node as unschedulable."""
        return await self._set(node, True, dry_run)

    @effect("kubernetes.uncordon")
    async def uncordon(self, node: str, *, dry_run: bool = False) -> str:
        """Mark the node as schedulable."""
        return await self._set(node, None, dry_run)

    async def pods(self, node: str) -> Sequence[NodePod]:
        """Return the pods on the node."""
        listing = await self._cluster.ask(
            f"pods on {node}", self._v1.list_pod_for_all_namespaces, field_selector=f"spec.nodeName={node}"
        )
        return [_node_pod(pod) for pod in listing.items]

    @effect("kubernetes.drain")
    async def drain(self, node: str, pods: Sequence[str], wait: float = 300.0, *, dry_run: bool = False) -> str:
        """Evict these pods (`namespace/name`) as their disruption budgets allow, and wait until they are gone.

        A dry run returns what a budget would make it wait for. Raises Unavailable, with the budget's reason, if it
        takes more than `wait` seconds; pods evicted by then stay evicted.
        """
        if dry_run:
            return "\n".join([await self._try_evict(pod) for pod in pods])
        last: Unavailable | None = None
        try:
            async with asyncio.timeout(wait):
                for pod in pods:
                    while (last := await self._evict_or_reason(pod)) is not None:  # noqa: ASYNC110 - the API has no event for it
                        await asyncio.sleep(POLL_SECONDS)
                for pod in pods:
                    while await self._exists(pod):  # noqa: ASYNC110
                        await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            why = last.facts.get("why", "") if last else ""
            raise Unavailable("kubernetes_busy", service="Kubernetes", what=f"drain {node}", why=why) from last
        return ""

    async def _set(self, node: str, unschedulable: bool | None, dry_run: bool) -> str:
        before = await self.is_schedulable(node)
        await self._cluster.ask(
            f"node {node}",
            self._v1.patch_node,
            node,
            {"spec": {"unschedulable": unschedulable}},
            dry_run=ALL if dry_run else None,
            field_manager=FIELD_MANAGER,
        )
        return f"-  unschedulable: {str(not before).lower()}\n+  unschedulable: {str(bool(unschedulable)).lower()}"

    async def _try_evict(self, pod: str) -> str:
        try:
            await self._evict(pod, dry_run=ALL)
        except NotFound:
            return f"   {pod}"
        except Unavailable as busy:
            return f"!  {pod}: {busy.facts.get('why', '')}"
        return f"-  {pod}"

    async def _evict_or_reason(self, pod: str) -> Unavailable | None:
        """Evict a pod. Returns None on success or if it is gone, else the budget's refusal, to be retried."""
        try:
            await self._evict(pod)
        except NotFound:
            return None
        except Unavailable as busy:
            if busy.key != "kubernetes_busy":
                raise
            return busy
        return None

    async def _evict(self, pod: str, **options: Any) -> None:
        namespace, _, name = pod.partition("/")
        body = {"metadata": {"name": name, "namespace": namespace}}
        await self._cluster.ask(
            f"eviction of {pod}", self._v1.create_namespaced_pod_eviction, name, namespace, body, **options
        )

    async def _exists(self, pod: str) -> bool:
        namespace, _, name = pod.partition("/")
        try:
            await self._cluster.ask(f"pod {pod}", self._v1.read_namespaced_pod, name, namespace)
        except NotFound:
            return False
        return True


def _node_pod(pod: Any) -> NodePod:
    owners = {owner.kind for owner in pod.metadata.owner_references or [] if owner.controller}
    skip_reason = None
    if "DaemonSet" in owners:
        skip_reason = "DaemonSet"
    elif MIRROR in (pod.metadata.annotations or {}):
        skip_reason = "static"
    elif pod.status.phase in ("Succeeded", "Failed"):
        skip_reason = str(pod.status.phase)
    has_emptydir = any(volume.empty_dir for volume in pod.spec.volumes or [])
    return NodePod(pod.metadata.namespace, pod.metadata.name, skip_reason, has_emptydir)
