"""The whole state of Slack as one JSON document."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sandbox.slack.shapes import channel_json, file_json, message_json, view_json
from sandbox.slack.state import JSON, Channel

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack


def snapshot(slack: Slack) -> JSON:
    """The whole state as JSON, for tests in another process."""

    def channel(channel: Channel) -> JSON:
        messages = [
            message_json(slack, message) | {"ephemeral_to": message.ephemeral_to}
            for message in channel.messages.values()
        ]
        return channel_json(slack, channel) | {
            "members": list(channel.members),
            "pins": list(channel.pins),
            "bookmarks": [{"title": mark.title, "link": mark.link} for mark in channel.bookmarks],
            "messages": messages,
        }

    return {
        "channels": [channel(each) for each in slack.channels.values()],
        "files": [file_json(slack, file) for file in slack.files.values()],
        "views": [view_json(slack, view) | {"user": view.user} for view in slack.views()],
        "calls": dict(Counter(call.method for call in slack.calls)),
        "failed_calls": dict(Counter(f"{c.method} {c.answer['error']}" for c in slack.calls if not c.ok)),
        "deliveries": [delivery.as_json() for delivery in slack.deliveries.log],
    }
