"""Parse YAML safely: no tag constructs objects; libyaml's parser, eight times as fast, where it is installed."""

from __future__ import annotations

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> Any:
    """Return the document as plain values. Raises yaml.YAMLError."""
    return yaml.load(text, LOADER)  # noqa: S506 - it is a safe loader


def load_all(text: str) -> list[Any]:
    """Return the documents as plain values, without the empty ones. Raises yaml.YAMLError."""
    return [document for document in yaml.load_all(text, LOADER) if document is not None]


def compose(text: str) -> yaml.Node | None:
    """Return the document as nodes with line and column. Raises yaml.YAMLError."""
    return yaml.compose(text, LOADER)


def line_and_column(root: yaml.Node | None, location: tuple[str | int, ...]) -> tuple[int, int]:
    """Return line and column (1-based) of the deepest existing node on the path `location`."""
    node = root
    mark = root.start_mark if root else None
    for part in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    mark, child = key.start_mark, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            mark = child.start_mark
        if child is None:
            break
        node = child
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
