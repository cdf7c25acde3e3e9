"""JSON Schemas of the YAML files that people write, for editors. `make schema` writes them."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from bot.domain.runbook import Runbook
from bot.domain.times import format_duration
from bot.team import TeamFile

# One file each: teams/<name>.schema.json. References between names and expressions are checked by the bot only.
MODELS: dict[str, type[BaseModel]] = {"team": TeamFile, "runbook": Runbook}


class _FileSchema(GenerateJsonSchema):
    """Describes durations as the files write them (`15m`, `14d`); pydantic would describe ISO 8601 (`PT15M`)."""

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^[0-9]+[smhdw]$", "examples": ["15m", "14d"]}

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def render(name: str) -> str:
    """Return the schema (draft 2020-12) as JSON text, for `teams/<name>.schema.json`. KeyError for an unknown name."""
    schema = MODELS[name].model_json_schema(by_alias=True, schema_generator=_FileSchema)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
