"""Nodes: cordon, drain by the eviction API, uncordon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Unavailable
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client
from bot.integrations.kubernetes.status import condition
from bot.tasks import cancel_and_wait

POLL_SECONDS = 1.0
EVICTIONS_AT_ONCE = 20

Tell = Callable[[Mapping[str, str]], Awaitable[None]]
CORDON = "node.kubernetes.io/unschedulable"  # the taint that comes with a cordon
MIRROR = "kubernetes.io/config.mirror"  # annotation of static pods, which the kubelet runs


@dataclass(frozen=True, slots=True)
class NodeState:
    """How a node stands. `taints` (`key=value:effect`) keep pods away besides a cordon; `cordoned_by` is the program
    that has cordoned it, if it is cordoned and the cluster knows.
    """

    schedulable: bool
    ready: bool
    taints: list[str]
    cordoned_by: str | None = None


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod on a node. `skip_reason` says why a drain leaves it; `has_emptydir`: the drain deletes local data.

    A `bare` pod has no controller: nothing brings it back elsewhere.
    """

    namespace: str
    name: str
    skip_reason: str | None
    has_emptydir: bool
    bare: bool = False
    uid: str = ""

    @property
    def qualified_name(self) -> str:
        return f"{self.namespace}/{self.name}"


class Nodes:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _v1(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._cluster.api)

    async def state(self, node: str) -> NodeState:
        """Return how the node stands. Raises NotFound with those that are there."""
        found = await self._cluster.find("node", node, None, self._v1.read_node, self._v1.list_node)
        return _state(self._cluster.plain(found))

    async def is_schedulable(self, node: str) -> bool:
        """Return True if new pods may be scheduled on the node."""
        return (await self.state(node)).schedulable

    @effect("kubernetes.cordon")
    async def cordon(self, node: str, cautions: Sequence[Mapping[str, Any]] = (), *, dry_run: bool = False) -> str:
        """Mark the node as unschedulable."""
        return await self._set(node, True, dry_run)

    @effect("kubernetes.uncordon")
    async def uncordon(self, node: str, cautions: Sequence[Mapping[str, Any]] = (), *, dry_run: bool = False) -> str:
        """Mark the node as schedulable."""
        return await self._set(node, None, dry_run)

    async def pods(self, node: str) -> Sequence[NodePod]:
        """Return the pods on the node."""
        pods = await self._cluster.list_all(
            f"pods on {node}", self._v1.list_pod_for_all_namespaces, field_selector=f"spec.nodeName={node}"
        )
        return [_node_pod(pod) for pod in pods]

    @effect("kubernetes.drain", hidden=("uids", "tell"))
    async def drain(
        self,
        node: str,
        pods: Sequence[str],
        wait: float = 300.0,
        uids: Mapping[str, str] | None = None,
        tell: Tell | None = None,
        *,
        dry_run: bool = False,
    ) -> str:
        """Evict these pods (`namespace/name`) as their budgets allow, all at once, and wait until they are gone.

        `uids` tell a pod from another one that takes its name, as a StatefulSet's does. `tell` hears which pods it
        waits for, and why. A dry run returns what a budget would make it wait for. Raises Unavailable, with the
        reasons, if it takes more than `wait` seconds; pods evicted by then stay evicted.
        """
        known = uids or {}
        free = asyncio.Semaphore(EVICTIONS_AT_ONCE)
        if dry_run:
            return "\n".join(await asyncio.gather(*(self._try_evict(pod, known.get(pod), free) for pod in pods)))
        waiting: dict[str, str] = dict.fromkeys(pods, "")

        async def evict(pod: str) -> None:
            async with free:
                busy = await self._evict_or_busy(pod, known.get(pod))
            while busy is not None:
                waiting[pod] = str(busy.facts.get("why") or busy.key)
                await asyncio.sleep(max(POLL_SECONDS, busy.retry_after or 0.0))
                async with free:
                    busy = await self._evict_or_busy(pod, known.get(pod))
            while (waiting_for := await self._ending(pod, known.get(pod))) is not None:
                waiting[pod] = waiting_for
                await asyncio.sleep(POLL_SECONDS)
            del waiting[pod]

        async def report() -> None:
            told: dict[str, str] = {}
            while tell:
                if waiting != told:
                    told = dict(waiting)
                    await tell(told)
                await asyncio.sleep(POLL_SECONDS)

        reporting = asyncio.create_task(report())
        try:
            async with asyncio.timeout(wait):
                await asyncio.gather(*(evict(pod) for pod in pods))
        except TimeoutError as slow:
            why = "; ".join(f"{pod}: {reason or 'Terminating'}" for pod, reason in list(waiting.items())[:5])
            raise Unavailable("kubernetes_busy", service="Kubernetes", what=f"drain {node}", why=why) from slow
        finally:
            await cancel_and_wait([reporting])
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

    async def _try_evict(self, pod: str, uid: str | None, free: asyncio.Semaphore) -> str:
        async with free:
            try:
                await self._evict(pod, uid, dry_run=ALL)
            except NotFound:
                return f"   {pod}"
            except Unavailable as busy:
                return f"!  {pod}: {busy.facts.get('why', '')}"
        return f"-  {pod}"

    async def _evict_or_busy(self, pod: str, uid: str | None) -> Unavailable | None:
        """Evict a pod. Returns None on success or if it is gone, else what was in the way, to be tried again: a budget,
        two budgets for one pod (500), or no answer.
        """
        try:
            await self._evict(pod, uid)
        except NotFound:
            return None
        except Unavailable as busy:
            if busy.facts.get("status") == 409 and await self._ending(pod, uid) is None:
                return None  # another pod has its name by now
            return busy
        return None

    async def _evict(self, pod: str, uid: str | None, **options: Any) -> None:
        namespace, _, name = pod.partition("/")
        body: dict[str, Any] = {"metadata": {"name": name, "namespace": namespace}}
        if uid:
            body["deleteOptions"] = {"preconditions": {"uid": uid}}
        await self._cluster.ask(
            f"eviction of {pod}", self._v1.create_namespaced_pod_eviction, name, namespace, body, **options
        )

    async def _ending(self, pod: str, uid: str | None) -> str | None:
        """Return what keeps an evicted pod from being gone, empty if nothing but time; None if it is gone."""
        namespace, _, name = pod.partition("/")
        try:
            found = await self._cluster.ask(f"pod {pod}", self._v1.read_namespaced_pod, name, namespace)
        except NotFound:
            return None
        except Unavailable:
            return ""  # as far as is known it is there
        if uid and found.metadata.uid != uid:
            return None
        holders = found.metadata.finalizers or []
        return f"Terminating, finalizers: {', '.join(holders)}" if holders else ""


