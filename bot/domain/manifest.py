"""A change of a workload as an edit of its manifest's text: only the values change, comments and layout stay."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Step = str | Mapping[str, str]  # a key, or what an item of a list is known by, such as its name


@dataclass(frozen=True, slots=True)
class Field:
    """A scalar of a manifest that is there, and the value that it should have."""

    path: tuple[Step, ...]
    value: str | int


def fields_of(effect: str, facts: Mapping[str, Any]) -> list[Field] | None:
    """Return the fields that an effect sets in a workload's manifest; None if it is no change of values in it."""
    pod: tuple[Step, ...] = ("spec", "template", "spec")
    match effect:
        case "kubernetes.scale":
            return [Field(("spec", "replicas"), int(facts["replicas"]))]
        case "kubernetes.set_env":
            container = (*pod, "containers", {"name": str(facts["container"])}, "env")
            values = facts["variables"]
            if any(value is None for value in values.values()):
                return None
            return [Field((*container, {"name": name}, "value"), str(value)) for name, value in values.items()]
        case "kubernetes.set_node_selector":
            labels = facts["selector"]
            if any(value is None for value in labels.values()):
                return None
            return [Field((*pod, "nodeSelector", name), str(value)) for name, value in labels.items()]
    return None


def edited(text: str, kind: str, name: str, namespace: str, fields: Sequence[Field]) -> str | None:
    """Return the text with the fields set in the manifest of this object; the same text if they are so already.

    None if the text has no such manifest, is no plain YAML (a template), or lacks one of the fields: then nobody can
    say where it would have to go.
    """
    try:
        for node in yaml.compose_all(text, yaml.SafeLoader):
            if node is not None and _is(node, kind, name, namespace):
                return _set(text, node, fields)
    except yaml.YAMLError:
        return None
    return None


def edited_values(text: str, path: str, value: int) -> str | None:
    """Return a Helm chart's values with one of them set, by its dotted path; None as `edited`."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    return _set(text, node, [Field(tuple(path.split(".")), value)]) if node is not None else None


def builds_otherwise(files: Mapping[str, str]) -> bool:
    """Return True if a folder's Kustomization changes what its manifests say, by file name."""
    for name in ("kustomization.yaml", "kustomization.yml", "Kustomization"):
        if name in files:
            try:
                said = yaml.safe_load(files[name])
            except yaml.YAMLError:
                return True
            return not isinstance(said, dict) or bool(
                said.keys() - {"apiVersion", "kind", "metadata", "resources", "namespace", "labels"}
            )
    return False


def _is(node: yaml.Node, kind: str, name: str, namespace: str) -> bool:
    said = [_found(node, path) for path in (("kind",), ("metadata", "name"), ("metadata", "namespace"))]
    values = [one.value if isinstance(one, yaml.ScalarNode) else None for one in said]
    return values[:2] == [kind, name] and values[2] in (None, namespace)


def _found(node: yaml.Node, path: Sequence[Step]) -> yaml.Node | None:
    for step in path:
        child = next(_children(node, step), None)
        if child is None:
            return None
        node = child
    return node


def _children(node: yaml.Node, step: Step) -> Iterator[yaml.Node]:
    if isinstance(step, str):
        if isinstance(node, yaml.MappingNode):
            yield from (value for key, value in node.value if key.value == step)
        return
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            known = [(_found(item, (key,)), value) for key, value in step.items()]
            if all(isinstance(at, yaml.ScalarNode) and at.value == value for at, value in known):
                yield item


def _set(text: str, root: yaml.Node, fields: Sequence[Field]) -> str | None:
    places: list[tuple[int, int, str]] = []
    for field in fields:
        node = _found(root, field.path)
        if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
            return None
        if node.value != str(field.value):
            places.append((node.start_mark.index, node.end_mark.index, _written(field.value, node)))
    for start, end, new in sorted(places, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _written(value: str | int, before: yaml.ScalarNode) -> str:
    """Return a value as YAML that is read as the same type: plain where the one before it was, and it can be."""
    if isinstance(value, int):
        return str(value)
    if before.style is None:
        try:
            if yaml.safe_load(f"- {value}") == [value]:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)
