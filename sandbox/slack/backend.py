"""Slack: what can happen in a workspace, the events that the bot gets of it, and the rights that interactions give."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from sandbox.company import Company
from sandbox.slack import payloads
from sandbox.slack.block_kit import check_message, with_ids
from sandbox.slack.deliveries import Deliveries, SocketMode
from sandbox.slack.shapes import message_json
from sandbox.slack.state import (
    JSON,
    Caption,
    Channel,
    Credentials,
    Message,
    ResponseUrl,
    SlackError,
    Trigger,
    User,
    View,
    Workspace,
    elements,
)

MODAL_STACK = 3
TRIGGER_SECONDS = 3.0
URL_SECONDS = 30 * 60.0
URL_USES = 5


class Slack(Workspace):
    """A workspace that acts: each method makes a change, sends its event to the bot, and calls `changed`."""

    def __init__(
        self,
        company: Company,
        *,
        credentials: Credentials | None = None,
        bot_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(company, credentials=credentials, bot_url=bot_url, now=now)
        self.sockets = SocketMode(self)
        self.deliveries = Deliveries(self, self.sockets)
        self.triggers = Triggers()
        self.response_urls = ResponseUrls(self)

    async def aclose(self) -> None:
        await self.sockets.aclose()
        await self.deliveries.aclose()

    # Messages.

    def post(self, channel: Channel, user: User, **fields: Any) -> Message:
        """Post a message; `fields` are those of `Message`."""
        bot_id = user.bot_id if user.is_bot and "subtype" not in fields else None
        message = Message(ts=self.new_ts(), channel=channel.id, user=user.id, bot_id=bot_id, **fields)
        channel.messages[message.ts] = message
        if message.ephemeral_to is None:
            event = payloads.message_event(self, message)
            self._send_message_event(message.channel, event)
            mention = re.search(rf"<@{self.bot_user.id}(\|[^>]*)?>", message.text)
            if mention and not message.bot_id and not message.subtype:
                self._send_event(channel, "app_mention", {**event, "type": "app_mention"})
        self.changed()
        return message

    def update(self, message: Message, user: User, **fields: Any) -> None:
        """Edit a message; `fields` are those of `Message`."""
        before = message_json(self, message)
        for name, value in fields.items():
            setattr(message, name, value)
        message.edited = {"user": user.id, "ts": self.new_ts()}
        if message.ephemeral_to is None:
            self._send_message_event(message.channel, payloads.message_changed_event(self, message, before))
        self.changed()

    def delete(self, message: Message) -> None:
        channel = self.channels[message.channel]
        del channel.messages[message.ts]
        message.deleted = True
        if message.ephemeral_to is None:
            self._send_message_event(message.channel, payloads.message_deleted_event(self, message))
        self.changed()

    def react(self, message: Message, name: str, user: User) -> None:
        """Add a reaction. Raises SlackError already_reacted."""
        people = message.reactions.setdefault(name, [])
        if user.id in people:
            raise SlackError("already_reacted")
        people.append(user.id)
        channel = self.channels[message.channel]
        self._send_event(channel, "reaction_added", payloads.reaction_event(message, name, user))
        self.changed()

    # Channels.

    def join(self, channel: Channel, user: User, inviter: User | None = None) -> None:
        """Make the user a member, with the message that Slack posts for it. No-op for a member."""
        if user.id in channel.members:
            return
        channel.members.append(user.id)
        self.post(channel, user, text=f"<@{user.id}> has joined the channel", subtype="channel_join")
        event = payloads.member_joined_event(self, channel, user, inviter)
        self._send_event(channel, "member_joined_channel", event)

    def set_caption(self, channel: Channel, kind: str, value: str, user: User) -> None:
        """Set the `topic` or the `purpose`, with the message that Slack posts for it."""
        setattr(channel, kind, Caption(value, user.id, int(self.now())))
        text = f"<@{user.id}> set the channel {kind}: {value}"
        self.post(channel, user, text=text, subtype=f"channel_{kind}", extra={kind: value})

    def rename(self, channel: Channel, name: str, user: User) -> None:
        channel.previous_names.append(channel.name)
        channel.name = name
        self._send_channel_event(channel, "channel_rename", user)

    def archive(self, channel: Channel, user: User) -> None:
        channel.is_archived = True
        self._send_channel_event(channel, "channel_archive", user)

    def unarchive(self, channel: Channel, user: User) -> None:
        channel.is_archived = False
        self._send_channel_event(channel, "channel_unarchive", user)

    def open_im(self, user: User) -> Channel:
        """Return the direct-message channel of the bot with this user; create it if needed."""
        for channel in self.channels.values():
            if channel.im_user == user.id:
                return channel
        created = int(self.now())
        members = [self.bot_user.id, user.id]
        channel = Channel(self.new_id("D"), "", self.bot_user.id, created, members, im_user=user.id)
        self.channels[channel.id] = channel
        self.changed()
        return channel

    # Views.

    def open_home(self, user: User) -> None:
        """Send app_home_opened, which the bot answers with `views.publish`."""
        event = payloads.app_home_event(self, user, self.open_im(user), self.homes.get(user.id))
        self._send_event(None, "app_home_opened", event)

    def new_view(self, user: str, body: JSON) -> View:
        """Make a view that is not shown yet."""
        id = self.new_id("V")
        return View(id, user, {**body, "blocks": with_ids(body["blocks"])}, self._view_hash(), root_id=id)

    def push_view(self, user: str, body: JSON) -> View:
        """Put a modal on top of the others. Raises SlackError push_limit_reached."""
        stack = self.modals[user]
        if len(stack) >= MODAL_STACK:
            raise SlackError("push_limit_reached")
        view = self.new_view(user, body)
        view.root_id, view.previous_id = stack[0].id, stack[-1].id
        stack.append(view)
        self.changed()
        return view

    def replace_view(self, view: View, body: JSON) -> None:
        """Show another body. Entered values are kept where block_id and action_id are the same."""
        view.body = {**body, "blocks": with_ids(body["blocks"])}
        view.hash = self._view_hash()
        values: dict[str, dict[str, JSON]] = {}
        for block_id, element in elements(view.blocks):
            state = view.values.get(block_id, {}).get(element["action_id"])
            if state and state["type"] == element["type"]:
                values.setdefault(block_id, {})[element["action_id"]] = state
        view.values = values
        self.changed()

    def _view_hash(self) -> str:
        return f"{int(self.now())}.{secrets.token_hex(4)}"

    # Events.

    def _send_message_event(self, channel_id: str, event: JSON) -> None:
        channel = self.channels[channel_id]
        kind = "im" if channel.is_im else "group" if channel.is_private else "channel"
        subscription = "message.im" if kind == "im" else f"message.{kind}s"
        self._send_event(channel, subscription, event | {"channel_type": kind})

    def _send_channel_event(self, channel: Channel, kind: str, user: User) -> None:
        self._send_event(channel, kind, payloads.channel_event(self, channel, kind, user))
        self.changed()

    def _send_event(self, channel: Channel | None, subscription: str, event: JSON) -> None:
        if subscription not in self.subscriptions:
            return
        if channel is not None and self.bot_user.id not in channel.members:
            return
        event = {"event_ts": event.get("ts") or self.new_ts(), **event}
        self.deliveries.event(payloads.event_callback(self, event))


# The two short-lived rights that an interaction gives the bot: a trigger_id and a response_url.


class Triggers:
    def __init__(self) -> None:
        self._all: dict[str, Trigger] = {}

    def issue(self, user: User, view: View | None = None) -> Trigger:
        id = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        trigger = self._all[id] = Trigger(id, user.id, view, time.monotonic())
        return trigger

    def exchange(self, id: str) -> Trigger:
        """Use a trigger. Raises SlackError invalid_trigger_id, expired_trigger_id or exchanged_trigger_id."""
        trigger = self._all.get(id)
        if trigger is None:
            raise SlackError("invalid_trigger_id")
        if time.monotonic() - trigger.issued > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        if trigger.used:
            raise SlackError("exchanged_trigger_id")
        trigger.used = True
        return trigger


class ResponseUrls:
    """https://docs.slack.dev/interactivity/handling-user-interaction#message_responses"""

    def __init__(self, slack: Slack) -> None:
        self._slack = slack
        self._all: dict[str, ResponseUrl] = {}

    def issue(self, kind: str, user: User, channel: Channel, original: Message | None = None) -> ResponseUrl:
        """Issue a URL; `kind` is `commands`, `actions` or `app`: the first part of Slack's path."""
        token = secrets.token_hex(12)
        team = self._slack.company.workspace.team_id
        url = f"{self._slack.base_url}/{kind}/{team}/{token}"
        thread = original.thread_ts if original else None
        response_url = ResponseUrl(token, url, user.id, channel.id, original, time.monotonic(), thread)
        self._all[token] = response_url
        return response_url

    def post(self, token: str, body: JSON) -> None:
        """Handle a request to the URL. Raises SlackError expired_url, used_url, invalid_blocks, no_text."""
        url = self._all.get(token)
        if url is None or time.monotonic() - url.issued > URL_SECONDS:
            raise SlackError("expired_url", status=404)
        if url.uses >= URL_USES:
            raise SlackError("used_url", status=404)
        self.reply(url, body)
        url.uses += 1

    def reply(self, url: ResponseUrl, body: JSON) -> None:
        """Post a reply, or replace or delete the original message."""
        slack = self._slack
        if body.get("delete_original"):
            if url.original and not url.original.deleted:
                slack.delete(url.original)
            return
        check_message(body)
        fields: JSON = {
            "text": body.get("text") or "",
            "blocks": with_ids(body.get("blocks") or []),
            "attachments": body.get("attachments") or [],
        }
        if body.get("replace_original") and url.original and not url.original.deleted:
            slack.update(url.original, slack.bot_user, **fields)
            url.messages.append(url.original)
            slack.changed()
            return
        in_channel = body.get("response_type") == "in_channel"
        message = slack.post(
            slack.channels[url.channel],
            slack.bot_user,
            ephemeral_to=None if in_channel else url.user,
            thread_ts=body.get("thread_ts"),
            metadata=body.get("metadata"),
            answer_to=url.token,
            **fields,
        )
        url.original = url.original or message
        url.messages.append(message)
        slack.changed()
