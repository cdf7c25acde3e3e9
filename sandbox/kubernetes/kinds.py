"""Kinds of API objects: names, defaults, rules, and the columns in which kubectl shows them.

A kind is defined once, as a `Kind`, in the module of its family (`resources/`, `access.py`), and is served when it is
in `backend.KINDS`. Discovery, tables, defaults, validation and deletion follow from its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from sandbox.kubernetes.objects import Object, at_path, format_selector, parse_time

GroupVersionResource: TypeAlias = tuple[str, str, str]
Cause: TypeAlias = tuple[str, str]  # an invalid field, and what is wrong with it
Cell: TypeAlias = Callable[[Object, datetime], Any]
Kinds: TypeAlias = dict[GroupVersionResource, "Kind"]  # those that are served

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
NONE = "<none>"


@dataclass(frozen=True)
class Column:
    """One column of a table. kubectl shows `wide` ones only with `-o wide`."""

    name: str
    cell: Cell
    wide: bool = False
    type: str = "string"


def _no_defaults(_: Object) -> None:
    """Fill in nothing."""


def _no_rules(_obj: Object, _before: Object | None) -> Iterable[Cause]:
    return ()


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind, `Deployment`, and its resource, `deployments`.

    `default` fills in what the API server would. `validate` yields the rules that an object breaks beyond its schema
    and its names; on an update it is also given the object before. `binary_fields` hold maps with base64 values.
    `has_generation`: a change of anything but metadata and status counts as a new generation. `selectable_fields` are
    those that a field selector may name besides the name and the namespace. `grace_period` gives the seconds that an
    object has to terminate when it is deleted, None if it is removed at once. `orphans_dependents`: dependents are kept
    by default when an object is deleted. `returns_deleted`: a deletion is answered by the object, not by a Status.
    `custom`: the kind has no schema here, and takes no strategic patches.
    """

    group: str
    version: str
    plural: str
    name: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: Sequence[Column] = ()
    default: Callable[[Object], None] = field(default=_no_defaults, repr=False)
    validate: Callable[[Object, Object | None], Iterable[Cause]] = field(default=_no_rules, repr=False)
    binary_fields: tuple[str, ...] = ()
    has_generation: bool = True
    selectable_fields: tuple[str, ...] = ()
    grace_period: Callable[[Object], int | None] | None = field(default=None, repr=False)
    orphans_dependents: bool = False
    returns_deleted: bool = False
    verbs: tuple[str, ...] = ALL_VERBS
    custom: bool = False

    @property
    def key(self) -> GroupVersionResource:
        return self.group, self.version, self.plural

    @property
    def api_version(self) -> str:
        """`apps/v1`"""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`deployments.apps`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        return self.name.lower()

    @property
    def list_name(self) -> str:
        return f"{self.name}List"


# --- columns


def path_column(name: str, path: str, *, default: Any = NONE, wide: bool = False, type: str = "string") -> Column:
    """Build a column that shows the value at a path (`status.phase`), or `default` where it is missing or empty."""
    fields = path.split(".")

    def cell(obj: Object, _: datetime) -> Any:
        value = at_path(obj, fields)
        return default if value is None or value == "" else value

    return Column(name, cell, wide, type)


def count_column(name: str, path: str) -> Column:
    return path_column(name, path, default=0, type="integer")


def computed_column(name: str, cell: Callable[[Object], Any], *, wide: bool = False, type: str = "string") -> Column:
    """Build a column whose cell does not depend on the time."""
    return Column(name, lambda obj, _: cell(obj), wide, type)


def container_columns(path: str) -> tuple[Column, Column]:
    """Build the wide columns with the names and the images of the containers in the pod spec at a path."""
    fields = [*path.split("."), "containers"]

    def joined(field: str) -> Callable[[Object], str]:
        return lambda obj: ",".join(str(container.get(field, "")) for container in at_path(obj, fields) or ())

    return (
        computed_column("Containers", joined("name"), wide=True),
        computed_column("Images", joined("image"), wide=True),
    )


def selector_column(path: str = "spec.selector") -> Column:
    fields = path.split(".")
    return computed_column("Selector", lambda obj: format_selector(at_path(obj, fields)) or NONE, wide=True)


def format_pairs(values: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items())) or NONE


def human_duration(seconds: float) -> str:
    """Format a duration as kubectl does: 45s, 3m12s, 5h, 2d (k8s.io/apimachinery duration.HumanDuration)."""
    whole = max(int(seconds), 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def duration_since(text: str | None, now: datetime) -> str:
    return "<unknown>" if not text else human_duration((now - parse_time(text)).total_seconds())


def _age(obj: Object, now: datetime) -> str:
    return duration_since(obj["metadata"].get("creationTimestamp"), now)


AGE = Column("Age", _age)
