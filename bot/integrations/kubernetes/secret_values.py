"""Kubernetes Secrets in manifests and diffs: which keys there are and which change, never a value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from bot import yaml_text
from bot.redaction import HIDDEN

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_CONTENTS = ("data", "stringData")
_SEPARATOR = re.compile(r"(?m)^---[^\n]*\n?")
_MENTIONED = re.compile(r"\bkind[\"']?\s*:\s*[\"']?Secret\b|\"Secret\"")
_UNREADABLE = f"# a Secret that cannot be read: {HIDDEN}\n"

Key = tuple[str, str, str, str]  # namespace, name, section, key


def hide_in_manifests(before: str, after: str) -> tuple[str, str]:
    """Return two manifests (YAML, any number of documents) without the values of Secrets.

    A value that changes is `*** (before)` and `*** (after)`, so that a diff still shows which keys change.
    """
    return _without_values(before, _values(after), "before"), _without_values(after, _values(before), "after")


def hide_in_objects(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do the same with two objects."""
    return (
        _hidden(dict(before), dict(_values_of(after)), "before"),
        _hidden(dict(after), dict(_values_of(before)), "after"),
    )


def _without_values(text: str, others: Mapping[Key, Any], when: str) -> str:
    if not _MENTIONED.search(text):
        return text
    pieces: list[str] = []
    at = 0
    for separator in [*_SEPARATOR.finditer(text), None]:
        pieces.append(_document(text[at : separator.start() if separator else len(text)], others, when))
        if separator:
            pieces.append(separator[0])
            at = separator.end()
    return "".join(pieces)


def _document(text: str, others: Mapping[Key, Any], when: str) -> str:
    if not _MENTIONED.search(text):
        return text
    try:
        content = yaml_text.load(text)
    except yaml.YAMLError:
        return _UNREADABLE
    if not isinstance(content, dict):
        return _UNREADABLE
    hidden = _hidden(content, others, when)
    if hidden == content:
        return text
    source = next((line + "\n" for line in text.splitlines() if line.startswith("# Source:")), "")
    return source + yaml.safe_dump(hidden, sort_keys=False, allow_unicode=True)


def _values(text: str) -> dict[Key, Any]:
    values: dict[Key, Any] = {}
    if _MENTIONED.search(text):
        for document in _SEPARATOR.split(text):
            try:
                content = yaml_text.load(document)
            except yaml.YAMLError:
                continue
            values.update(_values_of(content))
    return values


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
    """Return an object without the values of Secrets, wherever in it they stand."""
    if isinstance(content, list):
        return [_hidden(value, others, when) for value in content]
    if not isinstance(content, Mapping):
        return content
    hidden = {key: _hidden(value, others, when) for key, value in content.items()}
    if isinstance(applied := hidden.get(LAST_APPLIED), str) and _MENTIONED.search(applied):
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
