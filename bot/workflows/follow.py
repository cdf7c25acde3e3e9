"""What an event of the timeline means outside: the channel is told, the cards are drawn, PagerDuty hears of it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from bot.domain.errors import BotError, Unavailable
from bot.domain.incident import Incident
from bot.domain.people import BOT
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages.incident import card, timeline_message, topic
from bot.parts import Parts
from bot.post import upsert_message
from bot.workflows.engine import Outcome, durable_step

# A message that is a day late helps nobody.
MESSAGE_TIMEOUT = timedelta(hours=24)


async def post_timeline_event(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    """Post one event where the incident is handled."""
    await durable_step("tell", lambda: _post_timeline_event(parts, incident_id, event), MESSAGE_TIMEOUT)


async def _post_timeline_event(parts: Parts, incident_id: str, event: TimelineEvent) -> dict[str, Any]:
    incident = await parts.store.incidents.get(incident_id)
    target = await destination(parts, incident)
    if target is None:
        raise Unavailable("channel_pending", incident=incident_id)
    channel, thread = target
    return await upsert_message(
        parts, f"{incident_id}/{event.seq}", channel, timeline_message(event, incident, parts.words), thread=thread
    )


async def destination(parts: Parts, incident: Incident) -> tuple[str, str | None] | None:
    """Where an incident is told, as a channel and a thread in it: its own channel; None while that is being opened.

    The headline is posted after the channel was opened. One that stands without says that Slack refused the channel:
    its thread has to do.
    """
    if incident.channel:
        return incident.channel, None
    headline = await parts.store.slack_messages.get(f"{incident.id}/headline")
    return (headline.channel, headline.ts) if headline and headline.ts else None


async def update_incident_messages(parts: Parts, incident_id: str) -> None:
    """Bring the headline, the card and the topic to what is true now."""
    await durable_step("headline", lambda: update_headline(parts, incident_id), MESSAGE_TIMEOUT)
    await durable_step("card", lambda: update_card(parts, incident_id), MESSAGE_TIMEOUT)
    await durable_step("topic", lambda: update_topic(parts, incident_id), timedelta(minutes=5))


async def update_headline(parts: Parts, incident_id: str) -> dict[str, Any]:
    async with parts.message_lock(f"{incident_id}/headline"):
        incident, update, firing = await _current_state(parts, incident_id)
        message = card(incident, parts.words, update=update, firing=firing, in_own_channel=False)
        return await upsert_message(parts, f"{incident_id}/headline", parts.incident_channel, message)


async def update_card(parts: Parts, incident_id: str) -> dict[str, Any] | None:
    async with parts.message_lock(f"{incident_id}/card"):
        incident, update, firing = await _current_state(parts, incident_id)
        if incident.channel is None:
            return None
        message = card(incident, parts.words, update=update, firing=firing, in_own_channel=True)
        return await upsert_message(parts, f"{incident_id}/card", incident.channel, message)


async def update_topic(parts: Parts, incident_id: str) -> None:
    """Bring the topic to what is true now; Slack tells the channel of each change, so one that is right stays."""
    key = f"{incident_id}/topic"
    async with parts.message_lock(key):
        incident = await parts.store.incidents.get(incident_id)
        if incident.channel is None:
            return
        owner = parts.team.person(slack=incident.commander) if incident.commander else None
        now = topic(incident, parts.words, commander=owner.name if owner else None)
        digest = hashlib.sha256(now.encode()).hexdigest()
        await parts.store.slack_messages.reserve(key, incident.channel)
        message = await parts.store.slack_messages.get(key)
        if message is None or message.digest != digest:
            await parts.slack.call("conversations.setTopic", channel=incident.channel, topic=now)
            await parts.store.slack_messages.mark_sent(key, incident.channel, None, digest)


async def record_failure(parts: Parts, incident_id: str, what: str, outcome: Outcome) -> None:
    """Put on the timeline what did not come about, in words."""
    error = BotError(outcome.error or "unknown", **outcome.facts)
    facts = {"what": parts.words.label(f"trouble.{what}"), "why": parts.words.error(error)}
    await durable_step(
        f"trouble:{what}",
        lambda: append_event(parts, incident_id, Kind.TROUBLE, facts, cause=f"{incident_id}/trouble/{what}"),
    )


async def append_event(parts: Parts, incident_id: str, kind: Kind, facts: dict[str, Any], *, cause: str) -> None:
    """Append an event of the bot's own, once for each `cause`."""
    at = parts.clock.now()
    await parts.store.incidents.change(
        incident_id,
        lambda incident: incident.with_event(kind, parts.redaction.of(facts), by=BOT, at=at),
        cause=cause,
    )


async def _current_state(parts: Parts, incident_id: str) -> tuple[Incident, TimelineEvent | None, int]:
    incident = await parts.store.incidents.get(incident_id)
    update = await parts.store.incidents.newest(incident_id, Kind.UPDATE)
    firing = await parts.store.alerts.count_firing(incident_id) if incident.status.is_open else 0
    return incident, update, firing
