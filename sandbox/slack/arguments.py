"""The arguments of one Web API request, whichever way they came: query, form or JSON."""

from __future__ import annotations

import json
from typing import Any

from sandbox.slack.errors import SlackError
from sandbox.slack.state import JSON

STRUCTURED = frozenset({"attachments", "blocks", "files", "metadata", "unfurls", "view"})


class Arguments:
    """Typed look-ups in `raw`; a wrong type is Slack's invalid_arguments, with its usual message."""

    def __init__(self, raw: JSON) -> None:
        self.raw = raw

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) not in (None, "")

    def text(self, name: str, default: str = "") -> str:
        value = self.raw.get(name)
        if value is None:
            return default
        if isinstance(value, bool | int | float):
            return str(value)
        if not isinstance(value, str):
            raise SlackError("invalid_arguments", f"[ERROR] must provide a string [json-pointer:/{name}]")
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise SlackError("invalid_arguments", f"[ERROR] missing required field: {name}")
        return value

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.raw.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool):
            return value
        return str(value).lower() in ("1", "true")

    def integer(self, name: str, default: int) -> int:
        value = self.raw.get(name)
        if value is None or value == "":
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise SlackError("invalid_arguments", f"[ERROR] must provide an integer [json-pointer:/{name}]") from None

    def names(self, name: str) -> list[str]:
        """A comma-separated list, or a JSON array."""
        value = self.raw.get(name)
        if isinstance(value, list):
            return [str(each) for each in value]
        return [each.strip() for each in str(value or "").split(",") if each.strip()]

    def structure(self, name: str) -> Any:
        """An object or a list; in a form it is a JSON string. None when it is absent.

        SlackError invalid_blocks_format, invalid_metadata_format or invalid_arguments when it is no JSON.
        """
        value = self.raw.get(name)
        if not isinstance(value, str):
            return value
        if value == "":
            return None
        try:
            return json.loads(value)
        except ValueError:
            if name in ("blocks", "metadata"):
                raise SlackError(f"invalid_{name}_format") from None
            raise SlackError("invalid_arguments", f"[ERROR] must be a JSON string [json-pointer:/{name}]") from None

    def recorded(self) -> JSON:
        """For the call log: structures parsed, the token left out."""
        kept = {key: value for key, value in self.raw.items() if key != "token"}
        for name in STRUCTURED & kept.keys():
            try:
                kept[name] = self.structure(name)
            except SlackError:
                continue
        return kept
