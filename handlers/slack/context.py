"""One request from Slack: who, where, about which incident, and how to reply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from slack_bolt.async_app import AsyncAck
from slack_sdk.models.views import View

from bot.domain.errors import BadInput, Refused, Unavailable
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.integrations.base import retry
from bot.integrations.slack import reaction_of
from bot.integrations.slack_errors import Reaction
from bot.messages import forms
from bot.messages.message import Message
from bot.messages.translations import Translations
from bot.services.bot import Bot
from bot.tasks import continue_in_background

LANGUAGE_TIMEOUT_SECONDS = 0.8
FORM_TIMEOUT = timedelta(seconds=2.5)  # a trigger lasts 3 s
TRIGGER_IS_OVER = ("expired_trigger_id", "trigger_expired", "exchanged_trigger_id", "invalid_trigger_id")
REPLY_TIMEOUT = timedelta(seconds=20)  # for each way; an answer that comes later is useless

log = logging.getLogger(__name__)


class Call:
    """What a handler receives. `idempotency_key` identifies the delivery, so that repeating it has no effect."""

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

    async def ack(self, **response: Any) -> None:
        """Acknowledge the request. A form answered with `response_action="errors"` counts as not accepted."""
        self.rejected = response.get("response_action") == "errors"
        if not self.acknowledged.is_set():
            await self._ack(**response)
            self.acknowledged.set()
            await continue_in_background()

    @property
    def user_id(self) -> str:
        user = self.body.get("user") or self.body.get("event", {}).get("user") or {}
        return str(self.body.get("user_id") or (user.get("id") if isinstance(user, dict) else user) or "")

    @property
    def channel_id(self) -> str | None:
        channel, event = self.body.get("channel"), self.body.get("event", {})
        item = event.get("item", {})
        known = (
            self.body.get("channel_id"),
            channel.get("id") if isinstance(channel, dict) else channel,
            item.get("channel"),
            event.get("channel"),
        )
        return next((id for id in known if id and isinstance(id, str)), None)

    @property
    def trigger(self) -> str:
        return str(self.body.get("trigger_id") or "")

    @property
    def value(self) -> str:
        """The value of the pressed button."""
        return str((self.body.get("actions") or [{}])[0].get("value") or "")

    async def translations(self) -> Translations:
        """Return the texts in the person's language."""
        return self.bot.deps.words_for((await self.person()).locale)

    async def cached_translations(self) -> Translations:
        """Return the same within LANGUAGE_TIMEOUT_SECONDS, because a form must open within 3 s; else in the team's
        language.
        """
        try:
            async with asyncio.timeout(LANGUAGE_TIMEOUT_SECONDS):
                return await self.translations()
        except TimeoutError:
            return self.bot.deps.words

    async def person(self) -> Person:
        user = self.body.get("user")
        name = self.body.get("user_name") or (user.get("name") if isinstance(user, dict) else "") or ""
        return await self.bot.deps.slack.person(self.user_id, str(name), self.bot.deps.locale)

    async def incident(self) -> Incident:
        """Return the named incident (`incident=INC-…`), or the one of this channel. Raises BadInput."""
        if self.named_incident:
            return await self.bot.incidents.find(self.named_incident)
        incident = await self.bot.incidents.in_channel(self.channel_id) if self.channel_id else None
        if incident is None:
            raise BadInput("not_in_incident")
        return incident

    async def reply(self, message: Message) -> None:
        """Reply privately to the person: where they asked, else in the channel, else directly.

        What was asked for is done or refused by now, so a reply that Slack does not take is only logged.
        """
        problems: list[str] = []
        try:
            for way in self._ways_to_reply():
                for form in message.forms():
                    try:
                        await retry(partial(way, form), REPLY_TIMEOUT)
                        return
                    except (Unavailable, Refused) as problem:
                        problems.append(str(problem))
                        if reaction_of(problem) not in (Reaction.DIFFERENTLY, Reaction.NEVER):
                            break
        finally:
            if problems:
                log.warning("a reply was not taken: %s", "; ".join(problems))

    def _ways_to_reply(self) -> Iterator[Callable[[Message], Awaitable[object]]]:
        slack, url, channel, user = self.bot.deps.slack, self.body.get("response_url"), self.channel_id, self.user_id
        private = {"response_type": "ephemeral", "replace_original": False}
        if url:
            yield lambda message: slack.respond(str(url), private | message.to_dict())
        if channel and user:
            yield lambda message: slack.call("chat.postEphemeral", channel=channel, user=user, **message.to_dict())
        if user:
            yield lambda message: slack.call("chat.postMessage", channel=user, **message.to_dict())

    async def open_findings(self, incident: Incident) -> None:
        """Open the form for impact, cause and lessons."""
        about = str(await self.bot.incidents.findings(incident))
        words = await self.cached_translations()
        await self.open(forms.report(words, self.bot.deps.team, incident, about=about))

    async def open(self, view: View) -> None:
        """Open a form. Call it before anything slow: the trigger expires after 3 s."""
        lost: list[Unavailable] = []

        async def remember(problem: Unavailable) -> None:
            lost.append(problem)

        try:
            await retry(lambda: self.bot.deps.slack.open_view(self.trigger, view), FORM_TIMEOUT, on_retry=remember)
        except Refused as problem:
            error = problem.facts.get("error")
            if lost and error == "exchanged_trigger_id":
                return  # it is open: only the answer to the first call was lost
            if error in TRIGGER_IS_OVER:
                raise Refused("form_expired") from problem
            raise
