"""A text of the team file in one language or several."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

ONLY = ""  # the key of a text that exists in one unnamed language


def _one_language(value: Any) -> Any:
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
