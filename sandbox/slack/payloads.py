"""The bodies of interactions, with the keys that Slack sends. https://docs.slack.dev/reference/interaction-payloads"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandbox.slack.inputs import has_state, initial_state
from sandbox.slack.interactions import ResponseUrl, Trigger
from sandbox.slack.shapes import message_json, view_json
from sandbox.slack.state import JSON, Channel, Message, User, View, elements

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

_REFERENCE = re.compile(r"(?<![\w@#./])(?P<link>https?://[^\s<>]+)|(?<![\w@#])(?P<sigil>[@#])(?P<name>[\w.-]+)")


def escaped(slack: Slack, text: str) -> str:
    """What a person types, as Slack passes it on: `& < >` as entities, known names and links in angle brackets.

    For commands this is what `should_escape` of the manifest asks for.
    https://docs.slack.dev/interactivity/implementing-slash-commands#escaping
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _REFERENCE.sub(lambda match: _reference(slack, match), text)


def _reference(slack: Slack, match: re.Match[str]) -> str:
    if match["link"]:
        return f"<{match['link']}>"
    name = match["name"]
    if match["sigil"] == "#":
        for channel in slack.channels.values():
            if channel.name == name:
                return f"<#{channel.id}|{name}>"
        return match[0]
    if name in ("channel", "here", "everyone"):
        return f"<!{name}>"
    for user in slack.users.values():
        if user.name == name:
            return f"<@{user.id}|{name}>"
    for group in slack.usergroups.values():
        if group.handle == name:
            return f"<!subteam^{group.id}|@{name}>"
    return match[0]


def command(
    slack: Slack, user: User, channel: Channel, name: str, text: str, trigger: Trigger, url: ResponseUrl
) -> JSON:
    workspace = slack.company.workspace
    return {
        "token": slack.credentials.verification_token,
        "team_id": workspace.team_id,
        "team_domain": workspace.domain,
        "channel_id": channel.id,
        "channel_name": channel_name(channel),
        "user_id": user.id,
        "user_name": user.name,
        "command": name,
        "text": escaped(slack, text),
        "api_app_id": workspace.app_id,
        "is_enterprise_install": "false",
        "response_url": url.url,
        "trigger_id": trigger.id,
    }


def block_actions(
    slack: Slack, user: User, surface: Message | View, action: JSON, trigger: Trigger, url: ResponseUrl | None
) -> JSON:
    """A press or a choice in a message (with a response_url) or in a view (without)."""
    body = _interaction(slack, "block_actions", user) | {"trigger_id": trigger.id}
    body["actions"] = [{**action, "action_ts": slack.new_ts()}]
    if isinstance(surface, View):
        container: JSON = {"type": "view", "view_id": surface.id}
        return body | {"container": container, "view": with_state(slack, surface)}
    channel = slack.channels[surface.channel]
    ephemeral = surface.ephemeral_to is not None
    body |= {
        "container": {
            "type": "message",
            "message_ts": surface.ts,
            "channel_id": channel.id,
            "is_ephemeral": ephemeral,
            **({"thread_ts": surface.thread_ts} if surface.thread_ts else {}),
        },
        "channel": {"id": channel.id, "name": channel_name(channel)},
        "state": {"values": states(surface.blocks, surface.entered.get(user.id, {}))},
    }
    if not ephemeral:
        body["message"] = message_json(slack, surface)
    return body | ({"response_url": url.url} if url else {})


def block_suggestion(slack: Slack, user: User, view: View, block_id: str, element: JSON, query: str) -> JSON:
    return _interaction(slack, "block_suggestion", user) | {
        "container": {"type": "view", "view_id": view.id},
        "action_id": element["action_id"],
        "block_id": block_id,
        "value": query,
        "view": with_state(slack, view),
    }


def view_submission(slack: Slack, user: User, view: View, trigger: Trigger, urls: list[JSON]) -> JSON:
    return _interaction(slack, "view_submission", user) | {
        "trigger_id": trigger.id,
        "view": with_state(slack, view),
        "response_urls": urls,
    }


def view_closed(slack: Slack, user: User, view: View, *, cleared: bool) -> JSON:
    body = {"view": with_state(slack, view), "is_cleared": cleared, "response_urls": []}
    return _interaction(slack, "view_closed", user) | body


def global_shortcut(slack: Slack, user: User, callback_id: str, trigger: Trigger) -> JSON:
    body = {"callback_id": callback_id, "trigger_id": trigger.id, "action_ts": slack.new_ts()}
    return _interaction(slack, "shortcut", user) | body


def message_shortcut(
    slack: Slack, user: User, callback_id: str, message: Message, trigger: Trigger, url: ResponseUrl
) -> JSON:
    channel = slack.channels[message.channel]
    return _interaction(slack, "message_action", user) | {
        "callback_id": callback_id,
        "trigger_id": trigger.id,
        "action_ts": slack.new_ts(),
        "response_url": url.url,
        "message_ts": message.ts,
        "channel": {"id": channel.id, "name": channel_name(channel)},
        "message": message_json(slack, message),
    }


def channel_name(channel: Channel) -> str:
    if channel.is_im:
        return "directmessage"
    return "privategroup" if channel.is_private else channel.name


def with_state(slack: Slack, view: View) -> JSON:
    return view_json(slack, view) | {"state": {"values": states(view.blocks, view.values)}}


def states(blocks: list[JSON], entered: dict[str, dict[str, JSON]]) -> dict[str, dict[str, JSON]]:
    """block_id → action_id → state of every element that has one: what was entered, else what it began with."""
    values: dict[str, dict[str, JSON]] = {}
    for block_id, element in elements(blocks):
        if has_state(element):
            action_id = element["action_id"]
            state = entered.get(block_id, {}).get(action_id) or initial_state(element)
            values.setdefault(block_id, {})[action_id] = state
    return values


def _interaction(slack: Slack, kind: str, user: User) -> JSON:
    workspace = slack.company.workspace
    return {
        "type": kind,
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": workspace.team_id},
        "api_app_id": workspace.app_id,
        "token": slack.credentials.verification_token,
        "team": {"id": workspace.team_id, "domain": workspace.domain},
        "enterprise": None,
        "is_enterprise_install": False,
    }
