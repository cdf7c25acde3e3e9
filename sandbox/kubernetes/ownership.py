"""Who manages which fields: what every write leaves in `managedFields`, and server-side apply, which goes by it.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sandbox.kubernetes.field_sets import (
    MISSING,
    Fields,
    Path,
    fields_of,
    from_json,
    is_leaf,
    to_json,
    value_at,
    without,
)
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, copied
from sandbox.kubernetes.patches import strategically_merged
from sandbox.kubernetes.problems import Problem


@dataclass(frozen=True)
class Share:
    """The fields that one manager has by one kind of operation (`Apply` or `Update`)."""

    manager: str
    operation: str
    subresource: str
    api_version: str
    time: str
    fields: Fields

    def is_of(self, manager: str, operation: str, subresource: str) -> bool:
        return (self.manager, self.operation, self.subresource) == (manager, operation, subresource)


def shares(obj: Object) -> list[Share]:
    return [
        Share(
            one["manager"],
            one["operation"],
            one.get("subresource", ""),
            one["apiVersion"],
            one.get("time", ""),
            from_json(one.get("fieldsV1") or {}),
        )
        for one in obj["metadata"].get("managedFields") or ()
    ]


def with_shares(obj: Object, all_shares: Sequence[Share]) -> Object:
    """The object with its `managedFields`."""
    kept = [
        {
            "manager": one.manager,
            "operation": one.operation,
            "apiVersion": one.api_version,
            "time": one.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_json(one.fields),
            **({"subresource": one.subresource} if one.subresource else {}),
        }
        for one in all_shares
        if one.fields
    ]
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**metadata, **({"managedFields": kept} if kept else {})}}


def updated(kind: Kind, before: Object | None, after: Object, manager: str, subresource: str, now: str) -> Object:
    """`after` with the shares that a write of it leaves: what the manager has changed is now his."""
    had = fields_of(before) if before is not None else frozenset()
    has = fields_of(after)
    lost = had - has
    changed = frozenset(
        path
        for path in has
        if before is None or path not in had or (is_leaf(has, path) and value_at(before, path) != value_at(after, path))
    )
    result: list[Share] = []
    own: Share | None = None
    for one in shares(before) if before is not None else ():
        if one.is_of(manager, "Update", subresource):
            own = one
            continue
        taken = frozenset(path for path in changed if is_leaf(has, path))
        result.append(replace(one, fields=one.fields - lost - taken))
    mine = ((own.fields if own else frozenset()) | changed) - lost
    if own is None or mine != own.fields:
        own = Share(manager, "Update", subresource, kind.api_version, now, mine)
    return with_shares(after, [*result, own])


def applied(kind: Kind, before: Object | None, wanted: Object, manager: str, *, force: bool, now: str) -> Object:
    """What comes of `before` when `manager` applies `wanted`. Problem 409 when others disagree, unless `force`."""
    said = without(wanted, [("f:metadata", "f:managedFields"), ("f:status",)])
    wanted_fields = fields_of(said)
    live = before if before is not None else {**said, "metadata": dict(said["metadata"])}
    known = shares(before) if before is not None else []
    own = next((one for one in known if one.is_of(manager, "Apply", "")), None)
    others = [one for one in known if one is not own]
    contested = _contested(live, said, wanted_fields, others)
    if contested and not force:
        raise _conflict(contested)
    others = [replace(one, fields=one.fields - {path for _, path in contested}) for one in others]
    result = strategically_merged(copied(live), said, new_first=False)
    if own is not None:
        kept = frozenset[Path]().union(*(one.fields for one in others))
        result = without(result, _dropped(own.fields - wanted_fields, kept | wanted_fields))
    if own is None or own.fields != wanted_fields:
        own = Share(manager, "Apply", "", kind.api_version, now, wanted_fields)
    return with_shares(result, [*others, own])


def _contested(live: Object, said: Object, wanted: Fields, others: Sequence[Share]) -> list[tuple[Share, Path]]:
    return [
        (other, path)
        for path in sorted(wanted)
        if is_leaf(wanted, path)
        and (present := value_at(live, path)) is not MISSING
        and present != value_at(said, path)
        for other in others
        if path in other.fields
    ]


def _dropped(gone: Fields, kept: Fields) -> list[Path]:
    """Of what its manager does not want any more, what nobody else has, and what holds nothing that anybody has."""
    return [path for path in gone if not any(other[: len(path)] == path for other in kept)]


def _conflict(contested: Sequence[tuple[Share, Path]]) -> Problem:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_named(share)}", "field": _dotted(path)}
        for share, path in contested
    ]
    by_manager: dict[str, list[str]] = {}
    for share, path in contested:
        by_manager.setdefault(_named(share), []).append(_dotted(path))
    parts = [
        f"conflict{'s' if len(fields) > 1 else ''} with {who}"
        + (f": {fields[0]}" if len(fields) == 1 else ":\n" + "\n".join(f"- {field}" for field in fields))
        for who, fields in by_manager.items()
    ]
    plural = "s" if len(contested) > 1 else ""
    message = f"Apply failed with {len(contested)} conflict{plural}: " + "\n".join(parts)
    return Problem(409, "Conflict", message, {"causes": causes})


def _named(share: Share) -> str:
    through = f' with subresource "{share.subresource}"' if share.subresource else ""
    using = f" using {share.api_version}" if share.operation == "Update" else ""
    return f'"{share.manager}"{through}{using}'


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        kind, _, rest = part.partition(":")
        text += f".{rest}" if kind == "f" else f"[{_keys(rest)}]"
    return text


def _keys(text: str) -> str:
    return text.strip("{}").replace('":', "=").replace('"', "", 1) if text.startswith("{") else f"={text}"
