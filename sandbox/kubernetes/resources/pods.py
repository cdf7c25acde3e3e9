"""Pods: their defaults and how kubectl shows them."""

from __future__ import annotations

from datetime import datetime

from sandbox.kubernetes.kinds import Column, Kind
from sandbox.kubernetes.objects import Object, is_terminating, status_of
from sandbox.kubernetes.resources.cells import AGE, NONE, field, made, since

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod_spec(spec: Object) -> None:
    """Fill in what the API server does for a pod's spec, also within a template."""
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
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default(pod: Object) -> None:
    default_pod_spec(pod.setdefault("spec", {}))
    pod["spec"].setdefault("serviceAccountName", "default")
    pod["spec"].setdefault("enableServiceLinks", True)
    pod.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def restarts_of(pod: Object) -> int:
    return sum(one.get("restartCount", 0) for one in status_of(pod).get("containerStatuses") or ())


def _ready(pod: Object) -> str:
    statuses = status_of(pod).get("containerStatuses") or ()
    return f"{sum(bool(one.get('ready')) for one in statuses)}/{len(pod['spec'].get('containers') or ())}"


def _status(pod: Object) -> str:
    if is_terminating(pod):
        return "Terminating"
    for one in status_of(pod).get("containerStatuses") or ():
        state = one.get("state", {})
        for kind in ("waiting", "terminated"):
            if state.get(kind, {}).get("reason"):
                return str(state[kind]["reason"])
    return str(status_of(pod).get("reason") or status_of(pod).get("phase") or "Pending")


def _restarts(pod: Object, now: datetime) -> str:
    count = restarts_of(pod)
    ended = [
        one["lastState"]["terminated"]["finishedAt"]
        for one in status_of(pod).get("containerStatuses") or ()
        if "terminated" in one.get("lastState", {})
    ]
    return f"{count} ({since(max(ended), now)} ago)" if count and ended else str(count)


POD = Kind(
    "",
    "v1",
    "pods",
    "Pod",
    ("po",),
    subresources=("attach", "eviction", "exec", "log", "portforward", "status"),
    categories=("all",),
    columns=(
        made("Ready", _ready),
        made("Status", _status),
        Column("Restarts", _restarts),
        AGE,
        field("IP", "status.podIP", wide=True),
        field("Node", "spec.nodeName", wide=True),
        field("Nominated Node", "status.nominatedNodeName", wide=True),
        made("Readiness Gates", lambda _: NONE, wide=True),
    ),
    default=_default,
    fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
)
