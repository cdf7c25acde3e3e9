"""`slack.*`: announcements to stakeholders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.policy import Risk
from bot.integrations.effects import effect
from bot.messages.message import Message
from bot.names import ChannelName
from bot.slack_messages import Place, upsert_message


class AnnouncementTemplate(StrEnum):
    """The block of `messages/announcement.j2` that surrounds the text."""

    NOTICE = "notice"
    INCIDENT = "incident"
    MAINTENANCE = "maintenance"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Announced:
    """The announcement's message in Slack; `ts` is empty in a dry run."""

    channel: str
    ts: str


@action("slack.announce", risk=Risk.CHANGE, example="/ops slack.announce 'Restauramos la base a las 02:00' maintenance")
async def announce(
    ctx: Context,
    text: Annotated[str, Field(min_length=1, max_length=2000)],
    occasion: AnnouncementTemplate = AnnouncementTemplate.NOTICE,
    begins: AwareDatetime | None = None,
    channel: ChannelName | None = None,
) -> Announced:
    """Announce something to the stakeholders, once."""
    incident = await ctx.deps.store.incidents.get(ctx.incident_id) if ctx.incident_id else None

    @effect("slack.announce")
    async def post(channel: str, text: str) -> Announced:
        text = ctx.deps.words.render_block("announcement", occasion.value, text=text, begins=begins, incident=incident)
        sent = await upsert_message(ctx.deps, f"{ctx.key}/announcement", Place(channel, moves=False), Message.of(text))
        return Announced(sent["channel"], sent["ts"])

    destination = channel or ctx.team.stakeholders_channel or ctx.deps.incident_channel
    return await post(destination, text) or Announced(destination, "")
