"""What the cluster remembers: pod templates that were rolled out, pods, nodes, and what happened to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.domain.change import Change, ChangeKind, PodTraits, Template, in_order_of_rollout, template_changes
from bot.integrations.kubernetes.cluster import Cluster, client
from bot.integrations.kubernetes.status import condition, container_statuses
from bot.integrations.kubernetes.workloads import Workloads, split_reference

ZONE = "topology.kubernetes.io/zone"
TEMPLATE_LABELS = ("pod-template-hash", "controller-revision-hash", "rollouts-pod-template-hash")
QUOTA_WORDS = "exceeded quota"
OUT_OF_MEMORY = "OOMKilled"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node: its zone, whether it is ready, and since when."""

    name: str
    zone: str | None
    ready: bool
    since: datetime | None


@dataclass(frozen=True, slots=True)
class WorkloadHistory:
    """What the cluster knows of one workload of `service`."""

    changes: Sequence[Change]
    pods: Sequence[PodTraits]
    killed_for_memory: bool
    quota_refuses: bool


class History:
    """Read-only; methods raise as `Cluster.ask`."""

    def __init__(self, cluster: Cluster, workloads: Workloads) -> None:
        self._cluster = cluster
        self._workloads = workloads

    async def of_workload(
        self, service: str, reference: str, namespace: str, since: datetime, nodes: Mapping[str, NodeState]
    ) -> WorkloadHistory:
        """Return what happened to a workload since then, and its pods."""
        core = client.CoreV1Api(self._cluster.api)
        workload, revisions, selector, events = await asyncio.gather(
            self._workloads.read(reference, namespace),
            self._workloads.templates(reference, namespace),
            self._workloads.selector(reference, namespace),
            self._cluster.list_all(f"events of {namespace}", core.list_namespaced_event, namespace),
        )
        pods = await self._cluster.list_all(
            f"pods of {namespace}", core.list_namespaced_pod, namespace, label_selector=selector
        )
        name = split_reference(reference)[1]
        changes = template_changes(service, in_order_of_rollout([_template(item, pods) for item in revisions]))
        changes += _scaled(service, workload)
        killed = [at for pod in pods for at in _killed_at(pod)]
        changes += [Change(ChangeKind.KILLED, at, service, sources=("kubernetes",)) for at in killed]
        refused = [
            _time(event) for event in events if QUOTA_WORDS in str(event.get("message")) and _is_about(event, name)
        ]
        changes += [Change(ChangeKind.QUOTA, at, service, sources=("kubernetes",)) for at in refused]
        return WorkloadHistory(
            changes,
            [_traits(pod, nodes) for pod in pods],
            killed_for_memory=any(at >= since for at in killed),
            quota_refuses=any(at >= since for at in refused),
        )

    async def nodes(self) -> dict[str, NodeState]:
        """Return all nodes by name."""
        found = await self._cluster.list_all("nodes", client.CoreV1Api(self._cluster.api).list_node)
        return {str(node["metadata"]["name"]): _node(node) for node in found}

    async def policies(self, namespace: str) -> list[Change]:
        """Return when each network policy of a namespace was made or last changed."""
        found = await self._cluster.list_all(
            f"network policies of {namespace}",
            client.CustomObjectsApi(self._cluster.api).list_namespaced_custom_object,
            "networking.k8s.io",
            "v1",
            namespace,
            "networkpolicies",
        )
        return [_policy(policy) for policy in found]

    async def jobs_of_cron(self, namespace: str) -> list[Change]:
        """Return the jobs that CronJobs have started, by the events that say so."""
        core = client.CoreV1Api(self._cluster.api)
        events = await self._cluster.list_all(
            f"events of {namespace}", core.list_namespaced_event, namespace, field_selector="reason=SuccessfulCreate"
        )
        return [
            Change(ChangeKind.JOB, _time(event), str(event["involvedObject"]["name"]), sources=("kubernetes",))
            for event in events
            if (event.get("involvedObject") or {}).get("kind") == "CronJob"
        ]


