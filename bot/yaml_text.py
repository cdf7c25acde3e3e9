"""Parse YAML safely: no tag constructs objects; libyaml's parser, eight times as fast, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"  # `<<: *defaults`
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotYaml(Exception):
    """A text that is no YAML document: line and column (1-based) with what is wrong there, for each mistake."""

    def __init__(self, mistakes: list[tuple[int, int, str]]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Document:
    """A document as plain values, and as nodes, which know their places."""

    values: Any
    root: yaml.Node | None


def parse(text: str) -> Document:
    """Return the document that a person has written. Raises NotYaml, also for a key that is there twice: YAML would
    silently take the last one.
    """
    try:
        root = yaml.compose(text, LOADER)
        twice = list(_duplicate_keys(root))
        values = load(text)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise NotYaml([(*at, f"is not valid YAML: {problem.problem or 'unreadable'}")]) from None
    except RecursionError:
        raise NotYaml([(1, 1, "is nested too deeply, or contains itself")]) from None
    except yaml.reader.ReaderError as problem:
        before = text[: int(problem.position)].splitlines() or [""]
        raise NotYaml([(len(before), len(before[-1]) + 1, "is not valid YAML: a character that it forbids")]) from None
    except (yaml.YAMLError, ValueError) as problem:  # such as a date that there is not
        raise NotYaml([(1, 1, f"is not valid YAML: {' '.join(str(problem).split())}")]) from None
    if twice:
        raise NotYaml([(*at, f"duplicate key `{key}`") for key, at in twice])
    return Document(values, root)


def _duplicate_keys(node: yaml.Node | None) -> Iterator[tuple[str, tuple[int, int]]]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicate_keys(item)
    elif isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if str(key.value) in keys and key.tag != MERGE:
                yield str(key.value), (key.start_mark.line + 1, key.start_mark.column + 1)
            keys.add(str(key.value))
            yield from _duplicate_keys(value)


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
