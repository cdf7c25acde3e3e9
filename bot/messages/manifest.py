"""The Slack app manifest of a team: `app.yaml` with the team's names, in its language, with its address."""

from __future__ import annotations

from typing import Any

from bot.messages.translations import Translations
from bot.shipped import MANIFEST
from bot.team import TeamFile
from bot.yaml_text import load

NAME_LIMIT, DESCRIPTION_LIMIT, SHORTCUT_LIMIT = 35, 140, 24  # characters, by Slack's manifest reference


def manifest(team: TeamFile, words: Translations, url: str | None) -> dict[str, Any]:
    """Return the manifest. With a `url`, Slack calls the bot there; without one, it uses Socket Mode."""
    content: dict[str, Any] = load(MANIFEST.read_text(encoding="utf-8"))
    content["display_information"] |= {
        "name": (team.app.name or f"{team.organisation} Incidents")[:NAME_LIMIT],
        "description": words.label("manifest.description")[:DESCRIPTION_LIMIT],
        "long_description": words.label("manifest.long_description", command=team.commands.names()["incident"]),
        "background_color": team.app.color,
    }
    features, settings = content["features"], content["settings"]
    features["bot_user"]["display_name"] = team.app.bot
    names = team.commands.names()
    called = (*features["slash_commands"], settings["event_subscriptions"], settings["interactivity"])
    for command in features["slash_commands"]:
        name = command["command"].removeprefix("/")
        command |= {"command": f"/{names[name]}", "description": words.label(f"help.{name}.about")}
    for shortcut in features["shortcuts"]:
        texts = {part: words.label(f"manifest.shortcuts.{shortcut['callback_id']}.{part}") for part in _PARTS}
        shortcut |= texts | {"name": texts["name"][:SHORTCUT_LIMIT]}
    for caller in called:
        field = "url" if "url" in caller else "request_url"
        del caller[field]
        if url:
            caller[field] = f"{url.rstrip('/')}/slack/events"
    settings["socket_mode_enabled"] = url is None
    return content


_PARTS = ("name", "description")
