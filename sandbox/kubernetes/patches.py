"""The three ways of a patch: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386) and Kubernetes' strategic merge.

https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from sandbox.kubernetes.merge_keys import SETS, merge_key
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.problems import bad_request, in_error

ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"
RETAIN = "$retainKeys"
PATCH = "$patch"


def merged(target: Any, patch: Any) -> Any:
    """`target` after a JSON Merge Patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = merged(result.get(field), value)
    return result


def strategically_merged(target: Object, patch: Object, *, new_first: bool = True) -> Object:
    """`target` after a strategic merge patch: lists of named elements are merged by name, with the directives.

    Server-side apply merges in the same way, but what is new comes last (not `new_first`).
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
            result[kept] = [one for one in result.get(kept) or [] if one not in value]
        elif field.startswith(ORDER) or field in (RETAIN, PATCH):
            continue
        elif value is None:
            result.pop(field, None)
        elif isinstance(value, dict):
            inner = result.get(field)
            result[field] = strategically_merged(inner if isinstance(inner, dict) else {}, value, new_first=new_first)
        elif isinstance(value, list):
            result[field] = _list(field, result.get(field) or [], value, new_first)
        else:
            result[field] = value
    listed = {field: value for field, value in patch.items() if isinstance(value, list) and not field.startswith("$")}
    orders = listed if new_first else {}
    orders |= {field.removeprefix(ORDER): order for field, order in patch.items() if field.startswith(ORDER)}
    for field, order in orders.items():
        if field in result:
            result[field] = _ordered(field, result[field], target.get(field) or [], order)
    if RETAIN in patch:
        result = {field: value for field, value in result.items() if field in patch[RETAIN]}
    return result


def _list(field: str, present: list[Any], patch: list[Any], new_first: bool) -> list[Any]:
    if any(isinstance(one, dict) and one.get(PATCH) == "replace" for one in patch):
        return [copy.deepcopy(one) for one in patch if PATCH not in one]
    if field in SETS:
        return list(dict.fromkeys([*present, *patch]))
    key = merge_key(field, patch)
    if key is None:
        return copy.deepcopy(patch)
    result = list(present)
    for one in patch:
        at = next((index for index, old in enumerate(result) if old.get(key) == one.get(key)), None)
        if one.get(PATCH) == "delete":
            result = result[:at] + result[at + 1 :] if at is not None else result
        elif at is None:
            result.append(strategically_merged({}, one, new_first=new_first))
        else:
            result[at] = strategically_merged(result[at], one, new_first=new_first)
    return result


def _ordered(field: str, items: list[Any], before: list[Any], order: list[Any]) -> list[Any]:
    """The elements that `order` names in that order, the others as they stood in `before`.

    Of one that is named and one that is not, the first is the one that stood first; a new one is always the first.
    """
    key = merge_key(field, order)
    if key is None and field not in SETS:
        return items

    def place(item: Any, among: list[Any]) -> int | None:
        found = (index for index, one in enumerate(among) if (one.get(key) == item.get(key) if key else one == item))
        return next(found, None)

    named = sorted((one for one in items if place(one, order) is not None), key=lambda one: place(one, order) or 0)
    others = [one for one in items if place(one, order) is None]
    result = []
    while named and others:
        mine, theirs = place(named[0], before), place(others[0], before)
        first = others if mine is not None and theirs is not None and theirs < mine else named
        result.append(first.pop(0))
    return [*result, *named, *others]


def json_patched(document: Any, operations: Sequence[Any]) -> Any:
    """`document` after a JSON Patch. Problem 400 for what is no operation, 422 for one that cannot be done."""
    document = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request(f"error decoding patch: {operation!r} is not an operation")
        try:
            document = _operated(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as wrong:
            raise in_error() from wrong
    return document


def _operated(document: Any, operation: Object) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _set(document, path, copy.deepcopy(operation["value"]), insert=True)
        case "replace":
            _get(document, path)
            return _set(document, path, copy.deepcopy(operation["value"]), insert=False)
        case "remove":
            return _removed(document, path)
        case "test":
            if _get(document, path) != operation.get("value"):
                raise in_error()
            return document
        case "copy":
            return _set(document, path, copy.deepcopy(_get(document, _pointer(operation["from"]))), insert=True)
        case "move":
            source = _pointer(operation["from"])
            value = _get(document, source)
            return _set(_removed(document, source), path, value, insert=True)
        case _:
            raise in_error()


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


def _removed(document: Any, path: Sequence[str]) -> Any:
    parent, last = _get(document, path[:-1]), path[-1]
    parent.pop(int(last) if isinstance(parent, list) else last)
    return document
