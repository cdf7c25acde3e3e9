"""YAML as it is read everywhere: no tag constructs anything, and libyaml does it, eight times as fast, where it is."""

from __future__ import annotations

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> Any:
    """What the text says, as plain values. Raises yaml.YAMLError."""
    return yaml.load(text, LOADER)  # noqa: S506 - it is a safe loader


def compose(text: str) -> yaml.Node | None:
    """What the text says, with the line and column of each part. Raises yaml.YAMLError."""
    return yaml.compose(text, LOADER)
