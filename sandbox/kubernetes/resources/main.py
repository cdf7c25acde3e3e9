"""v1, the group without a name: nodes, namespaces, services, configuration and what is told of the others."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

from sandbox.kubernetes.kinds import Column, Kind
from sandbox.kubernetes.objects import Object, is_true, labels_of, name_of, namespace_of
from sandbox.kubernetes.resources.cells import AGE, NONE, field, made, pairs, since
from sandbox.kubernetes.resources.pods import POD

ROLE = "node-role.kubernetes.io/"


def _default_secret(secret: Object) -> None:
    secret.setdefault("type", "Opaque")
    for name, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _default_service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        number = int(hashlib.sha256(f"{namespace_of(service)}/{name_of(service)}".encode()).hexdigest()[:4], 16)
        spec.setdefault("clusterIP", f"10.96.{number // 256}.{number % 254 + 1}")
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    service.setdefault("status", {"loadBalancer": {}})


def _default_namespace(namespace: Object) -> None:
    namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name_of(namespace)
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    namespace.setdefault("status", {"phase": "Active"})


def _node_status(node: Object) -> str:
    ready = "Ready" if is_true(node, "Ready") else "NotReady"
    return f"{ready},SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else ready


def _roles(node: Object) -> str:
    return ",".join(key.removeprefix(ROLE) for key in sorted(labels_of(node)) if key.startswith(ROLE)) or NONE


def _last_seen(event: Object, now: datetime) -> str:
    return since(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"], now)


def _about(event: Object) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _ports(service: Object) -> str:
    ports = service["spec"].get("ports") or ()
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or NONE


NODE = Kind(
    "",
    "v1",
    "nodes",
    "Node",
    ("no",),
    namespaced=False,
    subresources=("status",),
    columns=(
        made("Status", _node_status),
        made("Roles", _roles),
        AGE,
        field("Version", "status.nodeInfo.kubeletVersion"),
        made("Internal-IP", lambda node: node["status"].get("addresses", [{}])[0].get("address", NONE), wide=True),
        made("External-IP", lambda _: NONE, wide=True),
        field("OS-Image", "status.nodeInfo.osImage", wide=True),
        field("Kernel-Version", "status.nodeInfo.kernelVersion", wide=True),
        field("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", wide=True),
    ),
    fields=("spec.unschedulable",),
)
NAMESPACE = Kind(
    "",
    "v1",
    "namespaces",
    "Namespace",
    ("ns",),
    namespaced=False,
    subresources=("status",),
    columns=(field("Status", "status.phase"), AGE),
    default=_default_namespace,
    fields=("status.phase",),
)
SERVICE = Kind(
    "",
    "v1",
    "services",
    "Service",
    ("svc",),
    subresources=("status",),
    categories=("all",),
    columns=(
        field("Type", "spec.type"),
        field("Cluster-IP", "spec.clusterIP"),
        made("External-IP", lambda _: NONE),
        made("Port(s)", _ports),
        AGE,
        made("Selector", lambda service: pairs(service["spec"].get("selector")), wide=True),
    ),
    default=_default_service,
)
SECRET = Kind(
    "",
    "v1",
    "secrets",
    "Secret",
    columns=(
        field("Type", "type"),
        made("Data", lambda secret: len(secret.get("data") or ()), type="integer"),
        AGE,
    ),
    default=_default_secret,
    spec_counts=False,
    fields=("type",),
)
CONFIG_MAP = Kind(
    "",
    "v1",
    "configmaps",
    "ConfigMap",
    ("cm",),
    columns=(
        made("Data", lambda one: len(one.get("data") or ()) + len(one.get("binaryData") or ()), type="integer"),
        AGE,
    ),
    spec_counts=False,
)
EVENT = Kind(
    "",
    "v1",
    "events",
    "Event",
    ("ev",),
    columns=(
        Column("Last Seen", _last_seen),
        field("Type", "type"),
        field("Reason", "reason"),
        made("Object", _about),
        field("Message", "message"),
    ),
    spec_counts=False,
    fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount", ("sa",), columns=(AGE,), spec_counts=False)
ENDPOINTS = Kind("", "v1", "endpoints", "Endpoints", ("ep",), columns=(AGE,), spec_counts=False)
PERSISTENT_VOLUME_CLAIM = Kind(
    "",
    "v1",
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    ("pvc",),
    subresources=("status",),
    columns=(field("Status", "status.phase"), AGE),
)

KINDS = (
    POD,
    NODE,
    NAMESPACE,
    SERVICE,
    SECRET,
    CONFIG_MAP,
    EVENT,
    SERVICE_ACCOUNT,
    ENDPOINTS,
    PERSISTENT_VOLUME_CLAIM,
)