def node_changes(nodes: Mapping[str, NodeState]) -> list[Change]:
    """Return which nodes are not ready, and since when."""
    return [
        Change(ChangeKind.NODE, node.since, node.name, {"ready": False}, sources=("kubernetes",))
        for node in nodes.values()
        if not node.ready and node.since
    ]


def _template(revision: Object, pods: Sequence[Object]) -> Template:
    """Return the pod template of a ReplicaSet or ControllerRevision."""
    metadata = revision["metadata"]
    spec = (revision.get("spec") or (revision.get("data") or {}).get("spec") or {}).get("template", {}).get("spec", {})
    containers = spec.get("containers") or [{}]
    id = _template_of(metadata.get("labels") or {}) or str(metadata["name"])
    started = [
        datetime.fromisoformat(str(pod["metadata"]["creationTimestamp"]))
        for pod in pods
        if _template_of(pod["metadata"].get("labels") or {}) == id
    ]
    made = datetime.fromisoformat(str(metadata["creationTimestamp"]))
    return Template(
        id,
        made,
        str(containers[0].get("image") or ""),
        {str(item["name"]): item.get("value") for item in containers[0].get("env") or ()},
        {str(k): str(v) for k, v in ((containers[0].get("resources") or {}).get("limits") or {}).items()},
        {str(k): str(v) for k, v in (spec.get("nodeSelector") or {}).items()},
        min(started, default=made),
    )


def _scaled(service: str, workload: Object) -> list[Change]:
    """Return when somebody last set the number of replicas by itself, and by which program."""
    result = []
    for entry in workload["metadata"].get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if "f:replicas" in fields and "f:template" not in fields and entry.get("time"):
            to = (workload.get("spec") or {}).get("replicas")
            at = datetime.fromisoformat(str(entry["time"]))
            result.append(
                Change(
                    ChangeKind.REPLICAS,
                    at,
                    service,
                    {"to": to},
                    by=str(entry.get("manager") or ""),
                    sources=("kubernetes",),
                )
            )
    return result


def _killed_at(pod: Object) -> list[datetime]:
    """Return when containers of a pod were last killed because they needed too much memory."""
    ends = [
        (container.get(state) or {}).get("terminated") or {}
        for _, container in container_statuses(pod)
        for state in ("lastState", "state")
    ]
    return [
        datetime.fromisoformat(str(end["finishedAt"]))
        for end in ends
        if end.get("reason") == OUT_OF_MEMORY and end.get("finishedAt")
    ]


def _traits(pod: Object, nodes: Mapping[str, NodeState]) -> PodTraits:
    node = pod["spec"].get("nodeName")
    zone = nodes[node].zone if node in nodes else None
    return PodTraits(str(pod["metadata"]["name"]), node, zone, _template_of(pod["metadata"].get("labels") or {}))


def _template_of(labels: Mapping[str, str]) -> str | None:
    return next((labels[name] for name in TEMPLATE_LABELS if labels.get(name)), None)


def _node(node: Object) -> NodeState:
    ready = condition(node, "Ready")
    since = ready.get("lastTransitionTime")
    zone = (node["metadata"].get("labels") or {}).get(ZONE)
    return NodeState(
        str(node["metadata"]["name"]),
        zone,
        ready.get("status") == "True",
        datetime.fromisoformat(str(since)) if since else None,
    )


def _policy(policy: Object) -> Change:
    metadata = policy["metadata"]
    times = [metadata["creationTimestamp"], *(entry.get("time") for entry in metadata.get("managedFields") or ())]
    at = max(datetime.fromisoformat(str(time)) for time in times if time)
    return Change(ChangeKind.POLICY, at, str(metadata["name"]), sources=("kubernetes",))


def _is_about(event: Object, name: str) -> bool:
    about = str((event.get("involvedObject") or {}).get("name") or "")
    return about == name or about.startswith(f"{name}-")


def _time(event: Object) -> datetime:
    seen = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(str(seen)) if seen else datetime.min.replace(tzinfo=UTC)
