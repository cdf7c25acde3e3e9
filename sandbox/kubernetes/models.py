"""What an object of a kind may say, read off the official client's models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object

OTHER_NAMES = {("", "Event"): "CoreV1Event", ("events.k8s.io", "Event"): "EventsV1Event"}
_LIST = re.compile(r"list\[(.+)\]", re.IGNORECASE)
_DICT = re.compile(r"dict\((?:str|string), (.+)\)|dict\[str, (.+)\]", re.IGNORECASE)
VERSION = re.compile(r"^V\d+((alpha|beta)\d+)?")
QUANTITIES = ("limits", "requests", "capacity", "allocatable", "hard")  # maps whose values may be numbers
GO = {"int": "int32", "bool": "bool", "str": "string"}


def model_name(kind: Kind) -> str:
    """`V1Deployment`"""
    return OTHER_NAMES.get((kind.group, kind.name), f"{kind.version[0].upper()}{kind.version[1:]}{kind.name}")


@cache
def model(name: str) -> Any:
    """The client's class of that name, or None. The client is imported here, because that takes 0.4 s."""
    import kubernetes.aio.client as models

    return getattr(models, name, None)


def fields(name: str) -> dict[str, str] | None:
    """The JSON fields of a model with their types; None for what is no model (a plain or free value)."""
    found = model(name)
    if found is None or not hasattr(found, "attribute_map"):
        return None
    return {found.attribute_map[python]: kind for python, kind in found.openapi_types.items()}


def described(name: str) -> dict[str, str]:
    """What each JSON field of a model is for."""
    found = model(name)
    return {
        field.serialization_alias or python: field.description or "" for python, field in found.model_fields.items()
    }


def required(name: str) -> list[str]:
    found = model(name)
    return [field.serialization_alias or python for python, field in found.model_fields.items() if field.is_required()]


def inner(kind: str) -> tuple[str, str]:
    """What a type is made of: ("list" | "dict" | "", the type of its elements)."""
    if found := _LIST.fullmatch(kind):
        return "list", found[1]
    if found := _DICT.fullmatch(kind):
        return "dict", found[1] or found[2]
    return "", kind


def unknown(value: Any, kind: str, at: str = "") -> Iterator[str]:
    """The paths of fields that the type does not have (`spec.template.spec.nodeSelectr`)."""
    shape, of = inner(kind)
    if shape == "list" and isinstance(value, list):
        for index, one in enumerate(value):
            yield from unknown(one, of, f"{at}[{index}]")
    elif shape == "dict" and isinstance(value, dict):
        for key, one in value.items():
            yield from unknown(one, of, f"{at}.{key}")
    elif isinstance(value, dict) and (known := fields(of)) is not None:
        for key, one in value.items():
            path = f"{at}.{key}" if at else key
            if key not in known:
                yield path
            else:
                yield from unknown(one, known[key], path)


def pruned(value: Any, kind: str) -> Any:
    """`value` as the API server keeps it: without unknown fields, nulls, and empty lists and maps."""
    shape, of = inner(kind)
    if shape == "list" and isinstance(value, list):
        return [pruned(one, of) for one in value]
    if shape == "dict" and isinstance(value, dict):
        return {key: pruned(one, of) for key, one in value.items()}
    if isinstance(value, dict) and (known := fields(of)) is not None:
        return {
            key: pruned(one, known[key]) for key, one in value.items() if key in known and _is_kept(one, known[key])
        }
    return value


def _is_kept(value: Any, kind: str) -> bool:
    return value is not None and (bool(value) or inner(kind)[0] == "")


def wrong(value: Any, kind: str, at: str = "", struct: str = "") -> Iterator[tuple[str, str, str]]:
    """Fields of a wrong type: (Go's struct and the path, what stands there, what Go would have there)."""
    shape, of = inner(kind)
    if value is None:
        return
    if shape == "list":
        if not isinstance(value, list):
            yield f"{struct}.{at}", json_name(value), "slice"
            return
        for one in value:
            yield from wrong(one, of, at, struct)
    elif shape == "dict":
        if not isinstance(value, dict):
            yield f"{struct}.{at}", json_name(value), "map"
            return
        for key, one in value.items():
            if not (at.rpartition(".")[2] in QUANTITIES and isinstance(one, int | float)):
                yield from wrong(one, of, f"{at}.{key}", struct)
    elif (known := fields(of)) is not None:
        if not isinstance(value, dict):
            yield f"{struct}.{at}", json_name(value), of
            return
        for key, one in value.items():
            if key in known:
                yield from wrong(one, known[key], f"{at}.{key}" if at else key, VERSION.sub("", of))
    elif of in GO and not _fits(value, of):
        yield f"{struct}.{at}", json_name(value), GO[of]


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def missing(value: Any, kind: str, at: str = "") -> Iterator[str]:
    """The paths of required fields that are not there."""
    shape, of = inner(kind)
    if shape == "list" and isinstance(value, list):
        for index, one in enumerate(value):
            yield from missing(one, of, f"{at}[{index}]")
    elif isinstance(value, dict) and shape == "" and (known := fields(of)) is not None:
        for key in required(of):
            if value.get(key) is None:
                yield f"{at}.{key}" if at else key
        for key, one in value.items():
            if key in known:
                yield from missing(one, known[key], f"{at}.{key}" if at else key)


def is_known(kind: Kind) -> bool:
    return not kind.custom and model(model_name(kind)) is not None


def check(kind: Kind, obj: Object) -> tuple[list[tuple[str, str, str]], list[str], list[str]]:
    """What is wrong with an object by its type: wrong types, missing fields, unknown fields."""
    if not is_known(kind):
        return [], [], []
    name = model_name(kind)
    said = {key: value for key, value in obj.items() if key != "status"}
    return list(wrong(said, name)), list(missing(said, name)), list(unknown(said, name))
