"""Reminders: status updates that are due, and follow-ups that are not done. Restarts do not delay them."""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.incident import Incident, Status
from bot.domain.timeline import Kind
from bot.messages.incident import reminder
from bot.slack_messages import upsert_message
from bot.workflows.engine.durable import durable_step, sleep_until, start
from bot.workflows.incidents.handover import announce_handovers
from bot.workflows.incidents.look_again import look_again
from bot.workflows.incidents.messages import destination
from bot.workflows.reports.followups import remind_followups

REMIND_INTERVAL = timedelta(hours=24)
REMIND_TIMEOUT = timedelta(minutes=5)


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
    every = deps.team.severity_policy(incident.severity).update_every
    if every is None or incident.updated_at is None:
        return now + REMIND_INTERVAL
    snoozed = await deps.store.incidents.newest(incident.id, Kind.SNOOZED)
    until = datetime.fromisoformat(snoozed.facts["until"]) if snoozed else None
    if until and until > now:
        return until
    missed = int((now - incident.updated_at) / every)
    if missed and (place := await destination(deps, incident)):
        rendered = deps.words.render("reminder", incident=incident, silent=now - incident.updated_at)
        key = f"{incident.id}/remind/{int(incident.updated_at.timestamp())}/{missed}"
        if until and until > incident.updated_at:
            key += f"/{int(until.timestamp())}"
        await upsert_message(deps, key, place, reminder(incident, rendered["update_due"], deps.words))
    return incident.updated_at + every * (missed + 1)