def _state(node: Mapping[str, Any]) -> NodeState:
    spec, metadata = node.get("spec") or {}, node["metadata"]
    taints = [
        f"{taint['key']}{'=' + taint['value'] if taint.get('value') else ''}:{taint['effect']}"
        for taint in spec.get("taints") or ()
        if taint["key"] != CORDON and taint["effect"] != "PreferNoSchedule"
    ]
    writers = [
        str(entry.get("manager"))
        for entry in metadata.get("managedFields") or ()
        if "f:unschedulable" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    is_cordoned = bool(spec.get("unschedulable"))
    ready = condition(node, "Ready").get("status") == "True"
    return NodeState(not is_cordoned, ready, taints, writers[0] if is_cordoned and writers else None)


def _node_pod(pod: Mapping[str, Any]) -> NodePod:
    metadata, spec = pod["metadata"], pod["spec"]
    owners = {owner["kind"] for owner in metadata.get("ownerReferences") or () if owner.get("controller")}
    phase, skip_reason = (pod.get("status") or {}).get("phase"), None
    if "DaemonSet" in owners:
        skip_reason = "DaemonSet"
    elif MIRROR in (metadata.get("annotations") or {}):
        skip_reason = "static"
    elif phase in ("Succeeded", "Failed"):
        skip_reason = str(phase)
    has_emptydir = any("emptyDir" in volume for volume in spec.get("volumes") or ())
    return NodePod(
        metadata["namespace"], metadata["name"], skip_reason, has_emptydir, not owners, str(metadata.get("uid") or "")
    )
