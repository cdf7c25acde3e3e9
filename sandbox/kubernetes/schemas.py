"""Schemas of the kinds, read off the official client's models, and validation of objects against them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from sandbox.kubernetes.errors import decoding_failed, internal_error, invalid, invalid_patch_result
from sandbox.kubernetes.kinds import Cause, Kind
from sandbox.kubernetes.objects import Object, labels_of, name_of

MODEL_NAMES = {("", "Event"): "CoreV1Event"}
LIST_TYPE = re.compile(r"list\[(.+)\]", re.IGNORECASE)
MAP_TYPE = re.compile(r"dict\((?:str|string), (.+)\)|dict\[str, (.+)\]", re.IGNORECASE)
VERSION_PREFIX = re.compile(r"^V\d+((alpha|beta)\d+)?")
QUANTITY_MAPS = ("limits", "requests", "capacity", "allocatable", "hard")  # whose values may be numbers
GO_TYPES = {"int": "int32", "bool": "bool", "str": "string"}
APPLY_TYPES = {"int32": "numeric (int or float)", "bool": "boolean"}  # as errors of server-side apply name them

STRICT, WARN = "Strict", "Warn"  # the field validation that a client asks for; the third is Ignore

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


# --- validation of objects


def decode(kind: Kind, obj: Object, mode: str, warnings: list[str], *, from_patch: bool = False) -> Object:
    """Return the object as the server keeps it, without fields that its kind does not have.

    With `mode` Warn these fields are appended to `warnings`. Raises StatusError 400 for a value of a wrong type, and
    for an unknown field with `mode` Strict; 422 when the object is the result of a patch.
    """
    errors = [
        f"json: cannot unmarshal {mismatch.actual} into Go struct field {mismatch.path} of type {mismatch.expected}"
        for mismatch in _type_mismatches(kind, obj)
    ]
    if not all(_is_base64(obj.get(field)) for field in kind.binary_fields):
        errors.append("illegal base64 data at input byte 0")
    unknown = [f'unknown field "{path}"' for path in _unknown_fields(kind, obj)]
    if unknown and mode == STRICT:
        errors.append(f"strict decoding error: {', '.join(unknown)}")
    if errors:
        raise invalid_patch_result(obj, errors[0]) if from_patch else decoding_failed(kind, errors[0])
    if mode == WARN:
        warnings += unknown
    if not has_schema(kind):
        return obj
    pruned: Object = _prune(obj, model_name(kind))
    return pruned


def check_applied(kind: Kind, obj: Object) -> None:
    """Raise StatusError 500 if what is applied does not fit its schema: server-side apply has no better code."""
    errors = [
        f".{mismatch.path.partition('.')[2]}: expected {APPLY_TYPES.get(mismatch.expected, mismatch.expected)}, "
        f"got {mismatch.actual}"
        for mismatch in _type_mismatches(kind, obj)
    ]
    errors += [f".{path}: field not declared in schema" for path in _unknown_fields(kind, obj)]
    if errors:
        name, namespace = (obj["metadata"].get(field, "") for field in ("name", "namespace"))
        location = f"{namespace}/{name}; {kind.api_version}, Kind={kind.name}"
        raise internal_error(f"failed to create typed patch object ({location}): {errors[0]}")


def validate(kind: Kind, obj: Object, before: Object | None = None) -> None:
    """Raise StatusError 422 for an object, with its defaults, that breaks a rule. `before` is given on an update."""
    rules = (_required_fields(kind, obj), _metadata_rules(obj), kind.validate(obj, before))
    causes = list(dict.fromkeys(cause for rule in rules for cause in rule))
    if causes:
        raise invalid(kind, str(obj["metadata"].get("name", "")), causes)


def _required_fields(kind: Kind, obj: Object) -> Iterator[Cause]:
    if has_schema(kind):
        for path in _missing(_without_status(obj), model_name(kind)):
            yield path, "Required value"


def _metadata_rules(obj: Object) -> Iterator[Cause]:
    name = name_of(obj)
    if not NAME.fullmatch(name) or len(name) > 253:
        yield "metadata.name", f'Invalid value: "{name}": {NAME_RULE}'
    for value in labels_of(obj).values():
        if len(value) > 63:
            yield "metadata.labels", f'Invalid value: "{value}": must be no more than 63 bytes'
        elif not LABEL.fullmatch(value):
            yield "metadata.labels", f'Invalid value: "{value}": {LABEL_RULE}'


def _is_base64(data: Any) -> bool:
    try:
        return all(base64.b64decode(value, validate=True) is not None for value in (data or {}).values())
    except ValueError:
        return False


# --- reading the models


def has_schema(kind: Kind) -> bool:
    return not kind.custom and model(model_name(kind)) is not None


def model_name(kind: Kind) -> str:
    """`V1Deployment`"""
    return MODEL_NAMES.get((kind.group, kind.name), f"{kind.version[0].upper()}{kind.version[1:]}{kind.name}")


@cache
def model(name: str) -> Any:
    """Return the client's class of that name, or None. The client is imported here, because that takes 0.4 s."""
    import kubernetes.aio.client as models

    return getattr(models, name, None)


