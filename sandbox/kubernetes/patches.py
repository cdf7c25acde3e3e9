"""Patches: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386) and Kubernetes' strategic merge patch.

https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.kubernetes.errors import bad_request, invalid_json_patch
from sandbox.kubernetes.objects import Object

# The fields that identify an element of a list when lists are merged. The API carries them in its types, as
# `x-kubernetes-patch-merge-key` and `x-kubernetes-list-map-keys`; here they go by the name of the list, because no two
# of the kinds that are served disagree.
MERGE_KEYS: Mapping[str, str] = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "secrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
PORT_KEYS = ("containerPort", "port")  # of a container, of a Service
SETS = ("finalizers",)  # lists of plain values without order

# Directives of strategic merge patches
ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"
RETAIN = "$retainKeys"
PATCH = "$patch"


def merge_key(field: str, items: Sequence[Any]) -> str | None:
    """Return the field that identifies an element of the list `field`; None for a list that is replaced as a whole."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    candidates = PORT_KEYS if field == "ports" else (MERGE_KEYS[field],) if field in MERGE_KEYS else ()
    return next((key for key in candidates if all(key in item or PATCH in item for item in items)), None)


# --- JSON Merge Patch


def json_merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` after a JSON Merge Patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = json_merge_patch(result.get(field), value)
    return result


# --- strategic merge patch


def strategic_merge(target: Object, patch: Object, *, new_first: bool = True) -> Object:
    """Return `target` after a strategic merge patch: lists with merge keys are merged by them, and directives obeyed.

    Server-side apply merges in the same way, but puts new elements last (not `new_first`).
    """
    match patch.get(PATCH):
        case "replace":
            return {field: copy.deepcopy(value) for field, value in patch.items() if field != PATCH}
        case "delete":
            return {}
    result = dict(target)
    for field, value in patch.items():
        if field.startswith(DELETE):
            kept = field.removeprefix(DELETE)
            result[kept] = [item for item in result.get(kept) or [] if item not in value]
        elif field.startswith(ORDER) or field in (RETAIN, PATCH):
            continue
        elif value is None:
            result.pop(field, None)
        elif isinstance(value, dict):
            inner = result.get(field)
            result[field] = strategic_merge(inner if isinstance(inner, dict) else {}, value, new_first=new_first)
        elif isinstance(value, list):
            result[field] = _merge_lists(field, result.get(field) or [], value, new_first)
        else:
            result[field] = value
    listed = {field: value for field, value in patch.items() if isinstance(value, list) and not field.startswith("$")}
    orders = listed if new_first else {}
    orders |= {field.removeprefix(ORDER): order for field, order in patch.items() if field.startswith(ORDER)}
    for field, order in orders.items():
        if field in result:
            result[field] = _reorder(field, result[field], target.get(field) or [], order)
    if RETAIN in patch:
        result = {field: value for field, value in result.items() if field in patch[RETAIN]}
    return result


def _merge_lists(field: str, present: list[Any], patch: list[Any], new_first: bool) -> list[Any]:
    if any(isinstance(item, dict) and item.get(PATCH) == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if PATCH not in item]
    if field in SETS:
        return list(dict.fromkeys([*present, *patch]))
    key = merge_key(field, patch)
    if key is None:
        return copy.deepcopy(patch)
    result = list(present)
    for item in patch:
        at = next((index for index, old in enumerate(result) if old.get(key) == item.get(key)), None)
        if item.get(PATCH) == "delete":
            result = result[:at] + result[at + 1 :] if at is not None else result
        elif at is None:
            result.append(strategic_merge({}, item, new_first=new_first))
        else:
            result[at] = strategic_merge(result[at], item, new_first=new_first)
    return result


def _reorder(field: str, items: list[Any], before: list[Any], order: list[Any]) -> list[Any]:
    """Sort the elements that `order` names by it, and merge the others in by their positions in `before`.

    A named element comes before one that is not named, unless that was before it.
    """
    key = merge_key(field, order)
    if key is None and field not in SETS:
        return items

    def position(item: Any, among: list[Any]) -> int | None:
        indices = (index for index, other in enumerate(among) if _is_same(item, other, key))
        return next(indices, None)

    named = [item for item in items if position(item, order) is not None]
    named.sort(key=lambda item: position(item, order) or 0)
    others = [item for item in items if position(item, order) is None]
    result = []
    while named and others:
        named_before, other_before = position(named[0], before), position(others[0], before)
        other_first = named_before is not None and other_before is not None and other_before < named_before
        result.append((others if other_first else named).pop(0))
    return [*result, *named, *others]


def _is_same(item: Any, other: Any, key: str | None) -> bool:
    return bool(item.get(key) == other.get(key) if key else item == other)


# --- JSON Patch


def json_patch(document: Any, operations: Sequence[Any]) -> Any:
    """Return `document` after a JSON Patch.

    Raises StatusError 400 for what is no operation, 422 for an operation that cannot be applied.
    """
    document = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request(f"error decoding patch: {operation!r} is not an operation")
        try:
            document = _apply_operation(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise invalid_json_patch() from error
    return document


def _apply_operation(document: Any, operation: Object) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _set(document, path, copy.deepcopy(operation["value"]), insert=True)
        case "replace":
            _get(document, path)
            return _set(document, path, copy.deepcopy(operation["value"]), insert=False)
        case "remove":
            return _remove(document, path)
        case "test":
            if _get(document, path) != operation.get("value"):
                raise invalid_json_patch()
            return document
        case "copy":
            return _set(document, path, copy.deepcopy(_get(document, _pointer(operation["from"]))), insert=True)
        case "move":
            source = _pointer(operation["from"])
            value = _get(document, source)
            return _set(_remove(document, source), path, value, insert=True)
        case _:
            raise invalid_json_patch()


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _set(document: Any, path: Sequence[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif insert:
        if not 0 <= int(last) <= len(parent):
            raise IndexError(last)
        parent.insert(int(last), value)
    else:
        parent[int(last)] = value
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    parent, last = _get(document, path[:-1]), path[-1]
    parent.pop(int(last) if isinstance(parent, list) else last)
    return document
