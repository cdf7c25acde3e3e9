"""Nodes, and the controllers that put pods on them and run them: scheduler, kubelets, node lifecycle."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from sandbox.kubernetes.containers import Behaviour, Behaviours
from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import AGE, NONE, Kind, computed_column, path_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    condition,
    controller_of,
    deep_copy,
    is_terminating,
    is_true,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    parse_time,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources.pods import POD, is_finished, pod_status, readiness_conditions
from sandbox.kubernetes.state import Change
from sandbox.world.services import NODE_TYPE, GpuNode

ROLE_LABEL = "node-role.kubernetes.io/"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNREACHABLE_SECONDS = 40.0  # until pods are evicted; a real cluster waits 300, unless tolerations say otherwise
STOP_SECONDS = 2.0  # that a container takes to stop when it is asked to

GENERAL_NODES = tuple(f"node-{number}" for number in (1, 2, 3, 4))
GPU_TAINT = "nvidia.com/gpu"
CAPACITY = {"cpu": "16", "memory": "65536Mi", "ephemeral-storage": "200Gi", "pods": "110"}


# --- nodes


def _status_cell(node: Object) -> str:
    ready = "Ready" if is_true(node, "Ready") else "NotReady"
    return f"{ready},SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else ready


def _roles_cell(node: Object) -> str:
    roles = [label.removeprefix(ROLE_LABEL) for label in sorted(labels_of(node)) if label.startswith(ROLE_LABEL)]
    return ",".join(roles) or NONE


def _address_cell(node: Object) -> str:
    return str(node["status"].get("addresses", [{}])[0].get("address", NONE))


NODE = Kind(
    "",
    "v1",
    "nodes",
    "Node",
    ("no",),
    namespaced=False,
    subresources=("status",),
    columns=(
        computed_column("Status", _status_cell),
        computed_column("Roles", _roles_cell),
        AGE,
        path_column("Version", "status.nodeInfo.kubeletVersion"),
        computed_column("Internal-IP", _address_cell, wide=True),
        computed_column("External-IP", lambda _: NONE, wide=True),
        path_column("OS-Image", "status.nodeInfo.osImage", wide=True),
        path_column("Kernel-Version", "status.nodeInfo.kernelVersion", wide=True),
        path_column("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", wide=True),
    ),
    selectable_fields=("spec.unschedulable",),
)

KINDS = (NODE,)


def general_node(name: str, now: datetime) -> Object:
    return _node(name, {NODE_TYPE: "general"}, [], CAPACITY, now)


def gpu_node(node: GpuNode, now: datetime) -> Object:
    """Build a node with one GPU, for pods that tolerate its taint."""
    memory = "131072Mi" if "high-memory" in node.type else "65536Mi"
    taints = [{"key": GPU_TAINT, "value": "present", "effect": "NoSchedule"}]
    return _node(node.name, {NODE_TYPE: node.type}, taints, {**CAPACITY, "memory": memory, GPU_TAINT: "1"}, now)


def node_conditions(ready: bool, now: datetime) -> list[Object]:
    """Build a node's conditions; the kubelet of one that is not ready has stopped to report."""
    at = timestamp(now)
    if ready:
        state = {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    else:
        message = "Kubelet stopped posting node status."
        state = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": message}
    pressures = [
        {
            "type": f"{resource}Pressure",
            "status": "False",
            "reason": f"KubeletHasNo{resource}Pressure",
            "message": "",
            "lastHeartbeatTime": at,
            "lastTransitionTime": at,
        }
        for resource in ("Memory", "Disk", "PID")
    ]
    return [*pressures, {"type": "Ready", **state, "lastHeartbeatTime": at, "lastTransitionTime": at}]


def _node(name: str, labels: dict[str, str], taints: list[Object], capacity: dict[str, str], now: datetime) -> Object:
    digest = hashlib.sha256(name.encode()).digest()
    address = f"10.0.{digest[0] % 8}.{digest[1] % 250 + 2}"
    own_labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "metadata": {"name": name, "labels": {**own_labels, **labels}},
        "spec": {"providerID": f"sandbox:///{name}", **({"taints": taints} if taints else {})},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": node_conditions(True, now),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kubeletVersion": "v1.37.1",
                "kubeProxyVersion": "v1.37.1",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "kernelVersion": "6.1.0-28-amd64",
                "containerRuntimeVersion": "containerd://2.1.4",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "machineID": digest.hex()[:32],
                "systemUUID": digest.hex()[:32],
                "bootID": digest.hex()[:32],
            },
        },
    }


# --- scheduling


def why_unschedulable(pod: Object, node: Object) -> str | None:
    """Return why a pod (or pod template) cannot run on a node; None if it can."""
    selector = pod["spec"].get("nodeSelector") or {}
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in selector.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    spec = node.get("spec") or {}
    if spec.get("unschedulable") and not _tolerates(pod, UNSCHEDULABLE):
        return "node(s) were unschedulable"
    if not is_true(node, "Ready"):
        return "node(s) were not ready"
    for taint in spec.get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not _tolerates(pod, taint["key"]):
            return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    return None


