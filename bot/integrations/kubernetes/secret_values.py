"""Kubernetes Secrets in diffs: which keys there are and which change, never a value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.redaction.shapes import HIDDEN

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_CONTENTS = ("data", "stringData")

Object = dict[str, Any]
Key = tuple[str, str, str, str]  # namespace, name, section, key


def hide_in_documents(before: Sequence[Object], after: Sequence[Object]) -> tuple[list[Object], list[Object]]:
    """Return the objects before and after a change without the values of Secrets, wherever in them they stand.

    A value that changes is `*** (before)` and `*** (after)`, so that a diff still shows which keys change.
    """
    sides = []
    for side, other, when in ((before, after, "before"), (after, before, "after")):
        others = dict(_values_of(list(other)))
        sides.append([_hidden(document, others, when) for document in side])
    return sides[0], sides[1]


def hide_in_objects(before: Object, after: Object) -> tuple[Object, Object]:
    """Do the same with one object before and after; `{}` stands for no object."""
    old, new = hide_in_documents([before], [after])
    return old[0], new[0]


def _values_of(content: Any) -> Iterator[tuple[Key, Any]]:
    """Yield the values of every Secret in an object, also of those in a list."""
    if isinstance(content, Mapping):
        if content.get("kind") == "Secret":
            for section in _CONTENTS:
                for key, value in _mapping(content.get(section)).items():
                    yield (*_name(content), section, str(key)), value
        for value in content.values():
            yield from _values_of(value)
    elif isinstance(content, list):
        for value in content:
            yield from _values_of(value)


def _hidden(content: Any, others: Mapping[Key, Any], when: str) -> Any:
    if isinstance(content, list):
        return [_hidden(value, others, when) for value in content]
    if not isinstance(content, Mapping):
        return content
    hidden = {key: _hidden(value, others, when) for key, value in content.items()}
    if isinstance(applied := hidden.get(LAST_APPLIED), str) and "Secret" in applied:
        hidden[LAST_APPLIED] = _applied(applied, others, when)
    if content.get("kind") == "Secret":
        for section in _CONTENTS:
            if section in content:
                hidden[section] = {
                    key: _shown(others, (*_name(content), section, str(key)), value, when)
                    for key, value in _mapping(content[section]).items()
                }
    return hidden


def _applied(text: str, others: Mapping[Key, Any], when: str) -> str:
    try:
        return json.dumps(_hidden(json.loads(text), others, when), ensure_ascii=False)
    except ValueError:
        return HIDDEN


def _shown(others: Mapping[Key, Any], key: Key, value: Any, when: str) -> str:
    return f"{HIDDEN} ({when})" if key in others and others[key] != value else HIDDEN


def _name(content: Mapping[str, Any]) -> tuple[str, str]:
    metadata = _mapping(content.get("metadata"))
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
