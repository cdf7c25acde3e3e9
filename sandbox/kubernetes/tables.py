"""Objects as the tables that kubectl shows: the cells are made here, on the server.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sandbox.kubernetes.kinds import Column, Kind
from sandbox.kubernetes.objects import Object, name_of
from sandbox.kubernetes.resources.cells import AGE

NAME = Column("Name", lambda obj, _: name_of(obj), type="string")


def is_wanted(accept: str) -> bool:
    return "as=Table" in accept


def table(
    kind: Kind,
    items: Sequence[Object],
    metadata: Object,
    now: datetime,
    include: str = "Metadata",
    *,
    head: bool = True,
) -> Object:
    """A Table; `include` says what goes with each row: the `Object`, its `Metadata` or `None` of it."""
    columns = (NAME, *(kind.columns or (AGE,)))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in columns] if head else None,
        "rows": [
            {"cells": [column.cell(obj, now) for column in columns], "object": _included(obj, include)} for obj in items
        ],
    }


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column is NAME else "",
        "description": column.name,
        "priority": 1 if column.wide else 0,
    }


def _included(obj: Object, include: str) -> Object | None:
    match include:
        case "None":
            return None
        case "Object":
            return obj
        case _:
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
