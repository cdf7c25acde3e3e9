"""The groups of which the sandbox has one or two kinds: policy, autoscaling, networking, rights, leases, metrics."""

from __future__ import annotations

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, at_path, condition, status_of
from sandbox.kubernetes.resources.cells import AGE, NONE, count, field, made, pairs
from sandbox.kubernetes.selectors import as_text

READ = ("get", "list")


def _targets(autoscaler: Object) -> str:
    now = {
        one["resource"]["name"]: one["resource"]["current"] for one in status_of(autoscaler).get("currentMetrics") or ()
    }
    told = []
    for metric in autoscaler["spec"].get("metrics") or ():
        name = metric["resource"]["name"]
        current = now.get(name, {}).get("averageUtilization", "<unknown>")
        percent = "%" if current != "<unknown>" else ""
        told.append(f"{name}: {current}{percent}/{metric['resource']['target'].get('averageUtilization')}%")
    return ", ".join(told) or NONE


def _reference(autoscaler: Object) -> str:
    target = autoscaler["spec"]["scaleTargetRef"]
    return f"{target['kind']}/{target['name']}"


def _default_autoscaler(autoscaler: Object) -> None:
    autoscaler["spec"].setdefault("minReplicas", 1)


def _default_policy(policy: Object) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    spec.setdefault("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])


def _synced(secret: Object) -> str:
    return str((condition(secret, "Ready") or {}).get("reason", ""))


DISRUPTION_BUDGET = Kind(
    "policy",
    "v1",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    ("pdb",),
    subresources=("status",),
    columns=(
        field("Min Available", "spec.minAvailable", otherwise="N/A"),
        field("Max Unavailable", "spec.maxUnavailable", otherwise="N/A"),
        count("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ),
)
AUTOSCALER = Kind(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    ("hpa",),
    subresources=("status",),
    categories=("all",),
    columns=(
        made("Reference", _reference),
        made("Targets", _targets),
        field("MinPods", "spec.minReplicas", type="integer"),
        field("MaxPods", "spec.maxReplicas", type="integer"),
        count("Replicas", "status.currentReplicas"),
        AGE,
    ),
    default=_default_autoscaler,
)
NETWORK_POLICY = Kind(
    "networking.k8s.io",
    "v1",
    "networkpolicies",
    "NetworkPolicy",
    ("netpol",),
    columns=(made("Pod-Selector", lambda one: as_text(one["spec"].get("podSelector")) or NONE), AGE),
    default=_default_policy,
)
INGRESS = Kind(
    "networking.k8s.io", "v1", "ingresses", "Ingress", ("ing",), subresources=("status",),
    columns=(field("Class", "spec.ingressClassName"), AGE),
)  # fmt: skip
ENDPOINT_SLICE = Kind(
    "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", columns=(AGE,), spec_counts=False
)  # fmt: skip
LEASE = Kind(
    "coordination.k8s.io", "v1", "leases", "Lease",
    columns=(field("Holder", "spec.holderIdentity"), AGE), spec_counts=False,
)  # fmt: skip

RBAC = "rbac.authorization.k8s.io"


def _role(binding: Object) -> str:
    return f"{at_path(binding, ['roleRef', 'kind'])}/{at_path(binding, ['roleRef', 'name'])}"


ROLE = Kind(RBAC, "v1", "roles", "Role", columns=(AGE,), spec_counts=False)
CLUSTER_ROLE = Kind(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False, columns=(AGE,), spec_counts=False)
ROLE_BINDING = Kind(RBAC, "v1", "rolebindings", "RoleBinding", columns=(made("Role", _role), AGE), spec_counts=False)
CLUSTER_ROLE_BINDING = Kind(
    RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False,
    columns=(made("Role", _role), AGE), spec_counts=False,
)  # fmt: skip

AUTHORIZATION = "authorization.k8s.io"
ACCESS_REVIEW = Kind(
    AUTHORIZATION, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False,
    verbs=("create",), spec_counts=False,
)  # fmt: skip

POD_METRICS = Kind(
    "metrics.k8s.io", "v1beta1", "pods", "PodMetrics", verbs=READ, spec_counts=False, custom=True,
    columns=(
        made("CPU", lambda one: one["containers"][0]["usage"]["cpu"]),
        made("Memory", lambda one: one["containers"][0]["usage"]["memory"]),
    ),
)  # fmt: skip
NODE_METRICS = Kind(
    "metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", namespaced=False, verbs=READ, spec_counts=False, custom=True,
    columns=(made("Usage", lambda one: pairs(one["usage"])),),
)  # fmt: skip

EXTERNAL_SECRET = Kind(
    "external-secrets.io",
    "v1",
    "externalsecrets",
    "ExternalSecret",
    ("es",),
    subresources=("status",),
    categories=("external-secrets",),
    columns=(
        field("StoreType", "spec.secretStoreRef.kind"),
        field("Store", "spec.secretStoreRef.name"),
        field("Refresh Interval", "spec.refreshInterval"),
        made("Status", _synced),
        made("Ready", lambda one: (condition(one, "Ready") or {}).get("status", "")),
    ),
    custom=True,
)
DEFINITION = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    ("crd", "crds"),
    namespaced=False,
    subresources=("status",),
    columns=(field("Created At", "metadata.creationTimestamp"),),
)

KINDS = (
    DISRUPTION_BUDGET,
    AUTOSCALER,
    NETWORK_POLICY,
    INGRESS,
    ENDPOINT_SLICE,
    LEASE,
    ROLE,
    CLUSTER_ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE_BINDING,
    ACCESS_REVIEW,
    POD_METRICS,
    NODE_METRICS,
    EXTERNAL_SECRET,
    DEFINITION,
)
