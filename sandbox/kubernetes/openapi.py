"""The API's description in OpenAPI: as much as kubectl needs to validate, to explain and to know that dry runs work.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sandbox.kubernetes import models
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.merge_keys import BY_NAME
from sandbox.kubernetes.objects import Object

PLAIN = {"int": "integer", "bool": "boolean", "str": "string", "float": "number", "datetime": "string"}
INFO = {"title": "Kubernetes", "version": "v1.37.1"}
PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")


def paths(kinds: Iterable[Kind]) -> Object:
    """`/openapi/v3`: where the description of each group is."""
    groups = dict.fromkeys(_root(kind) for kind in kinds)
    return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in groups}}


def group(kinds: Iterable[Kind]) -> Object:
    """`/openapi/v3/apis/apps/v1`"""
    described: Object = {}
    schemas: Object = {}
    for kind in kinds:
        where = f"/{_root(kind)}/{'namespaces/{namespace}/' if kind.namespaced else ''}{kind.plural}/{{name}}"
        described[where] = {"patch": _patch(kind), "parameters": []}
        schemas |= _schemas(models.model_name(kind)) if models.is_known(kind) else {_name(kind): _free(kind)}
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.name}
        schemas[_name(kind)] = {**schemas[_name(kind)], "x-kubernetes-group-version-kind": [gvk]}
    return {"openapi": "3.0.0", "info": INFO, "paths": described, "components": {"schemas": schemas}}


def swagger(kinds: Iterable[Kind]) -> Object:
    """`/openapi/v2`"""
    described = group(kinds)
    definitions = described["components"]["schemas"]
    for path in described["paths"].values():
        for parameter in path["patch"]["parameters"]:
            parameter |= parameter.pop("schema")
    text = {"swagger": "2.0", "info": INFO, "paths": described["paths"], "definitions": definitions}
    moved: Object = _moved(text)
    return moved


def _moved(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: one.replace("#/components/schemas/", "#/definitions/") if key == "$ref" else _moved(one)
                for key, one in value.items()}  # fmt: skip
    return [_moved(one) for one in value] if isinstance(value, list) else value


def _root(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


def _name(kind: Kind) -> str:
    return models.model_name(kind) if models.is_known(kind) else f"{kind.group}.{kind.version}.{kind.name}"


def _patch(kind: Kind) -> Object:
    return {
        "operationId": f"patch{kind.group.title().replace('.', '')}{kind.version.title()}{kind.name}",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in PARAMETERS],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.name},
    }


def _free(kind: Kind) -> Object:
    return {
        "type": "object",
        "description": f"{kind.name} of {kind.group}",
        "x-kubernetes-preserve-unknown-fields": True,
    }


@cache
def _schemas(name: str) -> Object:
    """The schema of a model and of all that it refers to, by name."""
    found: Object = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in found or (known := models.fields(each)) is None:
            continue
        texts = models.described(each)
        found[each] = {
            "type": "object",
            "description": (models.model(each).__doc__ or "").strip().partition("\n")[0],
            "required": models.required(each),
            "properties": {
                field: {**_schema(field, kind), "description": texts[field]} for field, kind in known.items()
            },
        }
        waiting += [models.inner(kind)[1] for kind in known.values()]
    return found


def _schema(field: str, kind: str) -> Object:
    shape, of = models.inner(kind)
    if shape == "list":
        keys = BY_NAME.get(field)
        merging = {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": keys[0]} if keys else {}
        return {"type": "array", "items": _schema("", of), **merging}
    if shape == "dict":
        return {"type": "object", "additionalProperties": _schema("", of)}
    if models.fields(of) is not None:
        return {"allOf": [{"$ref": f"#/components/schemas/{of}"}]}
    return {"type": PLAIN[of]} if of in PLAIN else {}
