"""What a kind of object is: its names, its place in the API, its defaults and the columns that kubectl shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.kubernetes.objects import Object

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

Cell = Callable[[Object, datetime], Any]


@dataclass(frozen=True)
class Column:
    """One column of a table; `wide` ones are shown by `-o wide` only."""

    name: str
    cell: Cell
    wide: bool = False
    type: str = "string"


def _nothing(_: Object) -> None:
    """A kind without defaults."""


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind: `name` is Deployment, `plural` deployments; `default` fills in what the API server would.

    `spec_counts` says that a change of anything but metadata and status is a new generation; `fields` are those that a
    field selector may name beside the name and the namespace.
    """

    group: str
    version: str
    plural: str
    name: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: Sequence[Column] = ()
    default: Callable[[Object], None] = field(default=_nothing, repr=False)
    spec_counts: bool = True
    fields: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    custom: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`deployments.apps`, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """`Deployment.apps`, as messages about invalid objects name it."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def singular(self) -> str:
        return self.name.lower()

    @property
    def list_name(self) -> str:
        return f"{self.name}List"