def _tolerates(pod: Object, taint: str) -> bool:
    return any(toleration.get("key") in (None, "", taint) for toleration in pod["spec"].get("tolerations") or ())


class Scheduler:
    """Binds each pod without a node to one, or reports why there is none."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is POD and change.type != "DELETED" and not change.object["spec"].get("nodeName"):
            yield key_of(change.object)
        elif kind is NODE:
            for pod in self._cluster.store.all(POD):
                if not pod["spec"].get("nodeName"):
                    yield key_of(pod)

    def reconcile(self, namespace: str, name: str) -> None:
        pod = self._cluster.store.get(POD, namespace, name)
        if pod is None or pod["spec"].get("nodeName") or is_terminating(pod):
            return
        nodes = self._cluster.store.all(NODE)
        feasible = [node for node in nodes if why_unschedulable(pod, node) is None]
        if feasible:
            self._bind(pod, self._least_loaded(pod, feasible))
        else:
            self._report_unschedulable(pod, nodes)

    def _least_loaded(self, pod: Object, nodes: Sequence[Object]) -> str:
        """Return the node with the fewest pods of the same controller, then with the fewest of all."""
        controller = controller_of(pod)
        pods, siblings = Counter[str](), Counter[str]()
        for other in self._cluster.store.all(POD):
            node = other["spec"].get("nodeName")
            if node and not is_terminating(other):
                pods[node] += 1
                siblings[node] += bool(controller and _is_controlled_by(other, controller))
        return min((name_of(node) for node in nodes), key=lambda node: (siblings[node], pods[node], node))

    def _bind(self, pod: Object, node: str) -> None:
        bound = deep_copy(pod)
        bound["spec"]["nodeName"] = node
        now = timestamp(self._cluster.now())
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
        bound["status"] = {**pod["status"], "conditions": [scheduled]}
        self._cluster.store.put(POD, bound)
        message = f"Successfully assigned {namespace_of(pod)}/{name_of(pod)} to {node}"
        self._cluster.record_event(pod, "Scheduled", message, source="default-scheduler")

    def _report_unschedulable(self, pod: Object, nodes: Sequence[Object]) -> None:
        reasons = Counter(reason for node in nodes if (reason := why_unschedulable(pod, node)))
        counted = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        message = f"0/{len(nodes)} nodes are available: {counted}."
        unschedulable = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": timestamp(self._cluster.now()),
        }
        before = (pod["status"].get("conditions") or [{}])[0]
        if before.get("message") != message:
            self._cluster.writer.set_status(POD, pod, {"phase": "Pending", "conditions": [unschedulable]})
            self._cluster.record_event(pod, "FailedScheduling", message, source="default-scheduler", warning=True)


def _is_controlled_by(pod: Object, controller: Object) -> bool:
    reference = controller_of(pod)
    return reference is not None and reference["uid"] == controller["uid"]


# --- kubelets


class Kubelet:
    """Starts, ends and removes the pods of all nodes, as the behaviour of their images says."""

    def __init__(self, cluster: Cluster, behaviours: Behaviours) -> None:
        self._cluster = cluster
        self._behaviours = behaviours

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is POD and change.type != "DELETED" and change.object["spec"].get("nodeName"):
            yield key_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        pod = self._cluster.store.get(POD, namespace, name)
        if pod is None or not pod["spec"].get("nodeName"):
            return
        node = self._cluster.store.get(NODE, "", pod["spec"]["nodeName"])
        if node is None or not is_true(node, "Ready"):
            return
        if is_terminating(pod):
            self._terminate(pod)
        elif is_finished(pod):
            return
        elif "startTime" not in status_of(pod):
            self._start(pod)
        else:
            self._progress(pod)

    def _terminate(self, pod: Object) -> None:
        deleted = parse_time(pod["metadata"]["deletionTimestamp"])
        grace_period = pod["metadata"]["deletionGracePeriodSeconds"]
        left = (deleted - self._cluster.now()).total_seconds() - grace_period + min(STOP_SECONDS, grace_period)
        if left > 0:
            self._cluster.enqueue(self, key_of(pod), left)
        elif not pod["metadata"].get("finalizers"):
            self._cluster.store.remove(POD, *key_of(pod))

    def _start(self, pod: Object) -> None:
        self._set_status(pod, "Pending", waiting="ContainerCreating")
        for container in pod["spec"]["containers"]:
            self._record_event(pod, "Pulling", f'Pulling image "{container["image"]}"')
        self._cluster.enqueue(self, key_of(pod), self._behaviour(pod).start)

    def _progress(self, pod: Object) -> None:
        behaviour = self._behaviour(pod)
        spent = (self._cluster.now() - parse_time(status_of(pod)["startTime"])).total_seconds()
        if spent < behaviour.start - 1e-3:
            self._cluster.enqueue(self, key_of(pod), behaviour.start - spent)
            return
        if behaviour.fault is not None:
            self._fail(pod, behaviour)
            return
        runs_to_completion = pod["spec"].get("restartPolicy") != "Always"
        left = behaviour.start + behaviour.run - spent
        if runs_to_completion and left <= 1e-3:
            phase = "Failed" if behaviour.exit_code else "Succeeded"
            self._set_status(pod, phase, exit_code=behaviour.exit_code)
            return
        if condition(pod, "Ready") is None or status_of(pod)["phase"] == "Pending":
            self._set_status(pod, "Running")
            for container in pod["spec"]["containers"]:
                self._record_event(pod, "Pulled", f'Successfully pulled image "{container["image"]}"')
                self._record_event(pod, "Started", f"Started container {container['name']}")
        if runs_to_completion:
            self._cluster.enqueue(self, key_of(pod), left)

    def _fail(self, pod: Object, behaviour: Behaviour) -> None:
        phase = "Pending" if behaviour.fault == "ImagePullBackOff" else "Running"
        waiting = None if behaviour.fault == "NotReady" else behaviour.fault
        status = pod_status(pod, self._cluster.now(), phase, waiting=waiting, ready=False)
        if status_of(pod).get("containerStatuses") == status["containerStatuses"]:
            return
        self._cluster.writer.set_status(POD, pod, status)
        container = pod["spec"]["containers"][0]
        match behaviour.fault:
            case "ImagePullBackOff":
                image = container["image"]
                self._record_event(pod, "Failed", f'Failed to pull image "{image}": not found', warning=True)
                self._record_event(pod, "BackOff", f'Back-off pulling image "{image}"', warning=True)
            case "CrashLoopBackOff":
                message = f"Back-off restarting failed container {container['name']} in pod {name_of(pod)}"
                self._record_event(pod, "BackOff", message, warning=True)
            case _:
                message = "Readiness probe failed: HTTP probe failed with statuscode: 503"
                self._record_event(pod, "Unhealthy", message, warning=True)

    def _behaviour(self, pod: Object) -> Behaviour:
        """Return the worst of its containers' behaviours: one that fails, else the slowest."""
        behaviours = [self._behaviours.of(container) for container in pod["spec"]["containers"]]
        return max(behaviours, key=lambda behaviour: (behaviour.fault is not None, behaviour.start))

    def _set_status(self, pod: Object, phase: str, *, waiting: str | None = None, exit_code: int | None = None) -> None:
        status = pod_status(pod, self._cluster.now(), phase, waiting=waiting, exit_code=exit_code)
        self._cluster.writer.set_status(POD, pod, status)

    def _record_event(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        self._cluster.record_event(pod, reason, message, source="kubelet", warning=warning)


# --- node lifecycle


class NodeLifecycle:
    """Marks the pods of a node that does not report as not ready, and evicts them after a while."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is NODE:
            yield "", name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        node = self._cluster.store.get(NODE, "", name)
        pods = [pod for pod in self._cluster.store.all(POD) if pod["spec"].get("nodeName") == name]
        if node is None:
            self._evict(pods)
        elif is_true(node, "Ready"):
            self._set_readiness(pods, True)
        else:
            self._set_readiness(pods, False)
            since = parse_time((condition(node, "Ready") or {})["lastTransitionTime"])
            left = UNREACHABLE_SECONDS - (self._cluster.now() - since).total_seconds()
            if left > 0:
                self._cluster.enqueue(self, ("", name), left)
            else:
                self._evict([pod for pod in pods if not _tolerates(pod, UNREACHABLE)])

    def _set_readiness(self, pods: Sequence[Object], ready: bool) -> None:
        for pod in pods:
            status = status_of(pod)
            if status.get("phase") != "Running" or is_terminating(pod) or is_true(pod, "Ready") is ready:
                continue
            scheduled = [condition for condition in status["conditions"] if condition["type"] == "PodScheduled"]
            if ready and scheduled and _has_own_reason(pod):
                continue
            conditions = [*scheduled, *readiness_conditions(pod, ready, self._cluster.now())]
            containers = [{**container, "ready": ready} for container in status["containerStatuses"]]
            after = {**status, "conditions": conditions, "containerStatuses": containers}
            self._cluster.writer.set_status(POD, pod, after)

    def _evict(self, pods: Sequence[Object]) -> None:
        for pod in pods:
            self._cluster.store.remove(POD, *key_of(pod))
            message = f"Marking for deletion Pod {namespace_of(pod)}/{name_of(pod)}"
            self._cluster.record_event(pod, "TaintManagerEviction", message, source="taint-eviction-controller")


def _has_own_reason(pod: Object) -> bool:
    """Return True if its containers are not ready for another reason than the node."""
    containers = status_of(pod).get("containerStatuses") or ()
    return any("waiting" in container["state"] or not container["started"] for container in containers)
