"""The documents that the API answers with besides the objects themselves: lists, tables, discovery, OpenAPI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache

from sandbox.kubernetes.kinds import AGE, Column, Kind
from sandbox.kubernetes.objects import Object, format_selector, name_of, status_of
from sandbox.kubernetes.patches import MERGE_KEYS
from sandbox.kubernetes.schemas import (
    element_type,
    field_descriptions,
    field_types,
    has_schema,
    model,
    model_name,
    required_fields,
)

# --- objects


def object_list(kind: Kind, items: Sequence[Object], metadata: Object) -> Object:
    """Build a list. Items carry no kind of their own, unless they are custom resources."""
    if not kind.custom:
        items = [
            {field: value for field, value in item.items() if field not in ("kind", "apiVersion")} for item in items
        ]
    return {"kind": kind.list_name, "apiVersion": kind.api_version, "metadata": metadata, "items": items}


def bookmark(kind: Kind, version: int, annotations: Object | None = None) -> Object:
    """Build the object of a watch's BOOKMARK event."""
    metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}


def scale_of(obj: Object) -> Object:
    """Build the Scale of an object with replicas."""
    fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: obj["metadata"][field] for field in fields if field in obj["metadata"]},
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": status_of(obj).get("replicas", 0),
            "selector": format_selector(obj["spec"].get("selector")),
        },
    }


# --- tables: the rows that kubectl shows, whose cells are computed here, on the server
# https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables

NAME = Column("Name", lambda obj, _: name_of(obj))


def table(kind: Kind, items: Sequence[Object], metadata: Object, now: datetime, include: str) -> Object:
    """Build a Table. `include` says what goes with each row: the `Object`, its `Metadata` or `None` of it."""
    columns = (NAME, *(kind.columns or (AGE,)))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": "name" if column is NAME else "",
                "description": column.name,
                "priority": 1 if column.wide else 0,
            }
            for column in columns
        ],
        "rows": [
            {"cells": [column.cell(item, now) for column in columns], "object": _row_object(item, include)}
            for item in items
        ],
    }


