"""Pods and pod templates: defaults, validation, status, and how kubectl shows them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import (
    AGE,
    NONE,
    Cause,
    Column,
    Kind,
    computed_column,
    duration_since,
    path_column,
)
from sandbox.kubernetes.objects import (
    Object,
    at_path,
    condition,
    is_terminating,
    parse_quantity,
    selector_matches,
    status_of,
    timestamp,
    uid_of,
)

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
ENVIRONMENT_NAME = re.compile(r"[ -<>-~]+")  # printable ASCII, but no "="


# --- defaults


def default_pod_template(spec: Object) -> None:
    """Fill in the pod template in the `spec` of a workload."""
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    _default_pod_spec(template.setdefault("spec", {}))


def _default_pod(pod: Object) -> None:
    _default_pod_spec(pod.setdefault("spec", {}))
    pod["spec"].setdefault("serviceAccountName", "default")
    pod["spec"].setdefault("enableServiceLinks", True)
    pod.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def _default_pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
        container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")
        for probe in PROBES:
            if probe in container:
                _default_probe(container[probe])


def _default_probe(probe: Object) -> None:
    for field, value in PROBE_DEFAULTS.items():
        probe.setdefault(field, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")


# --- validation


def workload_rules(workload: Object, before: Object | None) -> Iterator[Cause]:
    """Yield what is wrong with an object that keeps pods of a template running, such as a Deployment."""
    spec = workload["spec"]
    template = spec["template"]
    replicas = spec.get("replicas", 0)
    if isinstance(replicas, int) and replicas < 0:
        yield "spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0"
    labels = template["metadata"].get("labels") or {}
    if spec.get("selector") and not selector_matches(spec["selector"], labels):
        yield (
            "spec.template.metadata.labels",
            f"Invalid value: {json.dumps(labels)}: `selector` does not match template `labels`",
        )
    yield from pod_spec_rules(template["spec"], "spec.template.spec")
    policy = template["spec"].get("restartPolicy")
    if policy != "Always":
        yield "spec.template.spec.restartPolicy", f'Unsupported value: "{policy}": supported values: "Always"'
    yield from immutable_rules(workload, before, "spec.selector")


def pod_spec_rules(spec: Object, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the pod spec at `path`."""
    if not spec.get("containers"):
        yield f"{path}.containers", "Required value"
    for field in ("initContainers", "containers"):
        names: set[str] = set()
        for index, container in enumerate(spec.get(field) or ()):
            container_path = f"{path}.{field}[{index}]"
            name = container.get("name", "")
            if name in names:
                yield f"{container_path}.name", f'Duplicate value: "{name}"'
            names.add(name)
            if not container.get("image"):
                yield f"{container_path}.image", "Required value"
            yield from _environment_rules(container, container_path)
            yield from _resource_rules(container.get("resources") or {}, container_path)


def _environment_rules(container: Object, path: str) -> Iterator[Cause]:
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name", "")
        if not ENVIRONMENT_NAME.fullmatch(name):
            rule = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            yield f"{path}.env[{index}].name", f'Invalid value: "{name}": {rule}'


def _resource_rules(resources: Object, path: str) -> Iterator[Cause]:
    limits: Any = resources.get("limits") or {}
    for name, request in (resources.get("requests") or {}).items():
        if name in limits and parse_quantity(request) > parse_quantity(limits[name]):
            message = f'Invalid value: "{request}": must be less than or equal to {name} limit of {limits[name]}'
            yield f"{path}.resources.requests", message


def immutable_rules(obj: Object, before: Object | None, *paths: str) -> Iterator[Cause]:
    """Yield the fields that an update has changed and must not change."""
    for path in paths if before is not None else ():
        if at_path(obj, path.split(".")) != at_path(before, path.split(".")):
            yield path, "Invalid value: field is immutable"


# --- status


def is_finished(pod: Object) -> bool:
    return status_of(pod).get("phase") in ("Succeeded", "Failed")


def active_pods(cluster: Cluster, owner: Object) -> list[Object]:
    """Return the pods that `owner` controls and that neither have finished nor are terminating."""
    return [pod for pod in cluster.controlled_by(owner, POD) if not is_terminating(pod) and not is_finished(pod)]


