"""What stands in the cells of kubectl's tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sandbox.kubernetes.kinds import Column
from sandbox.kubernetes.objects import Object, at_path, moment
from sandbox.kubernetes.selectors import as_text

NONE = "<none>"


def duration(seconds: float) -> str:
    """A span as kubectl writes it: 45s, 3m12s, 5h, 2d (k8s.io/apimachinery duration.HumanDuration)."""
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


def since(text: str | None, now: datetime) -> str:
    return "<unknown>" if not text else duration((now - moment(text)).total_seconds())


def _age(obj: Object, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


AGE = Column("Age", _age)


def field(name: str, path: str, *, otherwise: Any = NONE, wide: bool = False, type: str = "string") -> Column:
    """A column that shows the value at a path (`status.phase`)."""
    parts = path.split(".")

    def cell(obj: Object, _: datetime) -> Any:
        value = at_path(obj, parts)
        return otherwise if value is None or value == "" else value

    return Column(name, cell, wide, type)


def count(name: str, path: str) -> Column:
    return field(name, path, otherwise=0, type="integer")


def made(name: str, cell: Callable[[Object], Any], *, wide: bool = False, type: str = "string") -> Column:
    """A column whose cell does not depend on the time."""
    return Column(name, lambda obj, _: cell(obj), wide, type)


def containers(path: str) -> tuple[Column, Column]:
    """The wide columns with the names and the images of the containers under a path."""
    parts = [*path.split("."), "containers"]

    def joined(of: str) -> Callable[[Object], str]:
        return lambda obj: ",".join(str(one.get(of, "")) for one in at_path(obj, parts) or ())

    return made("Containers", joined("name"), wide=True), made("Images", joined("image"), wide=True)


def selector(path: str = "spec.selector") -> Column:
    parts = path.split(".")
    return made("Selector", lambda obj: as_text(at_path(obj, parts)) or NONE, wide=True)


def pairs(values: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items())) or NONE
