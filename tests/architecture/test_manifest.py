"""`app.yaml`: valid by Slack's published schema, and no more and no less than what the code handles and calls."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from bot.messages.manifest import manifest as team_manifest
from bot.messages.translations import translations_of
from bot.team import load_team
from handlers.slack.commands import COMMANDS
from handlers.slack.events import EVENTS, SHORTCUTS
from tests.architecture.tree import ROOT, python, syntax

CONTRACTS = Path(os.environ.get("CONTRACTS_DIR", ROOT / "../shared/contracts"))

# What Slack's method reference asks of a bot's token.
SCOPES_OF_METHODS: dict[str, set[str]] = {
    "apps.connections.open": set(),  # the app token's own
    "auth.test": set(),
    "bookmarks.add": {"bookmarks:write"},
    "bookmarks.edit": {"bookmarks:write"},
    "bookmarks.list": {"bookmarks:read"},
    "bots.info": {"users:read"},
    "chat.delete": {"chat:write"},
    "chat.getPermalink": set(),
    "chat.postEphemeral": {"chat:write"},
    # to a public channel that the bot is no member of, as the team's is until somebody invites it
    "chat.postMessage": {"chat:write", "chat:write.public"},
    "chat.update": {"chat:write"},
    "conversations.archive": {"channels:manage"},
    "conversations.create": {"channels:manage"},
    "conversations.history": {"channels:history", "im:history"},
    "conversations.info": {"channels:read"},
    "conversations.invite": {"channels:manage"},
    "conversations.join": {"channels:join"},
    "conversations.list": {"channels:read"},
    "conversations.members": {"channels:read"},
    "conversations.open": {"im:write"},
    "conversations.replies": {"channels:history"},
    "conversations.setPurpose": {"channels:manage"},
    "conversations.setTopic": {"channels:manage"},
    "files.upload": {"files:write"},
    "files.completeUploadExternal": {"files:write"},
    "files.getUploadURLExternal": {"files:write"},
    "files_upload_v2": {"files:write"},
    "pins.add": {"pins:write"},
    "pins.list": {"pins:read"},
    "reactions.add": {"reactions:write"},
    "reactions.get": {"reactions:read"},
    "team.info": {"team:read"},
    "usergroups.list": {"usergroups:read"},
    "usergroups.users.list": {"usergroups:read"},
    "users.info": {"users:read"},
    "users.lookupByEmail": {"users:read.email"},
    "views.open": set(),
    "views.publish": set(),
    "views.push": set(),
    "views.update": set(),
}
# What Slack's event reference asks; the events of messages are one a kind of conversation.
SCOPES_OF_EVENTS: dict[str, set[str]] = {
    "app_home_opened": set(),
    "channel_archive": {"channels:read"},
    "channel_rename": {"channels:read"},
    "member_joined_channel": {"channels:read"},
    "message.channels": {"channels:history"},
    "reaction_added": {"reactions:read"},
    "reaction_removed": {"reactions:read"},
}


@pytest.fixture
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "app.yaml").read_text("utf-8"))
    return loaded


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_it_is_valid_by_the_published_schema(manifest: dict[str, Any], version: str) -> None:
    path = CONTRACTS / f"slack/manifest-schema/manifest.schema.{version}.json"
    if not path.exists():
        pytest.skip(f"no {path.name}: the contract data are missing")
    mistakes = Draft7Validator(json.loads(path.read_text("utf-8"))).iter_errors(manifest)
    assert [f"{mistake.json_path}: {mistake.message}" for mistake in mistakes] == []


def test_its_commands_are_the_handlers_commands(manifest: dict[str, Any]) -> None:
    declared = [command["command"] for command in manifest["features"]["slash_commands"]]
    assert sorted(declared) == sorted(f"/{name}" for name in COMMANDS)


def test_what_a_person_mentions_reaches_every_command_as_an_id(manifest: dict[str, Any]) -> None:
    assert all(command["should_escape"] is True for command in manifest["features"]["slash_commands"])


def test_every_verb_of_a_hint_is_a_verb(manifest: dict[str, Any]) -> None:
    for command in manifest["features"]["slash_commands"]:
        group = COMMANDS[command["command"].lstrip("/")]
        words = [
            part.split()[0]
            for part in re.sub(r"\[[^\]]*\]", "", command.get("usage_hint", "")).split("|")
            if part.strip()
        ]
        verbs = {word for word in words if word.isalpha()} - {"help"}
        assert verbs <= set(group.verbs), command["command"]


def test_its_shortcuts_are_the_handlers_shortcuts(manifest: dict[str, Any]) -> None:
    declared = [shortcut["callback_id"] for shortcut in manifest["features"]["shortcuts"]]
    assert sorted(declared) == sorted(SHORTCUTS)


def test_its_events_are_the_handlers_events(manifest: dict[str, Any]) -> None:
    declared = manifest["settings"]["event_subscriptions"]["bot_events"]
    assert {event.split(".")[0] for event in declared} == set(EVENTS)


def test_its_scopes_are_those_that_the_code_needs(manifest: dict[str, Any]) -> None:
    events = manifest["settings"]["event_subscriptions"]["bot_events"]
    methods = _methods()
    assert methods - set(SCOPES_OF_METHODS) == set(), "add the method and its scopes to the table of this test"
    needed = {"commands"}.union(
        *(SCOPES_OF_METHODS[method] for method in methods), *(SCOPES_OF_EVENTS[event] for event in events)
    )
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == needed
    assert "user" not in manifest["oauth_config"]["scopes"]


def test_every_address_is_the_one_that_the_bot_listens_on(manifest: dict[str, Any]) -> None:
    settings = manifest["settings"]
    addresses = {command["url"] for command in manifest["features"]["slash_commands"]}
    addresses |= {settings["event_subscriptions"]["request_url"], settings["interactivity"]["request_url"]}
    assert addresses == {"https://tamv-bot.example.com/slack/events"}
    assert settings["socket_mode_enabled"] is True and settings["interactivity"]["is_enabled"] is True


@pytest.mark.parametrize(("team", "language"), [("teams/tamv", "es"), ("teams/tamv", "en"), ("tests/teams/acme", "en")])
@pytest.mark.parametrize("url", [None, "https://bot.example.org/"])
def test_the_manifest_of_a_team_is_valid_and_names_its_commands(team: str, language: str, url: str | None) -> None:
    file = load_team(ROOT / team / "team.yaml")
    made = team_manifest(file, translations_of(file, language)[language], url)
    path = CONTRACTS / "slack/manifest-schema/manifest.schema.2.0.0.json"
    if path.exists():
        mistakes = Draft7Validator(json.loads(path.read_text("utf-8"))).iter_errors(made)
        assert [f"{mistake.json_path}: {mistake.message}" for mistake in mistakes] == []
    declared = [command["command"] for command in made["features"]["slash_commands"]]
    assert sorted(declared) == sorted(f"/{file.commands.names()[name]}" for name in COMMANDS)
    assert made["settings"]["socket_mode_enabled"] is (url is None)
    assert {command.get("url") for command in made["features"]["slash_commands"]} == {
        f"{url.rstrip('/')}/slack/events" if url else None
    }


def _methods() -> set[str]:
    """Every method of Slack's Web API that the code names."""
    families = {method.split(".")[0] for method in SCOPES_OF_METHODS if "." in method} | {"admin", "apps", "im"}
    named = {
        node.value
        for name in python("bot", "handlers")
        for node in ast.walk(syntax(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"[a-z]+(\.[a-zA-Z]+)+", node.value) and node.value.split(".")[0] in families
        if not node.value.endswith((".yaml", ".json"))
    }
    uploads = any("files_upload_v2" in (ROOT / name).read_text("utf-8") for name in python("bot"))
    return named | ({"files_upload_v2"} if uploads else set())
