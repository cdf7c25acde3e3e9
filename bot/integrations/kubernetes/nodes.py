"""Nodes: closed to new pods, emptied by the eviction API, opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Unavailable
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client

POLL_SECONDS = 1.0  # seconds
MIRROR = "kubernetes.io/config.mirror"  # of a pod that the kubelet runs by itself


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod on a node. `stays` says why a drain leaves it; `scratch` that it has data in an emptyDir."""

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
        """Whether new pods may come."""
        current = await self._cluster.ask(f"node {node}", self._v1.read_node, node)
        return not current.spec.unschedulable

    @effect("kubernetes.cordon")
    async def cordon(self, node: str, *, dry_run: bool = False) -> str:
        """Let no new pod come."""
        return await self._set(node, True, dry_run)

    @effect("kubernetes.uncordon")
    async def uncordon(self, node: str, *, dry_run: bool = False) -> str:
        """Let new pods come again."""
        return await self._set(node, None, dry_run)

    async def pods(self, node: str) -> Sequence[NodePod]:
        """What stands on it."""
        listing = await self._cluster.ask(
            f"pods on {node}", self._v1.list_pod_for_all_namespaces, field_selector=f"spec.nodeName={node}"
        )
        return [_node_pod(pod) for pod in listing.items]

    @effect("kubernetes.drain")
    async def drain(self, node: str, pods: Sequence[str], wait: float = 300.0, *, dry_run: bool = False) -> str:
        """Evict these pods (`namespace/name`) as their disruption budgets allow, and wait until they are gone.

        A rehearsal says what a budget would make it wait for. Unavailable, with the budget's reason, when `wait`
        seconds were not enough; the pods that are gone by then stay gone.
        """
        if dry_run:
            return "\n".join([await self._try_evict(pod) for pod in pods])
        last: Unavailable | None = None
        try:
            async with asyncio.timeout(wait):
                for pod in pods:
                    while (last := await self._evict_until_gone(pod)) is not None:  # noqa: ASYNC110 - only asking tells
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

    async def _evict_until_gone(self, pod: str) -> Unavailable | None:
        """Nothing when the pod is on its way out, or what a budget says that must be waited for."""
        try:
            await self._evict(pod)
        except NotFound:
            return None
        except Unavailable as busy:
            if busy.key != "kubernetes_busy":
                raise
            return busy
        return None

    async def _evict(self, pod: str, **how: Any) -> None:
        namespace, _, name = pod.partition("/")
        body = {"metadata": {"name": name, "namespace": namespace}}
        await self._cluster.ask(
            f"eviction of {pod}", self._v1.create_namespaced_pod_eviction, name, namespace, body, **how
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
    stays = None
    if "DaemonSet" in owners:
        stays = "DaemonSet"
    elif MIRROR in (pod.metadata.annotations or {}):
        stays = "static"
    elif pod.status.phase in ("Succeeded", "Failed"):
        stays = str(pod.status.phase)
    scratch = any(volume.empty_dir for volume in pod.spec.volumes or [])
    return NodePod(pod.metadata.namespace, pod.metadata.name, stays, scratch)
