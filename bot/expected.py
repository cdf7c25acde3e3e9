"""What a value must be, as a key of the labels (`expected.integer`), instead of pydantic's English sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
