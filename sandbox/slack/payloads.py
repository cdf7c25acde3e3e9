"""What Slack sends to the bot: events, slash commands and interactions.

https://docs.slack.dev/apis/events-api
https://docs.slack.dev/reference/interaction-payloads
"""

from __future__ import annotations

import re
import time

from sandbox.slack.inputs import has_state, initial_state
from sandbox.slack.shapes import channel_json, message_json, view_json
from sandbox.slack.state import JSON, Channel, Message, ResponseUrl, Trigger, User, View, Workspace, elements

_REFERENCE = re.compile(r"(?<![\w@#./])(?P<link>https?://[^\s<>]+)|(?<![\w@#])(?P<sigil>[@#])(?P<name>[\w.-]+)")


# Events.


def message_event(workspace: Workspace, message: Message) -> JSON:
    event = message_json(workspace, message) | {"channel": message.channel}
    if message.files:
        event["subtype"] = "file_share"
    return event


def message_changed_event(workspace: Workspace, message: Message, before: JSON) -> JSON:
    return {
        "type": "message",
        "subtype": "message_changed",
        "message": message_json(workspace, message),
        "previous_message": before,
        "channel": message.channel,
        "hidden": True,
        "ts": workspace.new_ts(),
    }


def message_deleted_event(workspace: Workspace, message: Message) -> JSON:
    return {
        "type": "message",
        "subtype": "message_deleted",
        "previous_message": message_json(workspace, message),
        "channel": message.channel,
        "hidden": True,
        "deleted_ts": message.ts,
        "ts": workspace.new_ts(),
    }


def reaction_event(message: Message, name: str, user: User) -> JSON:
    return {
        "type": "reaction_added",
        "user": user.id,
        "reaction": name,
        "item": {"type": "message", "channel": message.channel, "ts": message.ts},
        "item_user": message.user,
    }


def member_joined_event(workspace: Workspace, channel: Channel, user: User, inviter: User | None) -> JSON:
    event: JSON = {
        "type": "member_joined_channel",
        "user": user.id,
        "channel": channel.id,
        "channel_type": "G" if channel.is_private else "C",
        "team": workspace.company.workspace.team_id,
    }
    return event | ({"inviter": inviter.id} if inviter else {})


def channel_event(workspace: Workspace, channel: Channel, kind: str, user: User) -> JSON:
    """Return an event of `kind` `channel_archive`, `channel_unarchive` or `channel_rename`."""
    if kind == "channel_rename":
        shape = channel_json(workspace, channel)
        return {"type": kind, "channel": {key: shape[key] for key in ("id", "name", "created")}}
    return {"type": kind, "channel": channel.id, "user": user.id}


def app_home_event(workspace: Workspace, user: User, im: Channel, view: View | None) -> JSON:
    event: JSON = {"type": "app_home_opened", "user": user.id, "channel": im.id, "tab": "home"}
    return event | ({"view": view_json(workspace, view)} if view else {})