def field_types(name: str) -> dict[str, str] | None:
    """Return the types of a model's JSON fields; None for what is no model (a plain or free value)."""
    cls = model(name)
    if cls is None or not hasattr(cls, "attribute_map"):
        return None
    return {cls.attribute_map[attribute]: type for attribute, type in cls.openapi_types.items()}


def field_descriptions(name: str) -> dict[str, str]:
    return {
        field.serialization_alias or attribute: field.description or ""
        for attribute, field in model(name).model_fields.items()
    }


def required_fields(name: str) -> list[str]:
    return [
        field.serialization_alias or attribute
        for attribute, field in model(name).model_fields.items()
        if field.is_required()
    ]


def element_type(type: str) -> tuple[str, str]:
    """Split a type into its container ("list", "dict" or "" for none) and the type of the elements."""
    if match := LIST_TYPE.fullmatch(type):
        return "list", match[1]
    if match := MAP_TYPE.fullmatch(type):
        return "dict", match[1] or match[2]
    return "", type


def json_type(value: Any) -> str:
    """Return the name of a value's JSON type as Go's errors have it."""
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


# --- walking an object along its schema


@dataclass(frozen=True)
class Mismatch:
    """A value of a wrong type: Go's struct and the path, its JSON type, the Go type that the schema has."""

    path: str
    actual: str
    expected: str


def _without_status(obj: Object) -> Object:
    return {field: value for field, value in obj.items() if field != "status"}


def _type_mismatches(kind: Kind, obj: Object) -> list[Mismatch]:
    return list(_mismatches(_without_status(obj), model_name(kind))) if has_schema(kind) else []


def _unknown_fields(kind: Kind, obj: Object) -> list[str]:
    return list(_unknown(_without_status(obj), model_name(kind))) if has_schema(kind) else []


def _mismatches(value: Any, type: str, path: str = "", struct: str = "") -> Iterator[Mismatch]:
    container, element = element_type(type)
    if value is None:
        return
    if container == "list":
        if not isinstance(value, list):
            yield Mismatch(f"{struct}.{path}", json_type(value), "slice")
            return
        for item in value:
            yield from _mismatches(item, element, path, struct)
    elif container == "dict":
        if not isinstance(value, dict):
            yield Mismatch(f"{struct}.{path}", json_type(value), "map")
            return
        for key, inner in value.items():
            if not (path.rpartition(".")[2] in QUANTITY_MAPS and isinstance(inner, int | float)):
                yield from _mismatches(inner, element, f"{path}.{key}", struct)
    elif (types := field_types(element)) is not None:
        if not isinstance(value, dict):
            yield Mismatch(f"{struct}.{path}", json_type(value), element)
            return
        for field, inner in value.items():
            if field in types:
                yield from _mismatches(inner, types[field], _join(path, field), VERSION_PREFIX.sub("", element))
    elif element in GO_TYPES and not _is_of_type(value, element):
        yield Mismatch(f"{struct}.{path}", json_type(value), GO_TYPES[element])


def _is_of_type(value: Any, type: str) -> bool:
    match type:
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _missing(value: Any, type: str, path: str = "") -> Iterator[str]:
    """Yield the paths of required fields that are not set."""
    container, element = element_type(type)
    if container == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _missing(item, element, f"{path}[{index}]")
    elif isinstance(value, dict) and container == "" and (types := field_types(element)) is not None:
        for field in required_fields(element):
            if value.get(field) is None:
                yield _join(path, field)
        for field, inner in value.items():
            if field in types:
                yield from _missing(inner, types[field], _join(path, field))


def _unknown(value: Any, type: str, path: str = "") -> Iterator[str]:
    """Yield the paths of fields that the type does not have (`spec.template.spec.nodeSelectr`)."""
    container, element = element_type(type)
    if container == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, element, f"{path}[{index}]")
    elif container == "dict" and isinstance(value, dict):
        for key, inner in value.items():
            yield from _unknown(inner, element, f"{path}.{key}")
    elif isinstance(value, dict) and (types := field_types(element)) is not None:
        for field, inner in value.items():
            if field not in types:
                yield _join(path, field)
            else:
                yield from _unknown(inner, types[field], _join(path, field))


def _prune(value: Any, type: str) -> Any:
    """Return `value` as the API server keeps it: without unknown fields, nulls, and empty lists and maps."""
    container, element = element_type(type)
    if container == "list" and isinstance(value, list):
        return [_prune(item, element) for item in value]
    if container == "dict" and isinstance(value, dict):
        return {key: _prune(inner, element) for key, inner in value.items()}
    if isinstance(value, dict) and (types := field_types(element)) is not None:
        return {
            field: _prune(inner, types[field])
            for field, inner in value.items()
            if field in types and inner is not None and (inner or element_type(types[field])[0] == "")
        }
    return value


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
