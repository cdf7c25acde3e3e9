"""What the app offers to people, from its Slack manifest: commands with their hints, and shortcuts."""

from __future__ import annotations

from pathlib import Path

import yaml

from sandbox.slack.state import JSON

BESIDE = Path(__file__).parents[2] / "app.yaml"


def offered(manifest: Path = BESIDE) -> JSON:
    """`commands` (command, hint, description) and `shortcuts` (name, type, callback_id, description).

    Both empty when there is no manifest: the page then has no hints, and everything else works.
    """
    if not manifest.is_file():
        return {"commands": [], "shortcuts": []}
    features = yaml.safe_load(manifest.read_text(encoding="utf-8")).get("features", {})
    return {
        "commands": [
            {
                "command": command["command"],
                "hint": command.get("usage_hint", ""),
                "description": command.get("description", ""),
            }
            for command in features.get("slash_commands", [])
        ],
        "shortcuts": [
            {key: shortcut.get(key, "") for key in ("name", "type", "callback_id", "description")}
            for shortcut in features.get("shortcuts", [])
        ],
    }