def event_callback(workspace: Workspace, event: JSON) -> JSON:
    """Wrap an event."""
    company = workspace.company.workspace
    channel = event.get("channel", "")
    return {
        "token": workspace.credentials.verification_token,
        "team_id": company.team_id,
        "context_team_id": company.team_id,
        "context_enterprise_id": None,
        "api_app_id": company.app_id,
        "event": event,
        "type": "event_callback",
        "event_id": workspace.new_id("Ev"),
        "event_time": int(time.time()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": company.team_id,
                "user_id": company.bot_user_id,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": f"4-{event['type']}-{company.team_id}-{channel if isinstance(channel, str) else ''}",
    }


# Slash commands and interactions.


def command(
    workspace: Workspace, user: User, channel: Channel, name: str, text: str, trigger: Trigger, url: ResponseUrl
) -> JSON:
    company = workspace.company.workspace
    return {
        "token": workspace.credentials.verification_token,
        "team_id": company.team_id,
        "team_domain": company.domain,
        "channel_id": channel.id,
        "channel_name": channel_name(channel),
        "user_id": user.id,
        "user_name": user.name,
        "command": name,
        "text": escape(workspace, text),
        "api_app_id": company.app_id,
        "is_enterprise_install": "false",
        "response_url": url.url,
        "trigger_id": trigger.id,
    }


def block_actions(
    workspace: Workspace, user: User, surface: Message | View, action: JSON, trigger: Trigger, url: ResponseUrl | None
) -> JSON:
    """Return the payload of a button or a choice in a message (with a response_url) or a view (without)."""
    body = _interaction(workspace, "block_actions", user) | {"trigger_id": trigger.id}
    body["actions"] = [{**action, "action_ts": workspace.new_ts()}]
    if isinstance(surface, View):
        container: JSON = {"type": "view", "view_id": surface.id}
        return body | {"container": container, "view": with_state(workspace, surface)}
    channel = workspace.channels[surface.channel]
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
        body["message"] = message_json(workspace, surface)
    return body | ({"response_url": url.url} if url else {})


def block_suggestion(workspace: Workspace, user: User, view: View, block_id: str, element: JSON, query: str) -> JSON:
    return _interaction(workspace, "block_suggestion", user) | {
        "container": {"type": "view", "view_id": view.id},
        "action_id": element["action_id"],
        "block_id": block_id,
        "value": query,
        "view": with_state(workspace, view),
    }


def view_submission(workspace: Workspace, user: User, view: View, trigger: Trigger, urls: list[JSON]) -> JSON:
    return _interaction(workspace, "view_submission", user) | {
        "trigger_id": trigger.id,
        "view": with_state(workspace, view),
        "response_urls": urls,
    }


def view_closed(workspace: Workspace, user: User, view: View, *, cleared: bool) -> JSON:
    body = {"view": with_state(workspace, view), "is_cleared": cleared, "response_urls": []}
    return _interaction(workspace, "view_closed", user) | body


def global_shortcut(workspace: Workspace, user: User, callback_id: str, trigger: Trigger) -> JSON:
    body = {"callback_id": callback_id, "trigger_id": trigger.id, "action_ts": workspace.new_ts()}
    return _interaction(workspace, "shortcut", user) | body


def message_shortcut(
    workspace: Workspace, user: User, callback_id: str, message: Message, trigger: Trigger, url: ResponseUrl
) -> JSON:
    channel = workspace.channels[message.channel]
    return _interaction(workspace, "message_action", user) | {
        "callback_id": callback_id,
        "trigger_id": trigger.id,
        "action_ts": workspace.new_ts(),
        "response_url": url.url,
        "message_ts": message.ts,
        "channel": {"id": channel.id, "name": channel_name(channel)},
        "message": message_json(workspace, message),
    }


def channel_name(channel: Channel) -> str:
    if channel.is_im:
        return "directmessage"
    return "privategroup" if channel.is_private else channel.name


def with_state(workspace: Workspace, view: View) -> JSON:
    return view_json(workspace, view) | {"state": {"values": states(view.blocks, view.values)}}


def states(blocks: list[JSON], entered: dict[str, dict[str, JSON]]) -> dict[str, dict[str, JSON]]:
    """Return block_id → action_id → state of every element that has one: as entered, else its initial state."""
    values: dict[str, dict[str, JSON]] = {}
    for block_id, element in elements(blocks):
        if has_state(element):
            action_id = element["action_id"]
            state = entered.get(block_id, {}).get(action_id) or initial_state(element)
            values.setdefault(block_id, {})[action_id] = state
    return values


def _interaction(workspace: Workspace, kind: str, user: User) -> JSON:
    company = workspace.company.workspace
    team = company.team_id if user.kind != "stranger" else "T0ELSEWHERE"
    return {
        "type": kind,
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": team},
        "api_app_id": company.app_id,
        "token": workspace.credentials.verification_token,
        "team": {"id": company.team_id, "domain": company.domain},
        "enterprise": None,
        "is_enterprise_install": False,
    }


def escape(workspace: Workspace, text: str) -> str:
    """Return typed text as Slack passes it on: `& < >` as entities, known names and links in angle brackets.

    For commands this is what `should_escape` of the manifest asks for.
    https://docs.slack.dev/interactivity/implementing-slash-commands#escaping
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _REFERENCE.sub(lambda match: _reference(workspace, match), text)


def _reference(workspace: Workspace, match: re.Match[str]) -> str:
    if match["link"]:
        return f"<{match['link']}>"
    name = match["name"]
    if match["sigil"] == "#":
        for channel in workspace.channels.values():
            if channel.name == name:
                return f"<#{channel.id}|{name}>"
        return match[0]
    if name in ("channel", "here", "everyone"):
        return f"<!{name}>"
    for user in workspace.users.values():
        if user.name == name:
            return f"<@{user.id}|{name}>"
    for group in workspace.usergroups.values():
        if group.handle == name:
            return f"<!subteam^{group.id}|@{name}>"
    return match[0]
