"""apps/v1: what keeps pods running."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, status_of
from sandbox.kubernetes.resources.cells import AGE, containers, count, field, made, pairs, selector
from sandbox.kubernetes.resources.pods import default_pod_spec


def default_template(spec: Object) -> None:
    """Fill in a pod template that stands in `spec`."""
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def _default_deployment(deployment: Object) -> None:
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy: dict[str, Any] = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    default_template(spec)


def _default_replica_set(replica_set: Object) -> None:
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec)


def _default_stateful_set(stateful_set: Object) -> None:
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    default_template(spec)


def _default_daemon_set(daemon_set: Object) -> None:
    spec = daemon_set.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    default_template(spec)


def _ready(obj: Object) -> str:
    return f"{status_of(obj).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 0)}"


DEPLOYMENT = Kind(
    "apps",
    "v1",
    "deployments",
    "Deployment",
    ("deploy",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(
        made("Ready", _ready),
        count("Up-to-date", "status.updatedReplicas"),
        count("Available", "status.availableReplicas"),
        AGE,
        *containers("spec.template.spec"),
        selector(),
    ),
    default=_default_deployment,
)
REPLICA_SET = Kind(
    "apps",
    "v1",
    "replicasets",
    "ReplicaSet",
    ("rs",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(
        count("Desired", "spec.replicas"),
        count("Current", "status.replicas"),
        count("Ready", "status.readyReplicas"),
        AGE,
        *containers("spec.template.spec"),
        selector(),
    ),
    default=_default_replica_set,
    fields=("status.replicas",),
)
STATEFUL_SET = Kind(
    "apps",
    "v1",
    "statefulsets",
    "StatefulSet",
    ("sts",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(made("Ready", _ready), AGE, *containers("spec.template.spec")),
    default=_default_stateful_set,
)
DAEMON_SET = Kind(
    "apps",
    "v1",
    "daemonsets",
    "DaemonSet",
    ("ds",),
    subresources=("status",),
    categories=("all",),
    columns=(
        count("Desired", "status.desiredNumberScheduled"),
        count("Current", "status.currentNumberScheduled"),
        count("Ready", "status.numberReady"),
        count("Up-to-date", "status.updatedNumberScheduled"),
        count("Available", "status.numberAvailable"),
        made("Node Selector", lambda obj: pairs(obj["spec"]["template"]["spec"].get("nodeSelector"))),
        AGE,
        *containers("spec.template.spec"),
        selector(),
    ),
    default=_default_daemon_set,
)
CONTROLLER_REVISION = Kind(
    "apps",
    "v1",
    "controllerrevisions",
    "ControllerRevision",
    columns=(field("Revision", "revision", type="integer"), AGE),
)

KINDS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION)
