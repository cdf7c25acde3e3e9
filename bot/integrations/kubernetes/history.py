"""What the cluster remembers: pod templates that were rolled out, pods, nodes, and what happened to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bot.domain.change import Change, ChangeKind, PodTraits, Template, in_order_of_rollout, template_changes
from bot.integrations.kubernetes.cluster import Cluster, client
from bot.integrations.kubernetes.status import condition, container_statuses
from bot.integrations.kubernetes.workloads import Workloads, main_container, seen_at, split_reference

ZONE = "topology.kubernetes.io/zone"
TEMPLATE_LABELS = ("pod-template-hash", "controller-revision-hash", "rollouts-pod-template-hash")
QUOTA_WORDS = "exceeded quota"
OUT_OF_MEMORY = "OOMKilled"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
OBJECTS = {  # where a pod's spec names a ConfigMap or a Secret
    "configMap": "ConfigMap",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "secret": "Secret",
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
}
PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
_NEW_SIZE = re.compile(r"New size: (\d{1,6})\b")

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node: its zone, whether it is ready, and since when; what else troubles it (`closed`, `MemoryPressure`)."""

    name: str
    zone: str | None
    ready: bool
    since: datetime | None
    troubles: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def changes(self) -> list[Change]:
        """What is wrong with the node, and since when."""
        facts = [({"trouble": trouble}, at) for trouble, at in self.troubles.items()]
        if not self.ready and self.since:
            facts.append(({}, self.since))
        return [Change(ChangeKind.NODE, at, self.name, fact, sources=("kubernetes",)) for fact, at in facts]


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
        changes = template_changes(service, in_order_of_rollout([_template(name, item, pods) for item in revisions]))
        changes += _scaled(service, workload)
        killed = [at for pod in pods for at in _killed_at(pod)]
        changes += [Change(ChangeKind.KILLED, at, service, sources=("kubernetes",)) for at in killed]
        refused = [
            seen_at(event) for event in events if QUOTA_WORDS in str(event.get("message")) and _is_about(event, name)
        ]
        changes += [Change(ChangeKind.QUOTA, at, service, sources=("kubernetes",)) for at in refused]
        changes += [_autoscaled(service, event) for event in events if _is_rescale(event) and _is_about(event, name)]
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

    async def configuration(
        self, kind: Literal["ConfigMap", "Secret"], service: str, reference: str, namespace: str
    ) -> list[Change]:
        """Return when each object of the kind that a workload's pods use last changed, and by which program.

        Only metadata is asked for: what is in them never leaves the cluster.
        """
        core, only = client.CoreV1Api(self._cluster.api), {"_headers": {"Accept": METADATA_ONLY}}
        listing = core.list_namespaced_config_map if kind == "ConfigMap" else core.list_namespaced_secret
        workload, found = await asyncio.gather(
            self._workloads.read(reference, namespace),
            self._cluster.list_all(f"{kind}s of {namespace}", listing, namespace, **only),
        )
        used = set(_used_objects(workload["spec"]["template"]["spec"]))
        return [_changed_object(service, kind, one) for one in found if (kind, one["metadata"]["name"]) in used]

    async def jobs_of_cron(self, namespace: str) -> list[Change]:
        """Return the jobs that CronJobs have started, by the events that say so."""
        core = client.CoreV1Api(self._cluster.api)
        events = await self._cluster.list_all(
            f"events of {namespace}", core.list_namespaced_event, namespace, field_selector="reason=SuccessfulCreate"
        )
        return [
            Change(ChangeKind.JOB, seen_at(event), str(event["involvedObject"]["name"]), sources=("kubernetes",))
            for event in events
            if (event.get("involvedObject") or {}).get("kind") == "CronJob"
        ]


def _template(name: str, revision: Object, pods: Sequence[Object]) -> Template:
    """Return the pod template of a ReplicaSet or ControllerRevision of the workload of this name."""
    metadata = revision["metadata"]
    owner = revision if revision.get("spec") else revision.get("data") or {}
    spec = (owner.get("spec") or {}).get("template", {}).get("spec", {})
    container = main_container(name, owner) if spec.get("containers") else {}
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
        str(container.get("image") or ""),
        {str(item["name"]): item.get("value") for item in container.get("env") or ()},
        {str(k): str(v) for k, v in ((container.get("resources") or {}).get("limits") or {}).items()},
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
        _troubles(node),
    )


def _troubles(node: Object) -> dict[str, datetime]:
    """Return what a node suffers from besides not being ready, and since when."""
    found = {
        str(one["type"]): datetime.fromisoformat(str(one["lastTransitionTime"]))
        for one in (node.get("status") or {}).get("conditions") or ()
        if one.get("type") in PRESSURES and one.get("status") == "True" and one.get("lastTransitionTime")
    }
    closed = [
        datetime.fromisoformat(str(entry["time"]))
        for entry in node["metadata"].get("managedFields") or ()
        if "f:unschedulable" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}) and entry.get("time")
    ]
    if (node.get("spec") or {}).get("unschedulable") and closed:
        found["closed"] = max(closed)
    return found


def _used_objects(value: Any) -> Iterator[tuple[str, str]]:
    """Yield kind and name of the ConfigMaps and Secrets that a pod's spec names, wherever it does."""
    if isinstance(value, list):
        for item in value:
            yield from _used_objects(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            name = (item.get("name") or item.get("secretName")) if isinstance(item, Mapping) else None
            if key in OBJECTS and name:
                yield OBJECTS[key], str(name)
            yield from _used_objects(item)


def _changed_object(service: str, kind: str, found: Object) -> Change:
    metadata = found["metadata"]
    made = (datetime.fromisoformat(str(metadata["creationTimestamp"])), "")
    at, by = max([made, *_writes(metadata)])
    facts = {"kind": kind, "name": str(metadata["name"])}
    return Change(ChangeKind.OBJECT, at, service, facts, by=by, sources=("kubernetes",))


def _writes(metadata: Object) -> list[tuple[datetime, str]]:
    """Return when each program last wrote to an object, and its name."""
    return [
        (datetime.fromisoformat(str(entry["time"])), str(entry.get("manager") or ""))
        for entry in metadata.get("managedFields") or ()
        if entry.get("time")
    ]


def _policy(policy: Object) -> Change:
    metadata = policy["metadata"]
    times = [datetime.fromisoformat(str(metadata["creationTimestamp"])), *(at for at, _ in _writes(metadata))]
    return Change(ChangeKind.POLICY, max(times), str(metadata["name"]), sources=("kubernetes",))


def _is_rescale(event: Object) -> bool:
    about = (event.get("involvedObject") or {}).get("kind")
    return about == "HorizontalPodAutoscaler" and event.get("reason") == "SuccessfulRescale"


def _autoscaled(service: str, event: Object) -> Change:
    size = _NEW_SIZE.search(str(event.get("message") or ""))
    facts = {"to": int(size[1])} if size else {}
    return Change(ChangeKind.AUTOSCALED, seen_at(event), service, facts, sources=("kubernetes",))


def _is_about(event: Object, name: str) -> bool:
    about = str((event.get("involvedObject") or {}).get("name") or "")
    return about == name or about.startswith(f"{name}-")