def pod_status(
    pod: Object,
    now: datetime,
    phase: str,
    *,
    waiting: str | None = None,
    ready: bool = True,
    exit_code: int | None = None,
) -> Object:
    """Build the status of a pod in `phase`, as a kubelet reports it.

    `waiting` is the reason for which its containers wait, `exit_code` that with which they have terminated.
    """
    at = timestamp(now)
    ready = ready and phase == "Running" and waiting is None
    state: Object = {"running": {"startedAt": at}}
    if waiting is not None:
        state = {"waiting": {"reason": waiting}}
    if exit_code is not None:
        state = {"terminated": _terminated_state(pod, exit_code, at)}
    containers = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "" if waiting else f"sha256:{hashlib.sha256(container['image'].encode()).hexdigest()}",
            "ready": ready,
            "started": ready,
            "restartCount": 5 if waiting == "CrashLoopBackOff" else 0,
            "state": state,
            "lastState": {},
        }
        for container in pod["spec"]["containers"]
    ]
    scheduled = condition(pod, "PodScheduled") or {"type": "PodScheduled", "status": "True", "lastTransitionTime": at}
    address = _address(uid_of(pod))
    return {
        "phase": phase,
        "qosClass": "Burstable",
        "hostIP": "10.0.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": status_of(pod).get("startTime", at),
        "conditions": [scheduled, *readiness_conditions(pod, ready, now)],
        "containerStatuses": containers,
    }


def readiness_conditions(pod: Object, ready: bool, now: datetime) -> list[Object]:
    """Build the conditions of a pod on a node. Those that do not change keep their times."""
    conditions = []
    for type, holds in (("Initialized", True), ("ContainersReady", ready), ("Ready", ready)):
        present = condition(pod, type)
        if present is None or present["status"] != str(holds):
            present = {"type": type, "status": str(holds), "lastTransitionTime": timestamp(now)}
        conditions.append(present)
    return conditions


def _terminated_state(pod: Object, exit_code: int, at: str) -> Object:
    ready = condition(pod, "Ready")
    return {
        "exitCode": exit_code,
        "reason": "Error" if exit_code else "Completed",
        "startedAt": ready["lastTransitionTime"] if ready else at,
        "finishedAt": at,
    }


def _address(uid: str) -> str:
    number = int(uid[:6], 16)
    return f"10.{number % 8 + 1}.{number // 8 % 256}.{number // 2048 % 250 + 2}"


# --- the kind


def _rules(pod: Object, _before: Object | None) -> Iterable[Cause]:
    return pod_spec_rules(pod["spec"], "spec")


def _grace_period(pod: Object) -> int | None:
    """Return None for a pod without a node: no kubelet would end it."""
    seconds: int = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return seconds if pod["spec"].get("nodeName") else None


def _ready_cell(pod: Object) -> str:
    containers = status_of(pod).get("containerStatuses") or ()
    ready = sum(bool(container.get("ready")) for container in containers)
    return f"{ready}/{len(pod['spec'].get('containers') or ())}"


def _status_cell(pod: Object) -> str:
    if is_terminating(pod):
        return "Terminating"
    for container in status_of(pod).get("containerStatuses") or ():
        state = container.get("state", {})
        for name in ("waiting", "terminated"):
            if state.get(name, {}).get("reason"):
                return str(state[name]["reason"])
    return str(status_of(pod).get("reason") or status_of(pod).get("phase") or "Pending")


def _restarts_cell(pod: Object, now: datetime) -> str:
    containers = status_of(pod).get("containerStatuses") or ()
    restarts = sum(container.get("restartCount", 0) for container in containers)
    terminated = [
        container["lastState"]["terminated"]["finishedAt"]
        for container in containers
        if "terminated" in container.get("lastState", {})
    ]
    return f"{restarts} ({duration_since(max(terminated), now)} ago)" if restarts and terminated else str(restarts)


POD = Kind(
    "",
    "v1",
    "pods",
    "Pod",
    ("po",),
    subresources=("eviction", "exec", "log", "proxy", "status"),
    categories=("all",),
    columns=(
        computed_column("Ready", _ready_cell),
        computed_column("Status", _status_cell),
        Column("Restarts", _restarts_cell),
        AGE,
        path_column("IP", "status.podIP", wide=True),
        path_column("Node", "spec.nodeName", wide=True),
        path_column("Nominated Node", "status.nominatedNodeName", wide=True),
        computed_column("Readiness Gates", lambda _: NONE, wide=True),
    ),
    default=_default_pod,
    validate=_rules,
    selectable_fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    grace_period=_grace_period,
)

KINDS = (POD,)
