"""Kinds that are only stored: namespaces, configuration, networking, leases, definitions of custom resources.

The controllers here look after all kinds: one collects garbage, one serves the kinds that are defined.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import (
    AGE,
    NONE,
    Cause,
    Kind,
    Kinds,
    computed_column,
    format_pairs,
    path_column,
)
from sandbox.kubernetes.objects import Key, Object, format_selector, name_of, namespace_of, timestamp, uid_of
from sandbox.kubernetes.state import Change

DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
DATA_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


# --- namespaces, and the collection of what they and other owners leave behind


def _default_namespace(namespace: Object) -> None:
    namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name_of(namespace)
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    namespace.setdefault("status", {"phase": "Active"})


NAMESPACE = Kind(
    "",
    "v1",
    "namespaces",
    "Namespace",
    ("ns",),
    namespaced=False,
    subresources=("status",),
    columns=(path_column("Status", "status.phase"), AGE),
    default=_default_namespace,
    selectable_fields=("status.phase",),
)


class GarbageCollector:
    """Deletes the dependents of a deleted object, and the contents of a deleted namespace.

    Its keys are ("", uid of the deleted object) and (name of the namespace, "").
    """

    def __init__(self, cluster: Cluster, kinds: Kinds) -> None:
        self._cluster = cluster
        self._kinds = kinds

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if change.type == "DELETED":
            yield "", uid_of(change.object)
            if kind is NAMESPACE:
                yield name_of(change.object), ""

    def reconcile(self, namespace: str, name: str) -> None:
        for kind in [kind for kind in self._kinds.values() if kind.namespaced and "delete" in kind.verbs]:
            for obj in self._cluster.store.all(kind, namespace):
                owners = [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]
                if namespace or name in owners:
                    self._cluster.writer.delete(kind, obj, grace_period=0 if namespace else None)


# --- configuration


def _default_secret(secret: Object) -> None:
    secret.setdefault("type", "Opaque")
    for name, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _data_rules(obj: Object, before: Object | None) -> Iterator[Cause]:
    for key in obj.get("data") or ():
        if not DATA_KEY.fullmatch(key):
            yield f"data[{key}]", f'Invalid value: "{key}": {DATA_KEY_RULE}'
    if before and before.get("immutable") and (obj.get("data"), obj.get("immutable")) != (before.get("data"), True):
        yield "data", "Forbidden: field is immutable when `immutable` is set"


def _data_count(obj: Object) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


SECRET = Kind(
    "",
    "v1",
    "secrets",
    "Secret",
    columns=(path_column("Type", "type"), computed_column("Data", _data_count, type="integer"), AGE),
    default=_default_secret,
    validate=_data_rules,
    binary_fields=("data",),
    has_generation=False,
    selectable_fields=("type",),
)
CONFIG_MAP = Kind(
    "",
    "v1",
    "configmaps",
    "ConfigMap",
    ("cm",),
    columns=(computed_column("Data", _data_count, type="integer"), AGE),
    validate=_data_rules,
    has_generation=False,
)
SERVICE_ACCOUNT = Kind(
    "",
    "v1",
    "serviceaccounts",
    "ServiceAccount",
    ("sa",),
    columns=(AGE,),
    has_generation=False,
    returns_deleted=True,
)
PERSISTENT_VOLUME_CLAIM = Kind(
    "",
    "v1",
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    ("pvc",),
    subresources=("status",),
    columns=(path_column("Status", "status.phase"), AGE),
    returns_deleted=True,
)
LEASE = Kind(
    "coordination.k8s.io",
    "v1",
    "leases",
    "Lease",
    columns=(path_column("Holder", "spec.holderIdentity"), AGE),
    has_generation=False,
)


# --- networking


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


def _ports_cell(service: Object) -> str:
    ports = service["spec"].get("ports") or ()
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or NONE


def _default_network_policy(policy: Object) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    spec.setdefault("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])


SERVICE = Kind(
    "",
    "v1",
    "services",
    "Service",
    ("svc",),
    subresources=("status",),
    categories=("all",),
    columns=(
        path_column("Type", "spec.type"),
        path_column("Cluster-IP", "spec.clusterIP"),
        computed_column("External-IP", lambda _: NONE),
        computed_column("Port(s)", _ports_cell),
        AGE,
        computed_column("Selector", lambda service: format_pairs(service["spec"].get("selector")), wide=True),
    ),
    default=_default_service,
    returns_deleted=True,
)
ENDPOINTS = Kind("", "v1", "endpoints", "Endpoints", ("ep",), columns=(AGE,), has_generation=False)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", columns=(AGE,), has_generation=False)
NETWORK_POLICY = Kind(
    "networking.k8s.io",
    "v1",
    "networkpolicies",
    "NetworkPolicy",
    ("netpol",),
    columns=(
        computed_column("Pod-Selector", lambda policy: format_selector(policy["spec"].get("podSelector")) or NONE),
        AGE,
    ),
    default=_default_network_policy,
)
INGRESS = Kind(
    "networking.k8s.io",
    "v1",
    "ingresses",
    "Ingress",
    ("ing",),
    subresources=("status",),
    columns=(path_column("Class", "spec.ingressClassName"), AGE),
)


# --- custom resources

DEFINITION = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    ("crd", "crds"),
    namespaced=False,
    subresources=("status",),
    columns=(path_column("Created At", "metadata.creationTimestamp"),),
)


class Definitions:
    """Adds the kinds that CustomResourceDefinitions define to those that are served, and removes them again."""

    def __init__(self, cluster: Cluster, kinds: Kinds) -> None:
        self._cluster = cluster
        self._kinds = kinds

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is DEFINITION:
            yield "", name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        definition = self._cluster.store.get(DEFINITION, "", name)
        if definition is None:
            plural, _, group = name.partition(".")
            for kind in list(self._kinds.values()):
                if (kind.group, kind.plural, kind.custom) == (group, plural, True):
                    del self._kinds[kind.key]
            return
        for version in definition["spec"]["versions"]:
            kind = _defined_kind(definition["spec"], version)
            if version.get("served"):
                self._kinds.setdefault(kind.key, kind)
        self._cluster.writer.set_status(DEFINITION, definition, self._status(definition))

    def _status(self, definition: Object) -> Object:
        if definition.get("status", {}).get("conditions"):
            status: Object = definition["status"]
            return status
        now = timestamp(self._cluster.now())
        conditions = [
            {"type": type, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now}
            for type, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
        ]
        stored = [version["name"] for version in definition["spec"]["versions"] if version.get("storage")]
        return {"conditions": conditions, "acceptedNames": definition["spec"]["names"], "storedVersions": stored}


def _defined_kind(spec: Object, version: Object) -> Kind:
    names = spec["names"]
    return Kind(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        tuple(names.get("shortNames") or ()),
        namespaced=spec["scope"] == "Namespaced",
        subresources=tuple(name for name in ("scale", "status") if name in (version.get("subresources") or {})),
        categories=tuple(names.get("categories") or ()),
        custom=True,
    )


KINDS = (
    NAMESPACE,
    SERVICE,
    SECRET,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    ENDPOINTS,
    PERSISTENT_VOLUME_CLAIM,
    NETWORK_POLICY,
    INGRESS,
    ENDPOINT_SLICE,
    LEASE,
    DEFINITION,
)
