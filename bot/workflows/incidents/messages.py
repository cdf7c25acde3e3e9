"""Messages about an incident in Slack: timeline events, headline, card, topic."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

from bot.actions.boards import board, query_board
from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.domain.incident import Incident
from bot.domain.people import BOT
from bot.domain.snapshot import MetricResult, Verdict
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages.incident import card, timeline_message, topic
from bot.slack_messages import upsert_message
from bot.workflows.engine.durable import Outcome, durable_step

# A message that is a day late is useless.
MESSAGE_TIMEOUT = timedelta(hours=24)
MEASURE_TIMEOUT_SECONDS = 2.0  # a card must not wait for Prometheus
MEASURE_WINDOW = timedelta(minutes=5)


async def post_timeline_event(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    """Post one event to the incident's channel."""
    await durable_step("tell", lambda: _post_timeline_event(deps, incident_id, event), MESSAGE_TIMEOUT)


async def _post_timeline_event(deps: Deps, incident_id: str, event: TimelineEvent) -> dict[str, Any]:
    incident = await deps.store.incidents.get(incident_id)
    target = await destination(deps, incident)
    if target is None:
        raise Unavailable("channel_pending", incident=incident_id)
    channel, thread = target
    return await upsert_message(
        deps, f"{incident_id}/{event.seq}", channel, timeline_message(event, incident, deps.words), thread=thread
    )


async def destination(deps: Deps, incident: Incident) -> tuple[str, str | None] | None:
    """Return the incident's channel (and a thread in it, or None); None while the channel is being opened.

    The headline is posted after the channel is opened. A headline without a channel means that Slack refused the
    channel: then the headline's thread is used.
    """
    if incident.channel:
        return incident.channel, None
    headline = await deps.store.slack_messages.get(f"{incident.id}/headline")
    return (headline.channel, headline.ts) if headline and headline.ts else None


async def update_incident_messages(deps: Deps, incident_id: str) -> None:
    """Update headline, card and topic to the current state."""
    await durable_step("headline", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT)
    await durable_step("card", lambda: update_card(deps, incident_id), MESSAGE_TIMEOUT)
    await durable_step("topic", lambda: update_topic(deps, incident_id), timedelta(minutes=5))


async def update_headline(deps: Deps, incident_id: str) -> dict[str, Any]:
    async with deps.message_lock(f"{incident_id}/headline"):
        incident, update, firing = await _current_state(deps, incident_id)
        message = card(incident, deps.words, update=update, firing=firing, in_own_channel=False)
        return await upsert_message(deps, f"{incident_id}/headline", deps.incident_channel, message)


async def update_card(deps: Deps, incident_id: str) -> dict[str, Any] | None:
    async with deps.message_lock(f"{incident_id}/card"):
        incident, update, firing = await _current_state(deps, incident_id)
        if incident.channel is None:
            return None
        out = await out_of_bounds(deps, incident) if incident.status.is_open else None
        message = card(incident, deps.words, update=update, firing=firing, in_own_channel=True, out=out)
        return await upsert_message(deps, f"{incident_id}/card", incident.channel, message)


async def update_topic(deps: Deps, incident_id: str) -> None:
    """Update the topic only if it changed, because Slack posts a line in the channel for each change."""
    key = f"{incident_id}/topic"
    async with deps.message_lock(key):
        incident = await deps.store.incidents.get(incident_id)
        if incident.channel is None:
            return
        owner = deps.team.person(slack=incident.commander) if incident.commander else None
        text = topic(incident, deps.words, commander=owner.name if owner else None)
        digest = hashlib.sha256(text.encode()).hexdigest()
        await deps.store.slack_messages.reserve(key, incident.channel)
        message = await deps.store.slack_messages.get(key)
        if message is None or message.digest != digest:
            await deps.slack.call("conversations.setTopic", channel=incident.channel, topic=text)
            await deps.store.slack_messages.mark_sent(key, incident.channel, None, digest)


async def record_failure(deps: Deps, incident_id: str, what: str, outcome: Outcome) -> None:
    """Record on the timeline what failed, in words."""
    error = BotError(outcome.error or "unknown", **outcome.facts)
    facts = {"what": deps.words.label(f"trouble.{what}"), "why": deps.words.error(error)}
    await durable_step(
        f"trouble:{what}",
        lambda: append_event(deps, incident_id, Kind.TROUBLE, facts, idempotency_key=f"{incident_id}/trouble/{what}"),
    )


async def append_event(
    deps: Deps, incident_id: str, kind: Kind, facts: dict[str, Any], *, idempotency_key: str
) -> None:
    """Append an event by the bot, once per idempotency key."""
    at = deps.clock.now()
    await deps.store.incidents.change(
        incident_id,
        lambda incident: incident.with_event(kind, deps.redaction.of(facts), by=BOT, at=at),
        idempotency_key=idempotency_key,
    )


async def _current_state(deps: Deps, incident_id: str) -> tuple[Incident, TimelineEvent | None, int]:
    incident = await deps.store.incidents.get(incident_id)
    update = await deps.store.incidents.newest(incident_id, Kind.UPDATE)
    return incident, update, await deps.store.alerts.count_firing(incident_id)


async def out_of_bounds(deps: Deps, incident: Incident) -> list[MetricResult] | None:
    """Return the metrics of the service's board that are out of bounds now; None if they cannot be measured quickly."""
    if deps.prometheus is None or incident.service is None:
        return None
    now = deps.clock.now()
    try:
        spec = board(deps.team, None, incident.service)
        async with asyncio.timeout(MEASURE_TIMEOUT_SECONDS):
            snapshot = await query_board(deps.prometheus, spec, now, start=now - MEASURE_WINDOW)
    except (BotError, TimeoutError):
        return None
    if snapshot.missing:
        return None
    return [metric for metric in snapshot.figures if metric.verdict is Verdict.BREACH]
