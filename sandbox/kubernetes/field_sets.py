"""Which fields an object has, as paths, and the form in which `managedFields` keeps them (FieldsV1).

A path's parts are `f:name` for a field, `k:{"name":"app"}` for an element of a list with keys, `v:"x"` for one of a
set. https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from sandbox.kubernetes.merge_keys import SETS, map_keys
from sandbox.kubernetes.objects import Object

Path: TypeAlias = tuple[str, ...]
Fields: TypeAlias = frozenset[Path]

NOBODYS = ("apiVersion", "kind")
SERVERS = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
           "generateName", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")  # fmt: skip
ATOMIC = ("selector", "nodeSelector", "secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef")
MISSING = object()


def fields_of(obj: Object) -> Fields:
    """The paths of all that an object says, without what belongs to the server."""
    said = {key: value for key, value in obj.items() if key not in NOBODYS}
    if "metadata" in said:
        said["metadata"] = {key: value for key, value in said["metadata"].items() if key not in SERVERS}
    return frozenset(path for path in _paths(said, ()) if path not in ((), ("f:metadata",), ("f:spec",)))


def _paths(value: Mapping[str, Any], at: Path) -> Iterator[Path]:
    if at:
        yield at
    for name, inner in value.items():
        path = (*at, f"f:{name}")
        if isinstance(inner, dict) and inner and name not in ATOMIC:
            yield from _paths(inner, path)
        elif isinstance(inner, list) and (keys := map_keys(name, inner)):
            yield path
            for one in inner:
                yield from _paths(one, (*path, element(one, keys)))
        elif isinstance(inner, list) and name in SETS:
            yield path
            yield from ((*path, f"v:{json.dumps(one)}") for one in inner)
        else:
            yield path


def element(item: Object, keys: Iterable[str]) -> str:
    """The part of a path that names an element by its keys."""
    named = {key: item[key] for key in sorted(keys) if key in item}
    return f"k:{json.dumps(named, separators=(',', ':'))}"


def value_at(obj: Object, path: Path) -> Any:
    """What stands at a path; MISSING when nothing does. An element or a map that only holds others is None."""
    value: Any = obj
    for part in path:
        value = _step(value, part)
        if value is MISSING:
            return MISSING
    return value


def _step(value: Any, part: str) -> Any:
    kind, _, rest = part.partition(":")
    if kind == "f":
        return value.get(rest, MISSING) if isinstance(value, dict) else MISSING
    wanted = json.loads(rest)
    if not isinstance(value, list):
        return MISSING
    if kind == "v":
        return wanted if wanted in value else MISSING
    return next((one for one in value if isinstance(one, dict) and _is(one, wanted)), MISSING)


def _is(item: Object, wanted: Object) -> bool:
    return all(item.get(key) == value for key, value in wanted.items())


def without(obj: Object, paths: Iterable[Path]) -> Object:
    """A copy of `obj` in which nothing stands at the paths."""
    result: Object = json.loads(json.dumps(obj))
    for path in sorted(paths, key=len):  # an element before the fields by which it is found
        parent = value_at(result, path[:-1])
        kind, _, rest = path[-1].partition(":")
        if isinstance(parent, dict) and kind == "f":
            parent.pop(rest, None)
        elif isinstance(parent, list):
            found = _step(parent, path[-1])
            if found is not MISSING:
                parent.remove(found)
    return result


def is_leaf(fields: Fields, path: Path) -> bool:
    """Whether a path holds a value of its own, and not just others."""
    return not any(len(other) > len(path) and other[: len(path)] == path for other in fields)


def to_json(fields: Fields) -> Object:
    """FieldsV1."""
    tree: Object = {}
    for path in sorted(fields):
        node = tree
        for part in path:
            node = node.setdefault(part, {})
    _dot(tree, (), fields)
    return tree


def _dot(node: Object, at: Path, fields: Fields) -> None:
    """Mark with "." what belongs to the set besides holding others."""
    for part in list(node):
        inner: Object = node[part]
        if inner:
            _dot(inner, (*at, part), fields)
            if (*at, part) in fields:
                inner["."] = {}


def from_json(tree: Object) -> Fields:
    def paths(node: Object, at: Path) -> Iterator[Path]:
        if at and (not node or "." in node):
            yield at
        for part, inner in node.items():
            if part != ".":
                yield from paths(inner, (*at, part))

    return frozenset(paths(tree, ()))
