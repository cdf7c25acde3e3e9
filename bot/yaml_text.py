"""Parse YAML safely: no tag constructs objects; libyaml's parser, eight times as fast, where it is installed."""

from __future__ import annotations

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> Any:
    """Return the document as plain values. Raises yaml.YAMLError."""
    return yaml.load(text, LOADER)  # noqa: S506 - it is a safe loader


def compose(text: str) -> yaml.Node | None:
    """Return the document as nodes with line and column. Raises yaml.YAMLError."""
    return yaml.compose(text, LOADER)
