"""Which groups and resources there are, as clients ask for them before anything else.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object

SCALE = ("autoscaling", "v1", "Scale")
EVICTION = ("policy", "v1", "Eviction")
SUBRESOURCES: dict[str, tuple[tuple[str, str, str] | None, Sequence[str]]] = {
    "attach": (("", "v1", "PodAttachOptions"), ("create", "get")),
    "eviction": (EVICTION, ("create",)),
    "exec": (("", "v1", "PodExecOptions"), ("create", "get")),
    "log": (None, ("get",)),
    "portforward": (("", "v1", "PodPortForwardOptions"), ("create", "get")),
    "scale": (SCALE, ("get", "patch", "update")),
    "status": (None, ("get", "patch", "update")),
}
VERSION: Object = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.1",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-03-01T00:00:00Z",
    "goVersion": "go1.26",
    "compiler": "gc",
    "platform": "linux/amd64",
}


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def is_aggregated(accept: str) -> bool:
    """Whether a client wants groups and resources in one answer."""
    return "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace(" ", "")


def aggregated(kinds: Iterable[Kind]) -> Object:
    """`/api` or `/apis` with the resources of each group."""
    found: dict[tuple[str, str], list[Object]] = {}
    for kind in kinds:
        found.setdefault((kind.group, kind.version), []).append(_aggregated_resource(kind))
    groups_: dict[str, list[Object]] = {}
    for (name, version), shown in found.items():
        groups_.setdefault(name, []).append({"version": version, "resources": shown, "freshness": "Current"})
    items = [{"metadata": {"name": name} if name else {}, "versions": each} for name, each in sorted(groups_.items())]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_resource(kind: Kind) -> Object:
    subresources = []
    for name in kind.subresources:
        other, verbs = SUBRESOURCES[name]
        group_name, version, kind_name = other or (kind.group, kind.version, kind.name)
        response = {"group": group_name, "version": version, "kind": kind_name}
        subresources.append({"subresource": name, "responseKind": response, "verbs": list(verbs)})
    return {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.name},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
        **({"shortNames": list(kind.short)} if kind.short else {}),
        **({"categories": list(kind.categories)} if kind.categories else {}),
        **({"subresources": subresources} if subresources else {}),
    }


def versions() -> Object:
    """`/api`"""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(kinds: Iterable[Kind]) -> Object:
    """`/apis`"""
    found: dict[str, list[str]] = {}
    for kind in kinds:
        if kind.group and kind.version not in found.setdefault(kind.group, []):
            found[kind.group].append(kind.version)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name, found[name]) for name in sorted(found)]}


def group(name: str, group_versions: Sequence[str]) -> Object:
    """`/apis/apps`"""
    shown = [{"groupVersion": f"{name}/{version}", "version": version} for version in group_versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": shown, "preferredVersion": shown[0]}


def resources(kinds: Iterable[Kind], api_version: str) -> Object:
    """`/apis/apps/v1`"""
    shown: list[Object] = []
    for kind in kinds:
        shown.append(
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.name,
                "verbs": list(kind.verbs),
                **({"shortNames": list(kind.short)} if kind.short else {}),
                **({"categories": list(kind.categories)} if kind.categories else {}),
            }
        )
        shown += [_subresource(kind, name) for name in kind.subresources]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": shown}


def _subresource(kind: Kind, name: str) -> Object:
    other, verbs = SUBRESOURCES[name]
    shown: Object = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if other is None:
        return {**shown, "kind": kind.name, "verbs": list(verbs)}
    group_name, version, kind_name = other
    where = {"group": group_name, "version": version} if group_name else {}
    return {**shown, **where, "kind": kind_name, "verbs": list(verbs)}
