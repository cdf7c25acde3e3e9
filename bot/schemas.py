"""The JSON Schemas of what people write in YAML, for editors and for other teams: `make schema` writes them."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from bot.domain.runbook import Runbook
from bot.domain.times import format_duration as span_as_written
from bot.team import TeamFile

# Each is config/<name>.schema.json. That names exist, and that expressions hold, is checked by the bot alone.
MODELS: dict[str, type[BaseModel]] = {"team": TeamFile, "runbook": Runbook}


class _FileSchema(GenerateJsonSchema):
    """Durations as the files have them (`15m`, `14d`), which pydantic would describe by ISO 8601 (`PT15M`)."""

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^[0-9]+[smhdw]$", "examples": ["15m", "14d"]}

    def encode_default(self, dft: Any) -> Any:
        return span_as_written(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def render(name: str) -> str:
    """The schema (draft 2020-12) as it stands in `config/<name>.schema.json`. KeyError for another name."""
    schema = MODELS[name].model_json_schema(by_alias=True, schema_generator=_FileSchema)
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
