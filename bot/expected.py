"""What a value must be, instead of pydantic's sentences: as a key of the labels (`expected.integer`) for what people
type, in words for a line about a file or a setting.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from bot.domain.nearest import nearest
from bot.names import FORMS

_KINDS = {
    "bool_parsing": "boolean",
    "bool_type": "boolean",
    "enum": "one_of",
    "float_parsing": "number",
    "float_type": "number",
    "greater_than": "more_than",
    "greater_than_equal": "at_least",
    "int_from_float": "integer",
    "int_parsing": "integer",
    "int_parsing_size": "integer",
    "int_type": "integer",
    "less_than": "less_than",
    "less_than_equal": "at_most",
    "list_type": "list",
    "literal_error": "one_of",
    "dict_type": "pairs",
    "model_attributes_type": "pairs",
    "model_type": "pairs",
    "string_pattern_mismatch": "form",
    "string_too_long": "at_most_characters",
    "string_too_short": "at_least_characters",
    "string_type": "text",
    "time_delta_parsing": "duration",
    "time_delta_type": "duration",
    "timezone_aware": "moment",
    "too_short": "at_least_items",
    "too_long": "at_most_items",
    "url_parsing": "url",
    "url_scheme": "url",
}
_LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length", "expected", "pattern")


def expectation(error: Mapping[str, Any], value: object = "") -> dict[str, Any]:
    """Return the facts of one of pydantic's errors: `kind`, a key of `expected` in the labels, and its `limit`."""
    context = error.get("ctx") or {}
    kind = _KINDS.get(error["type"])
    if kind is None:
        date_or_time = error["type"].startswith(("date", "time"))
        kind = "moment" if date_or_time else "duration" if "duration" in str(error.get("msg")) else "other"
    if kind == "form":
        kind = FORMS.get(context["pattern"], kind)
    limit = next((context[name] for name in _LIMITS if name in context), "")
    return {"kind": kind, "limit": str(limit)}


_IN_A_FILE = {  # by the kind of `expectation`; a mapping and a list are written otherwise on a command line
    "at_least": "must be {limit} or more",
    "at_least_characters": "must have {limit} characters or more",
    "at_least_items": "must have {limit} or more items",
    "at_most": "must be {limit} or less",
    "at_most_characters": "must have at most {limit} characters",
    "at_most_items": "must have at most {limit} items",
    "boolean": "must be true or false",
    "duration": "must be a duration, such as 30s, 15m or 2h",
    "form": "must have the form {limit}",
    "integer": "must be a whole number, such as 3",
    "less_than": "must be less than {limit}",
    "list": "must be a list: [one, two]",
    "moment": "must be a date or a time, such as 2026-01-07T02:10Z, 2026-01-07 or 09:00",
    "more_than": "must be more than {limit}",
    "name": "must be a name in lower case, with digits and hyphens, such as web-1",
    "number": "must be a number, such as 1.5",
    "one_of": "must be one of {limit}",
    "pairs": "must be a mapping: {{name: value}}",
    "text": "must be a text, in quotes if it looks like a number",
    "url": "must be an address that begins with https:// or http://",
}


def in_words(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return what is wrong with a value of `model`, by one of pydantic's errors; our own sentences stay as they are."""
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        *place, name = error["loc"]
        known = fields_at(model, place)
        near = nearest(str(name), known)
        return f"unknown field `{name}`; " + (f"did you mean `{near}`?" if near else f"expected {', '.join(known)}")
    facts = expectation(error)
    return _IN_A_FILE.get(facts["kind"], "must be another kind of value").format(limit=facts["limit"])


def fields_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Return the names of the fields, as they are written, at a place in a document of this model."""
    kind: Any = model
    for part in place:
        if _is_model(kind):
            field = next((f for name, f in kind.model_fields.items() if part in (name, f.alias)), None)
            kind = field.annotation if field else None
        elif get_origin(kind) in (dict, list) and part != "[key]":
            kind = get_args(kind)[-1]
        kind = _plain(kind)
    return [field.alias or name for name, field in kind.model_fields.items()] if _is_model(kind) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _plain(kind: Any) -> Any:
    """Return the type without `Annotated` and `None`; of several the one that has fields."""
    if hasattr(kind, "__metadata__"):
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [_plain(one) for one in get_args(kind) if one is not type(None)]
        return next(filter(_is_model, kinds), kinds[0])
    return kind
