"""Messages about an incident in Slack: timeline events, headline, card, topic."""

from __future__ import annotations

import asyncio
import hashlib
import html
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bot import slack_messages
from bot.actions.boards import board, query_board
from bot.deps import Deps
from bot.domain.alert import ALERT_SOURCES
from bot.domain.errors import BotError, Refused, Unavailable
from bot.domain.incident import Incident, Milestone
from bot.domain.people import BOT
from bot.domain.snapshot import MetricResult, Verdict
from bot.domain.timeline import Kind, TimelineEvent, is_call
from bot.integrations.slack import reaction_of
from bot.integrations.slack_errors import Reaction
from bot.messages.incident import card, timeline_message, topic
from bot.messages.message import fit
from bot.slack_messages import Place, upsert_message
from bot.turns import Turn
from bot.workflows.engine.durable import Outcome, durable_step

# What people were promised to see is tried for ever: a late message is better than a lost one.
MESSAGE_TIMEOUT = None
POINTER_TIMEOUT = timedelta(hours=1)
SHORT_TOPIC = 120
MEASURE_TIMEOUT_SECONDS = 2.0  # a card must not wait for Prometheus
MEASURE_WINDOW = timedelta(minutes=5)
CARD_TIMEOUT = timedelta(minutes=1)  # then records do not wait for the card any more


async def post_timeline_event(deps: Deps, incident_id: str, event: TimelineEvent, turn: Turn) -> None:
    """Post one event to the incident's channel, after the events before it."""

    async def tell() -> dict[str, Any]:
        await turn.come()
        return await _post_timeline_event(deps, incident_id, event)

    outcome = await durable_step("tell", tell, MESSAGE_TIMEOUT)
    turn.release()
    if not outcome.ok:
        await record_failure(deps, incident_id, "message", outcome)


async def _post_timeline_event(deps: Deps, incident_id: str, event: TimelineEvent) -> dict[str, Any]:
    incident = await deps.store.incidents.get(incident_id)
    before = await deps.store.incidents.timeline(incident_id) if event.kind is Kind.ALERT_FIRING else ()
    place = await (destination if is_call(event, before) else thread_destination)(deps, incident)
    message = timeline_message(event, incident, deps.words)
    return await upsert_message(deps, f"{incident_id}/{event.seq}", place, message)


async def point_to_replacement(deps: Deps, subject: str, key: str, channel: str, ts: str, thread: str) -> None:
    """Say in the thread of a message that was replaced where the current one is; `subject` is what both are about."""
    pointing = partial(slack_messages.point_to_replacement, deps, key, channel, ts, thread)
    await durable_step("point to replacement", pointing, POINTER_TIMEOUT)


async def destination(deps: Deps, incident: Incident) -> Place:
    """Return where the incident's messages go: its channel. Raises Unavailable while the channel is being opened."""
    if place := await destination_so_far(deps, incident):
        return place
    raise Unavailable("channel_pending", incident=incident.id)


async def destination_so_far(deps: Deps, incident: Incident) -> Place | None:
    """Return where the incident's messages go; None while its channel is being opened.

    The headline is posted after the channel is opened. A headline without a channel means that Slack refused the
    channel: then the headline's thread is used.
    """
    if incident.channel:
        return Place(incident.channel, incident_id=incident.id)
    headline = await deps.store.slack_messages.get(f"{incident.id}/headline")
    return Place(headline.channel, headline.ts, incident.id) if headline and headline.ts else None


async def thread_destination(deps: Deps, incident: Incident) -> Place:
    """Return where the incident's records go: the card's thread, so that the channel has only what somebody must see.

    Without a card, records go to where other messages go. Raises Unavailable while the channel is being opened or the
    card is on its way.
    """
    place = await destination(deps, incident)
    if incident.channel is None:
        return place
    key = f"{incident.id}/card"
    card = await deps.store.slack_messages.get(key)
    if card and card.ts:
        return replace(place, channel=card.channel, thread=card.ts)
    waited = (deps.clock.now() - incident.milestones[Milestone.DECLARED]) / deps.clock.speed
    if card and card.reserved_at:
        waited = datetime.now(UTC) - card.reserved_at
    if waited < CARD_TIMEOUT and not deps.slack.in_flight.was_refused(key):
        raise Unavailable("channel_pending", incident=incident.id)
    return place


