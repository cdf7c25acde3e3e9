"""The two short-lived rights that an interaction gives the bot: a trigger_id and a response_url."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.slack import blocks
from sandbox.slack.errors import SlackError
from sandbox.slack.state import JSON, Channel, Message, User, View

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

TRIGGER_SECONDS = 3.0
URL_SECONDS = 30 * 60.0
URL_USES = 5


@dataclass
class Trigger:
    """`view` is the modal in which the interaction was, None outside of one."""

    id: str
    user: str
    view: View | None
    issued: float
    opened: View | None = None
    used: bool = False


class Triggers:
    def __init__(self) -> None:
        self._all: dict[str, Trigger] = {}

    def issue(self, user: User, view: View | None = None) -> Trigger:
        id = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        trigger = self._all[id] = Trigger(id, user.id, view, time.monotonic())
        return trigger

    def exchange(self, id: str) -> Trigger:
        """Use the trigger up. SlackError invalid_trigger_id, expired_trigger_id or exchanged_trigger_id."""
        trigger = self._all.get(id)
        if trigger is None:
            raise SlackError("invalid_trigger_id")
        if time.monotonic() - trigger.issued > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        if trigger.used:
            raise SlackError("exchanged_trigger_id")
        trigger.used = True
        return trigger


@dataclass
class ResponseUrl:
    """Where the bot may answer one interaction. `messages` are the answers that came, `original` the message
    that the interaction was on (None for a slash command until its first answer)."""

    token: str
    url: str
    user: str
    channel: str
    original: Message | None
    issued: float
    thread_ts: str | None = None
    uses: int = 0
    messages: list[Message] = field(default_factory=list)


class ResponseUrls:
    """https://docs.slack.dev/interactivity/handling-user-interaction#message_responses"""

    def __init__(self, slack: Slack) -> None:
        self._slack = slack
        self._all: dict[str, ResponseUrl] = {}

    def issue(self, kind: str, user: User, channel: Channel, original: Message | None = None) -> ResponseUrl:
        """`kind` is `commands`, `actions` or `app`: the first part of Slack's path."""
        token = secrets.token_hex(12)
        team = self._slack.company.workspace.team_id
        url = f"{self._slack.base_url}/{kind}/{team}/{token}"
        thread = original.thread_ts if original else None
        made = ResponseUrl(token, url, user.id, channel.id, original, time.monotonic(), thread)
        self._all[token] = made
        return made

    def post(self, token: str, body: JSON) -> None:
        """What came to the URL. SlackError expired_url, used_url, invalid_blocks, no_text."""
        url = self._all.get(token)
        if url is None or time.monotonic() - url.issued > URL_SECONDS:
            raise SlackError("expired_url", status=404)
        if url.uses >= URL_USES:
            raise SlackError("used_url", status=404)
        self.answer(url, body)
        url.uses += 1

    def answer(self, url: ResponseUrl, body: JSON) -> None:
        """Carry out one answer: a new message, or the original one replaced or deleted."""
        slack = self._slack
        if body.get("delete_original"):
            if url.original and not url.original.deleted:
                slack.delete(url.original)
            return
        blocks.check_message(body)
        fields: JSON = {
            "text": body.get("text") or "",
            "blocks": blocks.with_ids(body.get("blocks") or []),
            "attachments": body.get("attachments") or [],
        }
        if body.get("replace_original") and url.original and not url.original.deleted:
            slack.update(url.original, slack.bot_user, **fields)
            url.messages.append(url.original)
            slack.changed()
            return
        everybody = body.get("response_type") == "in_channel"
        message = slack.post(
            slack.channels[url.channel],
            slack.bot_user,
            ephemeral_to=None if everybody else url.user,
            thread_ts=body.get("thread_ts"),
            metadata=body.get("metadata"),
            answer_to=url.token,
            **fields,
        )
        url.original = url.original or message
        url.messages.append(message)
        slack.changed()
