"""StatefulSets and ControllerRevisions, which are only stored: no controller runs them."""

from __future__ import annotations

from sandbox.kubernetes.kinds import AGE, Kind, computed_column, container_columns, path_column
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.resources.deployments import ready_replicas_cell
from sandbox.kubernetes.resources.pods import default_pod_template, workload_rules


def _default_stateful_set(stateful_set: Object) -> None:
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    default_pod_template(spec)


STATEFUL_SET = Kind(
    "apps",
    "v1",
    "statefulsets",
    "StatefulSet",
    ("sts",),
    subresources=("scale", "status"),
    categories=("all",),
    columns=(computed_column("Ready", ready_replicas_cell), AGE, *container_columns("spec.template.spec")),
    default=_default_stateful_set,
    validate=workload_rules,
)
CONTROLLER_REVISION = Kind(
    "apps",
    "v1",
    "controllerrevisions",
    "ControllerRevision",
    columns=(path_column("Revision", "revision", type="integer"), AGE),
)

KINDS = (STATEFUL_SET, CONTROLLER_REVISION)
