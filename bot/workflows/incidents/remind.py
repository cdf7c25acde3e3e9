"""Reminders: status updates that are due, and follow-ups that are not done. Restarts do not delay them."""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.errors import Refused
from bot.domain.incident import Incident, Status
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages.catchup import progress
from bot.messages.incident import reminder, update_draft
from bot.messages.message import Message
from bot.slack_messages import Place, upsert_message
from bot.workflows.engine.durable import durable_step, sleep_until, start
from bot.workflows.incidents.catchup import catch_up_on
from bot.workflows.incidents.handover import announce_handovers
from bot.workflows.incidents.look_again import look_again
from bot.workflows.incidents.messages import destination_so_far
from bot.workflows.reports.followups import remind_followups

REMIND_INTERVAL = timedelta(hours=24)
REMIND_TIMEOUT = timedelta(minutes=5)
ANSWER_WITHIN = timedelta(minutes=10)  # for the commander; then the channel is reminded
DRAFT = "update-draft"  # in the keys of messages


async def remind_loop(
    deps: Deps, incident_id: str, resolved_seq: int | None = None, once_at: str | None = None
) -> None:
    """Send reminders until the incident is closed and its follow-ups are done.

    With `resolved_seq`, the number of the event that resolved it, only look again whether it is really over. With
    `once_at` (ISO 8601), send what is due then and end: a snooze is over.
    """
    if resolved_seq is not None:
        await look_again(deps, incident_id, resolved_seq)
        return
    if once_at is not None:
        await sleep_until(deps, datetime.fromisoformat(once_at))
        await durable_step("remind", lambda: _remind(deps, incident_id))
        return
    while True:
        outcome = await durable_step("remind", lambda: _remind(deps, incident_id))
        unfiled = await durable_step(
            "remind of follow-ups", lambda: remind_followups(deps, incident_id), REMIND_TIMEOUT
        )
        for due in unfiled.value or []:
            await start("file_followup", f"{due['followup']}/file/{due['number']}", due["followup"])
        if outcome.ok and outcome.value is None:
            return
        again = outcome.value if outcome.ok else (deps.clock.now() + timedelta(minutes=1)).isoformat()
        await sleep_until(deps, datetime.fromisoformat(again))


async def _remind(deps: Deps, incident_id: str) -> str | None:
    """Send what is due. Returns when to check again (ISO 8601), or None if nothing will become due."""
    incident = await deps.store.incidents.get(incident_id)
    now = deps.clock.now()
    check_at: list[datetime] = [now + REMIND_INTERVAL]
    if incident.status.is_open:
        check_at.append(await _update_due(deps, incident, now))
        check_at += await announce_handovers(deps, incident)
    followups = [
        followup
        for followup in await deps.store.followups.list_by_incident(incident_id)
        if followup.state.value != "done"
    ]
    if incident.status in (Status.CLOSED, Status.DISMISSED) and not followups:
        return None
    return min(check_at).isoformat()


async def _update_due(deps: Deps, incident: Incident, now: datetime) -> datetime:
    """Ask the commander for the update that is due, and the channel if nobody answers. Returns when to look again."""
    every = deps.team.severity_policy(incident.severity).update_every
    if every is None or incident.updated_at is None:
        return now + REMIND_INTERVAL
    snoozed = await deps.store.incidents.newest(incident.id, Kind.SNOOZED)
    until = datetime.fromisoformat(snoozed.facts["until"]) if snoozed else incident.updated_at
    if until > now:
        return until
    silent = now - incident.updated_at
    missed = int(silent / every)
    next_due = incident.updated_at + every * (missed + 1)
    if not missed:
        return next_due
    silence = int(incident.updated_at.timestamp())
    number = f"{missed}/{int(until.timestamp())}" if until > incident.updated_at else str(missed)
    if incident.commander:
        answer_by = max(incident.updated_at + every, until) + ANSWER_WITHIN
        if await _ask_commander(deps, incident, f"{silence}/{number}", silent) and now < answer_by:
            return min(answer_by, next_due)
        number = "unanswered"  # once in a silence
    if place := await destination_so_far(deps, incident):
        text = deps.words.render_block("reminder", "update_due", incident=incident, silent=silent)
        await upsert_message(
            deps, f"{incident.id}/remind/{silence}/{number}", place, reminder(incident, text, deps.words)
        )
    return next_due


async def _ask_commander(deps: Deps, incident: Incident, key: str, silent: timedelta) -> bool:
    """Send the commander a draft of the update. Returns False if Slack does not let the bot write to them."""
    person = incident.commander or ""
    words = deps.words_for((await deps.slack.person(person, person, deps.locale)).locale)
    draft = progress(await catch_up_on(deps, incident), deps.words)
    message = update_draft(incident, draft, key, silent, words)
    try:
        await upsert_message(deps, f"{incident.id}/{DRAFT}/{key}/{person}", Place(person, moves=False), message)
    except Refused:
        return False
    return True


async def answer_update_drafts(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    """Take the buttons from the drafts of updates: one was posted, or none is due any more."""
    incident = await deps.store.incidents.get(incident_id)
    part = "answered" if event.kind is Kind.UPDATE else "over"
    for key, sent in (await deps.store.slack_messages.with_prefix(f"{incident_id}/{DRAFT}/")).items():
        person = key.rpartition("/")[2]
        words = deps.words_for((await deps.slack.person(person, person, deps.locale)).locale)
        message = Message.of(words.render_block("reminder", part, incident=incident, event=event))
        await upsert_message(deps, key, Place(sent.channel, moves=False), message)
