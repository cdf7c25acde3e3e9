"""Label and field selectors, as text of a query and as objects.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sandbox.kubernetes.objects import Object, at_path
from sandbox.kubernetes.problems import bad_request

Labels = Mapping[str, str]
Matches = Callable[[Labels], bool]

_KEY = r"(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)"
_SET = re.compile(rf"{_KEY}\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(rf"{_KEY}\s*(?P<op>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)")
_EXISTS = re.compile(rf"(?P<not>!?)\s*{_KEY}")
_COMMA = re.compile(r",(?![^(]*\))")
EVERYWHERE = ("metadata.name", "metadata.namespace")
_FIELD = re.compile(r"(?P<path>[A-Za-z0-9_.\[\]]+)\s*(?P<op>==|=|!=)\s*(?P<value>.*)")


def label_selector(text: str) -> Matches:
    """Whether labels fit `app=web,tier in (a, b),!canary`. Problem 400 when it cannot be read."""
    requirements = [_requirement(part.strip()) for part in _COMMA.split(text) if part.strip()]
    return lambda labels: all(requirement(labels) for requirement in requirements)


def _requirement(text: str) -> Matches:
    if found := _SET.fullmatch(text):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.fullmatch(text):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.fullmatch(text):
        key, absent = found["key"], bool(found["not"])
        return lambda labels: (key in labels) is not absent
    raise bad_request(f'unable to parse requirement: found "{text}"')


def field_selector(text: str, known: Sequence[str]) -> Callable[[Object], bool]:
    """Whether an object fits `metadata.name=web,status.phase!=Running`.

    Problem 400 when it cannot be read, or names another field than `known` and those that every kind has.
    """
    requirements = [_field(part.strip(), known) for part in text.split(",") if part.strip()]
    return lambda obj: all(requirement(obj) for requirement in requirements)


def _field(text: str, known: Sequence[str]) -> Callable[[Object], bool]:
    found = _FIELD.fullmatch(text)
    if found is None:
        raise bad_request(f'invalid field selector: "{text}"; can\'t understand')
    name = found["path"]
    if name not in (*EVERYWHERE, *known):
        only = ", ".join(f'"{one}"' for one in EVERYWHERE)
        unknown = (
            f"field label not supported: {name}" if known else f'"{name}" is not a known field selector: only {only}'
        )
        raise bad_request(unknown)
    path, value, equal = name.split("."), found["value"], found["op"] != "!="
    return lambda obj: (_text(at_path(obj, path)) == value) is equal


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def selects(selector: Object | None, labels: Labels) -> bool:
    """Whether a LabelSelector object fits labels; an empty one fits all, None none."""
    if selector is None:
        return False
    wanted: Labels = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(one, labels) for one in selector.get("matchExpressions") or ())


def _expression(one: Object, labels: Labels) -> bool:
    key, values = one["key"], one.get("values") or ()
    match one["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def as_text(selector: Object | None) -> str:
    """A LabelSelector object in the words of a query."""
    chosen = selector or {}
    parts = [f"{key}={value}" for key, value in sorted((chosen.get("matchLabels") or {}).items())]
    for one in chosen.get("matchExpressions") or ():
        match one["operator"]:
            case "In" | "NotIn" as operator:
                parts.append(f"{one['key']} {operator.lower()} ({','.join(one.get('values') or ())})")
            case "Exists":
                parts.append(one["key"])
            case _:
                parts.append(f"!{one['key']}")
    return ",".join(parts)
