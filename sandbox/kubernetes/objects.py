"""API objects as plain JSON: their common fields, quantities, and the label selectors that they carry."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]  # namespace ("" for an object of the whole cluster), name

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # of generated names: no vowels, so no words
QUANTITY_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
                     "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}  # fmt: skip


# --- metadata


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    """Return the namespace, or "" for an object of the whole cluster."""
    return str(obj["metadata"].get("namespace", ""))


def key_of(obj: Object) -> Key:
    return namespace_of(obj), name_of(obj)


def uid_of(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def labels_of(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def is_terminating(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def controller_of(obj: Object) -> Object | None:
    """Return the owner reference to the controller that made the object."""
    references: list[Object] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)


def controller_named(obj: Object, kind: str) -> str | None:
    """Return the name of the controller of this kind that made the object."""
    reference = controller_of(obj)
    return str(reference["name"]) if reference and reference["kind"] == kind else None


def owner_reference(owner: Object) -> Object:
    """Build the reference to `owner` that an object made by its controller carries."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def name_suffix(text: str, length: int) -> str:
    """Derive the random-looking end of a generated name from `text`; the same text gives the same suffix."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest[:length])


# --- status


def status_of(obj: Object) -> Object:
    status: Object = obj.get("status") or {}
    return status


def condition(obj: Object, type: str) -> Object | None:
    """Return the condition of that type in the object's status."""
    conditions: list[Object] = status_of(obj).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == type), None)


def is_true(obj: Object, type: str) -> bool:
    """Return True if the condition of that type has the status True."""
    present = condition(obj, type)
    return present is not None and present["status"] == "True"


def timestamp(at: datetime) -> str:
    """Format a time in RFC 3339 to the second, as the API does."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- JSON


def deep_copy(obj: Object) -> Object:
    """Copy an object so that it may be changed; what the store returns must not be."""
    return {field: _copy(value) for field, value in obj.items()}


def _copy(value: Any) -> Any:
    """Do what `copy.deepcopy` does, five times as fast because JSON has no cycles and no classes."""
    if isinstance(value, dict):
        return {field: _copy(inner) for field, inner in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def at_path(obj: Any, path: Iterable[str]) -> Any:
    """Return the value at a path of field names, or None if there is none."""
    for field in path:
        obj = obj.get(field) if isinstance(obj, Mapping) else None
    return obj


# --- quantities
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/


def parse_quantity(text: str | int | float) -> float:
    """Parse `250m` to 0.25, `512Mi` to 536870912. Raises ValueError for what is no quantity."""
    if isinstance(text, int | float):
        return float(text)
    digits = text.rstrip("numkMGTi")
    if (suffix := text[len(digits) :]) not in QUANTITY_SUFFIXES:
        raise ValueError(f"no quantity: {text}")
    return float(digits) * QUANTITY_SUFFIXES[suffix]


def format_cores(value: float) -> str:
    return f"{round(value * 1e9)}n"


def format_bytes(value: float) -> str:
    return f"{round(value / 1024)}Ki"


def scaled_value(value: int | str, total: int, *, round_up: bool) -> int:
    """Resolve an int-or-percent field: the number itself, or the percentage of `total`."""
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * total / 100
    return math.ceil(exact) if round_up else math.floor(exact)


# --- label selectors
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors


def selector_matches(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Return True if a LabelSelector selects the labels; an empty one selects all, None selects nothing."""
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression_matches(expression, labels) for expression in selector.get("matchExpressions") or ())


def _expression_matches(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def format_selector(selector: Object | None) -> str:
    """Format a LabelSelector as the query text that means the same."""
    present = selector or {}
    requirements = [f"{key}={value}" for key, value in sorted((present.get("matchLabels") or {}).items())]
    for expression in present.get("matchExpressions") or ():
        match expression["operator"]:
            case "In" | "NotIn" as operator:
                values = ",".join(expression.get("values") or ())
                requirements.append(f"{expression['key']} {operator.lower()} ({values})")
            case "Exists":
                requirements.append(expression["key"])
            case _:
                requirements.append(f"!{expression['key']}")
    return ",".join(requirements)
