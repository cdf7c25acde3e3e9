"""What the spec of a pod must keep to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.quantities import number

ENVIRONMENT_NAME = re.compile(r"[ -<>-~]+")  # printable ASCII, but no "="

Cause = tuple[str, str]  # the field, and what is wrong with it


def broken(spec: Object, path: str) -> Iterator[Cause]:
    """The rules that a spec which stands at `path` breaks."""
    if not spec.get("containers"):
        yield f"{path}.containers", "Required value"
    for group in ("initContainers", "containers"):
        seen: set[str] = set()
        for index, container in enumerate(spec.get(group) or ()):
            at = f"{path}.{group}[{index}]"
            name = container.get("name", "")
            if name in seen:
                yield f"{at}.name", f'Duplicate value: "{name}"'
            seen.add(name)
            if not container.get("image"):
                yield f"{at}.image", "Required value"
            yield from _environment(container, at)
            yield from _resources(container.get("resources") or {}, at)


def _environment(container: Object, at: str) -> Iterator[Cause]:
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name", "")
        if not ENVIRONMENT_NAME.fullmatch(name):
            rule = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            yield f"{at}.env[{index}].name", f'Invalid value: "{name}": {rule}'


def _resources(resources: Object, at: str) -> Iterator[Cause]:
    limits: Any = resources.get("limits") or {}
    for name, asked in (resources.get("requests") or {}).items():
        if name in limits and number(asked) > number(limits[name]):
            told = f'Invalid value: "{asked}": must be less than or equal to {name} limit of {limits[name]}'
            yield f"{at}.resources.requests", told
