"""A text of the team file in one language or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

ONLY = ""  # the key of a text that exists in one unnamed language


def _one_language(value: Any) -> Any:
    if not isinstance(value, str | Mapping):
        raise ValueError("must be a text, or one for each language: {en: …, es: …}")
    return {ONLY: value} if isinstance(value, str) else value


Translated = Annotated[
    dict[str, str],
    BeforeValidator(_one_language),
    WithJsonSchema(
        {
            "description": "a text, or one for each language: {en: …, es: …}",
            "anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}],
        }
    ),
]


def in_language(texts: Mapping[Any, str], locale: str) -> str:
    """Return the text in this language; else in the only one, or in any; empty if there is none."""
    return texts.get(locale) or texts.get(ONLY) or next(iter(texts.values()), "")
