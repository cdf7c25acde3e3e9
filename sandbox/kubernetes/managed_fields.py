"""Field ownership: what every write leaves in `managedFields`, and server-side apply, which goes by it.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from sandbox.kubernetes.errors import StatusError
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.patches import SETS, merge_key, strategic_merge

# The path of a field. Its parts are `f:name` for a field, `k:{"name":"app"}` for an element of a list with keys and
# `v:"x"` for one of a set.
Path: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[Path]

UNOWNED = ("apiVersion", "kind")
SERVER_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
                   "generateName", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")  # fmt: skip
ATOMIC = ("selector", "nodeSelector", "secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef")
MISSING = object()


@dataclass(frozen=True)
class Entry:
    """The fields that one manager owns by one kind of operation (`Apply` or `Update`)."""

    manager: str
    operation: str
    subresource: str
    api_version: str
    time: str
    fields: FieldSet

    def belongs_to(self, manager: str, operation: str, subresource: str) -> bool:
        return (self.manager, self.operation, self.subresource) == (manager, operation, subresource)


def track_update(kind: Kind, before: Object | None, after: Object, manager: str, subresource: str, now: str) -> Object:
    """Return `after` with the ownership that a write of it leaves: what the manager has changed is now its own."""
    fields_before = _field_set(before) if before is not None else frozenset()
    fields = _field_set(after)
    removed = fields_before - fields
    changed = frozenset(
        path for path in fields if before is None or _is_changed(path, before, after, fields_before, fields)
    )
    entries: list[Entry] = []
    own: Entry | None = None
    for entry in _entries_of(before) if before is not None else ():
        if entry.belongs_to(manager, "Update", subresource):
            own = entry
            continue
        taken = frozenset(path for path in changed if _is_leaf(fields, path))
        entries.append(replace(entry, fields=entry.fields - removed - taken))
    owned = ((own.fields if own else frozenset()) | changed) - removed
    if own is None or owned != own.fields:
        own = Entry(manager, "Update", subresource, kind.api_version, now, owned)
    return _with_entries(after, [*entries, own])


def apply(kind: Kind, before: Object | None, wanted: Object, manager: str, *, force: bool, now: str) -> Object:
    """Return what becomes of `before` when `manager` applies `wanted`.

    Raises StatusError 409 when other managers own fields with other values, unless `force` takes these from them.
    """
    applied = _without(wanted, [("f:metadata", "f:managedFields"), ("f:status",)])
    applied_fields = _field_set(applied)
    live = before if before is not None else {**applied, "metadata": dict(applied["metadata"])}
    entries = _entries_of(before) if before is not None else []
    own = next((entry for entry in entries if entry.belongs_to(manager, "Apply", "")), None)
    others = [entry for entry in entries if entry is not own]
    contested = _contested(live, applied, applied_fields, others)
    if contested and not force:
        raise _conflict(contested)
    others = [replace(entry, fields=entry.fields - {path for _, path in contested}) for entry in others]
    atomic = [path for path in applied_fields if path[-1].removeprefix("f:") in ATOMIC]  # replaced as a whole
    result = strategic_merge(_without(live, atomic), applied, new_first=False)
    if own is not None:
        kept = frozenset[Path]().union(*(entry.fields for entry in others)) | applied_fields
        result = _without(result, _abandoned(own.fields - applied_fields, kept))
    if own is None or own.fields != applied_fields:
        own = Entry(manager, "Apply", "", kind.api_version, now, applied_fields)
    return _with_entries(result, [*others, own])


def _is_changed(path: Path, before: Object, after: Object, fields_before: FieldSet, fields: FieldSet) -> bool:
    if path not in fields_before:
        return True
    return _is_leaf(fields, path) and _value_at(before, path) != _value_at(after, path)


def _contested(live: Object, applied: Object, fields: FieldSet, others: Sequence[Entry]) -> list[tuple[Entry, Path]]:
    """Return the applied fields that others own with another value, with the owner of each."""
    return [
        (other, path)
        for path in sorted(fields)
        if _is_leaf(fields, path)
        and (present := _value_at(live, path)) is not MISSING
        and present != _value_at(applied, path)
        for other in others
        if path in other.fields
    ]


def _abandoned(dropped: FieldSet, kept: FieldSet) -> list[Path]:
    """Return the fields that their manager applies no more, that nobody else owns, and that hold no owned field."""
    return [path for path in dropped if not any(other[: len(path)] == path for other in kept)]


# --- the error for a conflict


def _conflict(contested: Sequence[tuple[Entry, Path]]) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_describe(entry)}", "field": _dotted(path)}
        for entry, path in contested
    ]
    by_manager: dict[str, list[str]] = {}
    for entry, path in contested:
        by_manager.setdefault(_describe(entry), []).append(_dotted(path))
    parts = [
        f"conflict{'s' if len(fields) > 1 else ''} with {manager}"
        + (f": {fields[0]}" if len(fields) == 1 else ":\n" + "\n".join(f"- {field}" for field in fields))
        for manager, fields in by_manager.items()
    ]
    plural = "s" if len(contested) > 1 else ""
    message = f"Apply failed with {len(contested)} conflict{plural}: " + "\n".join(parts)
    return StatusError(409, "Conflict", message, {"causes": causes})


def _describe(entry: Entry) -> str:
    subresource = f' with subresource "{entry.subresource}"' if entry.subresource else ""
    version = f" using {entry.api_version}" if entry.operation == "Update" else ""
    return f'"{entry.manager}"{subresource}{version}'


def _dotted(path: Path) -> str:
    """`.spec.template.spec.containers[name="app"].image`"""
    text = ""
    for part in path:
        kind, _, rest = part.partition(":")
        text += f".{rest}" if kind == "f" else f"[{_element_keys(rest)}]"
    return text


def _element_keys(text: str) -> str:
    return text.strip("{}").replace('":', "=").replace('"', "", 1) if text.startswith("{") else f"={text}"


# --- entries in managedFields


def _entries_of(obj: Object) -> list[Entry]:
    return [
        Entry(
            entry["manager"],
            entry["operation"],
            entry.get("subresource", ""),
            entry["apiVersion"],
            entry.get("time", ""),
            _from_fields_v1(entry.get("fieldsV1") or {}),
        )
        for entry in obj["metadata"].get("managedFields") or ()
    ]


def _with_entries(obj: Object, entries: Sequence[Entry]) -> Object:
    managed = [
        {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _to_fields_v1(entry.fields),
            **({"subresource": entry.subresource} if entry.subresource else {}),
        }
        for entry in entries
        if entry.fields
    ]
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**metadata, **({"managedFields": managed} if managed else {})}}


def _to_fields_v1(fields: FieldSet) -> Object:
    tree: Object = {}
    for path in sorted(fields):
        node = tree
        for part in path:
            node = node.setdefault(part, {})
    _mark_members(tree, (), fields)
    return tree


def _mark_members(node: Object, path: Path, fields: FieldSet) -> None:
    """Mark with "." what is owned itself besides holding owned fields."""
    for part in list(node):
        inner: Object = node[part]
        if inner:
            _mark_members(inner, (*path, part), fields)
            if (*path, part) in fields:
                inner["."] = {}


def _from_fields_v1(tree: Object) -> FieldSet:
    def paths(node: Object, path: Path) -> Iterator[Path]:
        if path and (not node or "." in node):
            yield path
        for part, inner in node.items():
            if part != ".":
                yield from paths(inner, (*path, part))

    return frozenset(paths(tree, ()))


# --- the fields of an object


def _field_set(obj: Object) -> FieldSet:
    """Return the paths of all fields of an object, without those that belong to the server."""
    owned = {field: value for field, value in obj.items() if field not in UNOWNED}
    if "metadata" in owned:
        owned["metadata"] = {field: value for field, value in owned["metadata"].items() if field not in SERVER_METADATA}
    return frozenset(path for path in _paths(owned, ()) if path not in ((), ("f:metadata",), ("f:spec",)))


def _paths(value: Mapping[str, Any], path: Path) -> Iterator[Path]:
    if path:
        yield path
    for name, inner in value.items():
        inner_path = (*path, f"f:{name}")
        if isinstance(inner, dict) and inner and name not in ATOMIC:
            yield from _paths(inner, inner_path)
        elif isinstance(inner, list) and (keys := _map_keys(name, inner)):
            yield inner_path
            for item in inner:
                yield from _paths(item, (*inner_path, _element(item, keys)))
        elif isinstance(inner, list) and name in SETS:
            yield inner_path
            yield from ((*inner_path, f"v:{json.dumps(item)}") for item in inner)
        else:
            yield inner_path


def _map_keys(field: str, items: Sequence[Any]) -> tuple[str, ...]:
    """Return the fields that identify an element; none for a list that belongs to one manager as a whole."""
    key = merge_key(field, items)
    if key is None:
        return ()
    match field:
        case "ports":
            return (key, "protocol")
        case "topologySpreadConstraints":
            return (key, "whenUnsatisfiable")
        case _:
            return (key,)


def _element(item: Object, keys: Iterable[str]) -> str:
    """Return the part of a path that names an element by its keys."""
    named = {key: item[key] for key in sorted(keys) if key in item}
    return f"k:{json.dumps(named, separators=(',', ':'))}"


def _is_leaf(fields: FieldSet, path: Path) -> bool:
    """Return True if a path holds a value of its own, and not just other fields."""
    return not any(len(other) > len(path) and other[: len(path)] == path for other in fields)


def _value_at(obj: Object, path: Path) -> Any:
    """Return the value at a path; MISSING if there is none."""
    value: Any = obj
    for part in path:
        value = _descend(value, part)
        if value is MISSING:
            return MISSING
    return value


def _descend(value: Any, part: str) -> Any:
    kind, _, rest = part.partition(":")
    if kind == "f":
        return value.get(rest, MISSING) if isinstance(value, dict) else MISSING
    wanted = json.loads(rest)
    if not isinstance(value, list):
        return MISSING
    if kind == "v":
        return wanted if wanted in value else MISSING
    return next((item for item in value if isinstance(item, dict) and _has_keys(item, wanted)), MISSING)


def _has_keys(item: Object, wanted: Object) -> bool:
    return all(item.get(key) == value for key, value in wanted.items())


def _without(obj: Object, paths: Iterable[Path]) -> Object:
    """Return a copy of `obj` without what is at the paths."""
    result: Object = json.loads(json.dumps(obj))
    for path in sorted(paths, key=len):  # an element before the fields that identify it
        parent = _value_at(result, path[:-1])
        kind, _, rest = path[-1].partition(":")
        if isinstance(parent, dict) and kind == "f":
            parent.pop(rest, None)
        elif isinstance(parent, list):
            element = _descend(parent, path[-1])
            if element is not MISSING:
                parent.remove(element)
    return result