async def update_incident_messages(deps: Deps, incident_id: str) -> None:
    """Update headline, card and topic to the current state."""
    await durable_step("headline", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT)
    await durable_step("card", lambda: update_card(deps, incident_id), MESSAGE_TIMEOUT)
    await durable_step("topic", lambda: update_topic(deps, incident_id), timedelta(minutes=5))


async def update_headline(deps: Deps, incident_id: str) -> dict[str, Any]:
    async with deps.message_lock(f"{incident_id}/headline"):
        incident, shown = await _current_state(deps, incident_id)
        message = card(incident, deps.words, in_own_channel=False, **shown)
        place = Place(deps.incident_channel, incident_id=incident_id)
        return await upsert_message(deps, f"{incident_id}/headline", place, message)


async def update_card(deps: Deps, incident_id: str) -> dict[str, Any] | None:
    async with deps.message_lock(f"{incident_id}/card"):
        incident, shown = await _current_state(deps, incident_id)
        if incident.channel is None:
            return None
        out = await out_of_bounds(deps, incident) if incident.status.is_open else None
        now = deps.clock.now()
        message = card(incident, deps.words, in_own_channel=True, out=out, measured_at=now, **shown)
        place = Place(incident.channel, incident_id=incident_id, moves=False)
        try:
            return await upsert_message(deps, f"{incident_id}/card", place, message)
        except Refused as problem:
            if reaction_of(problem) is not Reaction.ELSEWHERE:
                raise
            return None  # the channel is closed; the headline shows the same


async def update_topic(deps: Deps, incident_id: str) -> None:
    """Update the topic only if it changed, because Slack posts a line in the channel for each change."""
    key = f"{incident_id}/topic"
    async with deps.message_lock(key):
        incident = await deps.store.incidents.get(incident_id)
        if incident.channel is None:
            return
        text = topic(incident, deps.words)
        digest = hashlib.sha256(text.encode()).hexdigest()
        posts = deps.store.slack_messages
        interrupted = not await posts.reserve(key, incident.channel, datetime.now(UTC))
        message = await posts.get(key)
        if message is not None and message.digest == digest:
            return
        call_key = f"{key}/{digest}"
        if interrupted and await _has_topic(deps, incident.channel, text):
            deps.slack.in_flight.forget(call_key)
        elif not await _set_topic(deps, incident.channel, text, call_key):
            return
        await posts.mark_sent(key, incident.channel, None, digest)


async def _set_topic(deps: Deps, channel: str, text: str, key: str) -> bool:
    """Set the topic, cut if Slack finds it too long. Returns False if the channel is closed, and its topic with it."""
    shorter = fit(text, SHORT_TOPIC)
    for form, is_last in ((text, False), (shorter, True)):
        try:
            await deps.slack.call_once(key, "conversations.setTopic", channel=channel, topic=form)
            return True
        except Refused as problem:
            reaction = reaction_of(problem)
            if reaction is Reaction.ELSEWHERE:
                return False
            if reaction is not Reaction.DIFFERENTLY or is_last:
                raise
    raise AssertionError("there is a last form")


async def _has_topic(deps: Deps, channel: str, text: str) -> bool:
    info = await deps.slack.read("conversations.info", channel=channel)
    value = ((info.get("channel") or {}).get("topic") or {}).get("value") or ""
    return html.unescape(str(value)) == html.unescape(text)


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


async def _current_state(deps: Deps, incident_id: str) -> tuple[Incident, dict[str, Any]]:
    """Return the incident, and what its card shows besides: `update`, `firing`, `alert`."""
    incident = await deps.store.incidents.get(incident_id)
    update = await deps.store.incidents.newest(incident_id, Kind.UPDATE)
    firing = await deps.store.alerts.count_firing(incident_id)
    declared = None
    if incident.source in ALERT_SOURCES:
        declared = await deps.store.incidents.newest(incident_id, Kind.DECLARED)
    return incident, {"update": update, "firing": firing, "alert": declared.facts if declared else None}


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
