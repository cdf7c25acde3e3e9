"""What the Events API tells the bot. https://docs.slack.dev/apis/events-api"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from sandbox.slack.shapes import channel_json, message_json, view_json
from sandbox.slack.state import JSON, Channel, Message, User, View

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

ALL = frozenset(
    {
        "app_home_opened",
        "app_mention",
        "channel_archive",
        "channel_rename",
        "channel_unarchive",
        "member_joined_channel",
        "message.channels",
        "message.groups",
        "message.im",
        "reaction_added",
    }
)


def message_posted(slack: Slack, message: Message) -> None:
    event = message_json(slack, message) | {"channel": message.channel}
    if message.files:
        event["subtype"] = "file_share"
    _message_event(slack, message.channel, event)
    mention = re.search(rf"<@{slack.bot_user.id}(\|[^>]*)?>", message.text)
    if mention and not message.bot_id and not message.subtype:
        channel = slack.channels[message.channel]
        _send(slack, channel, "app_mention", {**event, "type": "app_mention"})


def message_changed(slack: Slack, message: Message, before: JSON) -> None:
    event = {
        "type": "message",
        "subtype": "message_changed",
        "message": message_json(slack, message),
        "previous_message": before,
        "channel": message.channel,
        "hidden": True,
        "ts": slack.new_ts(),
    }
    _message_event(slack, message.channel, event)


def message_deleted(slack: Slack, message: Message) -> None:
    event = {
        "type": "message",
        "subtype": "message_deleted",
        "previous_message": message_json(slack, message),
        "channel": message.channel,
        "hidden": True,
        "deleted_ts": message.ts,
        "ts": slack.new_ts(),
    }
    _message_event(slack, message.channel, event)


def _message_event(slack: Slack, channel_id: str, event: JSON) -> None:
    channel = slack.channels[channel_id]
    kind = "im" if channel.is_im else "group" if channel.is_private else "channel"
    _send(slack, channel, f"message.{kind}s" if kind != "im" else "message.im", event | {"channel_type": kind})


def reaction_added(slack: Slack, message: Message, name: str, user: User) -> None:
    event = {
        "type": "reaction_added",
        "user": user.id,
        "reaction": name,
        "item": {"type": "message", "channel": message.channel, "ts": message.ts},
        "item_user": message.user,
    }
    _send(slack, slack.channels[message.channel], "reaction_added", event)


def member_joined(slack: Slack, channel: Channel, user: User, inviter: User | None) -> None:
    event: JSON = {
        "type": "member_joined_channel",
        "user": user.id,
        "channel": channel.id,
        "channel_type": "G" if channel.is_private else "C",
        "team": slack.company.workspace.team_id,
    }
    if inviter:
        event["inviter"] = inviter.id
    _send(slack, channel, "member_joined_channel", event)


def channel_changed(slack: Slack, channel: Channel, what: str, user: User) -> None:
    """`what` is `channel_archive`, `channel_unarchive` or `channel_rename`."""
    event: JSON = {"type": what, "channel": channel.id, "user": user.id}
    if what == "channel_rename":
        shape = channel_json(slack, channel)
        event = {"type": what, "channel": {key: shape[key] for key in ("id", "name", "created")}}
    _send(slack, channel, what, event)


def app_home_opened(slack: Slack, user: User, view: View | None) -> None:
    event: JSON = {"type": "app_home_opened", "user": user.id, "channel": slack.open_im(user).id, "tab": "home"}
    if view:
        event["view"] = view_json(slack, view)
    _send(slack, None, "app_home_opened", event)


def _send(slack: Slack, channel: Channel | None, subscription: str, event: JSON) -> None:
    if subscription not in slack.subscriptions:
        return
    if channel is not None and slack.bot_user.id not in channel.members:
        return
    event = {"event_ts": event.get("ts") or slack.new_ts(), **event}
    slack.deliveries.event(envelope(slack, event))


def envelope(slack: Slack, event: JSON) -> JSON:
    """The outer `event_callback` around one event."""
    workspace = slack.company.workspace
    channel = event.get("channel", "")
    return {
        "token": slack.credentials.verification_token,
        "team_id": workspace.team_id,
        "context_team_id": workspace.team_id,
        "context_enterprise_id": None,
        "api_app_id": workspace.app_id,
        "event": event,
        "type": "event_callback",
        "event_id": slack.new_id("Ev"),
        "event_time": int(time.time()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": workspace.team_id,
                "user_id": workspace.bot_user_id,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": f"4-{event['type']}-{workspace.team_id}-{channel if isinstance(channel, str) else ''}",
    }
