"""One call from Slack: who, where, about which incident, and how to answer."""

from __future__ import annotations

import asyncio
from typing import Any

from slack_bolt.async_app import AsyncAck
from slack_sdk.models.views import View

from bot.domain.errors import BadInput, Refused
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.messages.message import Message
from bot.messages.translations import Translations
from bot.services.bot import Bot
from bot.tasks import yield_to_requests

ASK_FOR_LANGUAGE = 0.8


class Call:
    """What a handler gets. `cause` names the delivery, so that the same one again has no second effect."""

    def __init__(
        self, bot: Bot, body: dict[str, Any], ack: AsyncAck, idempotency_key: str, *, replayed: bool = False
    ) -> None:
        self.bot = bot
        self.body = body
        self.idempotency_key = idempotency_key
        self.replayed = replayed
        self.rejected = False
        self.named_incident: str | None = None
        self.acknowledged = asyncio.Event()
        self._ack = ack

    async def ack(self, **answer: Any) -> None:
        """Answer Slack's call now. A form with `response_action="errors"` counts as not taken."""
        self.rejected = answer.get("response_action") == "errors"
        if not self.acknowledged.is_set():
            await self._ack(**answer)
            self.acknowledged.set()
            await yield_to_requests()  # the answer goes out before whatever else there is to do

    @property
    def user_id(self) -> str:
        user = self.body.get("user") or self.body.get("event", {}).get("user") or {}
        return str(self.body.get("user_id") or (user.get("id") if isinstance(user, dict) else user) or "")

    @property
    def channel_id(self) -> str | None:
        channel = self.body.get("channel")
        event = self.body.get("event", {})
        item = event.get("item", {})
        channel_id = self.body.get("channel_id") or (channel.get("id") if isinstance(channel, dict) else channel)
        return channel_id or item.get("channel") or event.get("channel") or None

    @property
    def trigger(self) -> str:
        return str(self.body.get("trigger_id") or "")

    @property
    def value(self) -> str:
        """What the pressed button carries."""
        return str((self.body.get("actions") or [{}])[0].get("value") or "")

    async def translations(self) -> Translations:
        """The language of the person."""
        return self.bot.deps.words_for((await self.person()).locale)

    async def cached_translations(self) -> Translations:
        """The same when there is no time to ask for long: a form must open within three seconds."""
        try:
            async with asyncio.timeout(ASK_FOR_LANGUAGE):
                return await self.translations()
        except TimeoutError:
            return self.bot.deps.words

    async def person(self) -> Person:
        user = self.body.get("user")
        name = self.body.get("user_name") or (user.get("name") if isinstance(user, dict) else "") or ""
        return await self.bot.deps.slack.person(self.user_id, str(name), self.bot.deps.locale)

    async def incident(self) -> Incident:
        """The incident that was named (`incident=INC-…`), or the one of this channel. Raises BadInput."""
        if self.named_incident:
            return await self.bot.incidents.find(self.named_incident)
        incident = await self.bot.incidents.in_channel(self.channel_id) if self.channel_id else None
        if incident is None:
            raise BadInput("not_in_incident")
        return incident

    async def reply(self, message: Message) -> None:
        """Answer the person alone."""
        slack = self.bot.deps.slack
        url = self.body.get("response_url")
        if url:
            await slack.respond(
                str(url), {"response_type": "ephemeral", "replace_original": False, **message.to_dict()}
            )
        elif self.channel_id and self.user_id:
            await slack.call("chat.postEphemeral", channel=self.channel_id, user=self.user_id, **message.to_dict())
        elif self.user_id:
            await slack.call("chat.postMessage", channel=self.user_id, **message.to_dict())

    async def open(self, view: View) -> None:
        """Open a form. Its trigger lives for three seconds, so this comes before everything slow."""
        try:
            await self.bot.deps.slack.open_view(self.trigger, view)
        except Refused as problem:
            if problem.facts.get("error") in ("expired_trigger_id", "trigger_expired", "exchanged_trigger_id"):
                raise Refused("form_expired") from problem
            raise