def metadata_only(obj: Object) -> Object:
    """Return an object without anything but its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def metadata_list(items: Sequence[Object], metadata: Object) -> Object:
    """Build a list of objects of which only the metadata was asked for."""
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "items": [metadata_only(item) for item in items],
    }


def _row_object(obj: Object, include: str) -> Object | None:
    match include:
        case "None":
            return None
        case "Object":
            return obj
        case _:
            return metadata_only(obj)


# --- discovery: the groups and resources that are served
# https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api

AGGREGATED_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
SUBRESOURCES: Mapping[str, tuple[tuple[str, str, str] | None, Sequence[str]]] = {
    # the group, version and kind of its objects, if another than the resource's; its verbs
    "eviction": (("policy", "v1", "Eviction"), ("create",)),
    "exec": (("", "v1", "PodExecOptions"), ("create", "get")),
    "log": (None, ("get",)),
    "proxy": (("", "v1", "PodProxyOptions"), ("create", "delete", "get", "patch", "update")),
    "scale": (("autoscaling", "v1", "Scale"), ("get", "patch", "update")),
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


def api_versions() -> Object:
    """`/api`"""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def api_groups(kinds: Iterable[Kind]) -> Object:
    """`/apis`"""
    versions: dict[str, dict[str, None]] = {}
    for kind in kinds:
        if kind.group:
            versions.setdefault(kind.group, {})[kind.version] = None
    groups = [api_group(name, list(versions[name])) for name in sorted(versions)]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(name: str, versions: Sequence[str]) -> Object:
    """`/apis/apps`"""
    shown = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": shown, "preferredVersion": shown[0]}


def api_resources(kinds: Iterable[Kind], api_version: str) -> Object:
    """`/apis/apps/v1`"""
    resources: list[Object] = []
    for kind in kinds:
        resources.append(
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.name,
                "verbs": list(kind.verbs),
                **_names(kind),
            }
        )
        resources += [_subresource(kind, name) for name in kind.subresources]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


def _subresource(kind: Kind, name: str) -> Object:
    other, verbs = SUBRESOURCES[name]
    subresource: Object = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if other is None:
        return {**subresource, "kind": kind.name, "verbs": list(verbs)}
    group, version, kind_name = other
    group_version = {"group": group, "version": version} if group else {}
    return {**subresource, **group_version, "kind": kind_name, "verbs": list(verbs)}


def aggregated_discovery(kinds: Iterable[Kind]) -> Object:
    """`/api` or `/apis` with the resources of each group, for clients that want all in one answer."""
    resources: dict[tuple[str, str], list[Object]] = {}
    for kind in kinds:
        resources.setdefault((kind.group, kind.version), []).append(_aggregated_resource(kind))
    groups: dict[str, list[Object]] = {}
    for (group, version), shown in resources.items():
        groups.setdefault(group, []).append({"version": version, "resources": shown, "freshness": "Current"})
    items = [
        {"metadata": {"name": group} if group else {}, "versions": versions}
        for group, versions in sorted(groups.items())
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_resource(kind: Kind) -> Object:
    subresources = []
    for name in kind.subresources:
        other, verbs = SUBRESOURCES[name]
        group, version, kind_name = other or (kind.group, kind.version, kind.name)
        response = {"group": group, "version": version, "kind": kind_name}
        subresources.append({"subresource": name, "responseKind": response, "verbs": list(verbs)})
    return {
        "resource": kind.plural,
        "responseKind": _group_version_kind(kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
        **_names(kind),
        **({"subresources": subresources} if subresources else {}),
    }


def _names(kind: Kind) -> Object:
    names = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
    return {field: value for field, value in names.items() if value}


def _group_version_kind(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


# --- OpenAPI v3: as much as kubectl needs to validate, to explain and to know that dry runs work
# https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition

OPENAPI_TYPES = {"int": "integer", "bool": "boolean", "str": "string", "float": "number", "datetime": "string"}
OPENAPI_INFO = {"title": "Kubernetes", "version": "v1.37.1"}
PATCH_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")


def openapi_index(kinds: Iterable[Kind]) -> Object:
    """`/openapi/v3`: where the document of each group is."""
    roots = dict.fromkeys(_root(kind) for kind in kinds)
    return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in roots}}


def openapi_document(kinds: Iterable[Kind]) -> Object:
    """`/openapi/v3/apis/apps/v1`"""
    paths: Object = {}
    schemas: Object = {}
    for kind in kinds:
        namespace = "namespaces/{namespace}/" if kind.namespaced else ""
        paths[f"/{_root(kind)}/{namespace}{kind.plural}/{{name}}"] = {"patch": _patch(kind), "parameters": []}
        name = model_name(kind) if has_schema(kind) else f"{kind.group}.{kind.version}.{kind.name}"
        schemas |= _schemas(name) if has_schema(kind) else {name: _free_schema(kind)}
        schemas[name] = {**schemas[name], "x-kubernetes-group-version-kind": [_group_version_kind(kind)]}
    return {"openapi": "3.0.0", "info": OPENAPI_INFO, "paths": paths, "components": {"schemas": schemas}}


def _root(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


def _patch(kind: Kind) -> Object:
    return {
        "operationId": f"patch{kind.group.title().replace('.', '')}{kind.version.title()}{kind.name}",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in PATCH_PARAMETERS],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _group_version_kind(kind),
    }


def _free_schema(kind: Kind) -> Object:
    return {
        "type": "object",
        "description": f"{kind.name} of {kind.group}",
        "x-kubernetes-preserve-unknown-fields": True,
    }


@cache
def _schemas(name: str) -> Object:
    """Build the schemas of a model and of all models that it refers to, by name."""
    schemas: Object = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in schemas or (types := field_types(current)) is None:
            continue
        descriptions = field_descriptions(current)
        schemas[current] = {
            "type": "object",
            "description": (model(current).__doc__ or "").strip().partition("\n")[0],
            "required": required_fields(current),
            "properties": {
                field: {**_field_schema(field, type), "description": descriptions[field]}
                for field, type in types.items()
            },
        }
        waiting += [element_type(type)[1] for type in types.values()]
    return schemas


def _field_schema(field: str, type: str) -> Object:
    container, element = element_type(type)
    if container == "list":
        key = MERGE_KEYS.get(field)
        merging = {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": key} if key else {}
        return {"type": "array", "items": _field_schema("", element), **merging}
    if container == "dict":
        return {"type": "object", "additionalProperties": _field_schema("", element)}
    if field_types(element) is not None:
        return {"allOf": [{"$ref": f"#/components/schemas/{element}"}]}
    return {"type": OPENAPI_TYPES[element]} if element in OPENAPI_TYPES else {}
