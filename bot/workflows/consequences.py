"""What follows from each event of the timeline. The one place that says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from bot.domain.people import BOT
from bot.domain.timeline import Kind, TimelineEvent
from bot.parts import Parts
from bot.store.pages import Page
from bot.workflows.engine import durable_step, start
from bot.workflows.follow import post_timeline_event, update_incident_messages
from bot.workflows.page import sync_page_state
from bot.workflows.report import update_report_message

EventHandler = Callable[[Parts, str, TimelineEvent], Awaitable[None]]

# The message of the run itself says what it does.
_RUN_EVENTS = frozenset({Kind.RUN_STARTED, Kind.RUN_APPROVED, Kind.RUN_CHANGED, Kind.RUN_UNDONE, Kind.RUN_ENDED})
_NOT_POSTED = _RUN_EVENTS | {Kind.DECLARED, Kind.CHANNEL_OPENED, Kind.SNAPSHOT_TAKEN, Kind.REPORT_WRITTEN}
_CHANGES_CARD = frozenset(
    {Kind.ACKNOWLEDGED, Kind.SEVERITY_CHANGED, Kind.ROLE_ASSIGNED, Kind.UPDATE, Kind.MITIGATED, Kind.RESOLVED,
     Kind.REOPENED, Kind.CLOSED, Kind.ALERT_FIRING, Kind.ALERT_RESOLVED}
)  # fmt: skip

_CHANGES_REPORT = frozenset(
    {Kind.FOLLOWUP_FILED, Kind.FOLLOWUP_DONE, Kind.FOLLOWUP_REOPENED, Kind.IMPACT_SET, Kind.CAUSE_SET}
)


async def handle_event(parts: Parts, incident_id: str, seq: int) -> None:
    """Carry one event to the outside. An event never changes, so reading it again gives the same."""
    event = await parts.store.incidents.event(incident_id, seq)
    if event.kind not in _NOT_POSTED:
        await post_timeline_event(parts, incident_id, event)
    if event.kind in _CHANGES_CARD:
        await update_incident_messages(parts, incident_id)
    if event.kind in _CHANGES_REPORT:
        await durable_step("report's message", lambda: update_report_message(parts, incident_id), timedelta(minutes=10))
    if consequence := _HANDLERS.get(event.kind):
        await consequence(parts, incident_id, event)


async def _declared(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    await start("declare", f"{incident_id}/declare", incident_id)
    if runbooks := event.facts.get("runbooks"):
        await start("propose", f"{incident_id}/propose", incident_id, runbooks)


async def _page_requested(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    key, team, text = event.facts["key"], event.facts["team"], event.facts["text"]
    await start("page", f"{key}/paging", key, incident_id, team, text, "asked")


async def _acknowledged(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    await _sync_pages(parts, incident_id)


async def _severity_changed(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    await start("page_teams", f"{incident_id}/{event.seq}/page", incident_id, str(event.seq))


async def _reopened(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    await start("page_teams", f"{incident_id}/{event.seq}/page", incident_id, str(event.seq))
    # The reminders may have ended with the closing.
    await start("remind", f"{incident_id}/{event.seq}/remind", incident_id)


async def _resolved(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    await _sync_pages(parts, incident_id)
    if parts.prometheus:
        await start("snapshot", f"{incident_id}/{event.seq}/snapshot", incident_id, "resolved")
    await durable_step("usual follow-ups", lambda: _open_usual_followups(parts, incident_id))
    await start("write_report", f"{incident_id}/{event.seq}/report", incident_id)


async def _open_usual_followups(parts: Parts, incident_id: str) -> None:
    """What the team's file says is to be done after every incident of this severity; nothing after a drill."""
    incident = await parts.store.incidents.get(incident_id)
    if incident.drill:
        return
    now, policy = parts.clock.now(), parts.team.followups
    for number, usual in enumerate(parts.team.severities[incident.severity].followups):
        await parts.store.followups.open(
            incident_id,
            f"{parts.words.pick(usual.title)} ({incident_id})",
            owner=usual.owner or policy.owner,
            due=now.date() + (usual.due_in or policy.due_in),
            labels=tuple(policy.labels),
            by=BOT,
            at=now,
            cause=f"{incident_id}/usual/{number}",
        )


async def _mitigated(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    if parts.prometheus:
        await start("snapshot", f"{incident_id}/{event.seq}/snapshot", incident_id, "mitigated")


async def _closed(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    await start("write_report", f"{incident_id}/{event.seq}/report", incident_id)


async def _page_resolved(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    if not _from_pagerduty(event):
        await _sync_pages(parts, incident_id, resolve=True)


async def _followup_opened(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    followup = event.facts["followup"]
    await start("file_followup", f"{followup}/file", followup)


async def _noted(parts: Parts, incident_id: str, event: TimelineEvent) -> None:
    pagerduty = parts.pagerduty
    if pagerduty is None or _from_pagerduty(event):
        return
    text = f"{event.by.name or event.by.id}: {event.facts['text']} [{incident_id}#{event.seq}]"

    async def note() -> None:
        for page in await parts.store.pages.list_by_incident(incident_id):
            id = page.pagerduty_id or await _pagerduty_id(parts, page)
            if id:
                await pagerduty.note(id, text)

    await durable_step("note in PagerDuty", note, timedelta(minutes=10))


async def _pagerduty_id(parts: Parts, page: Page) -> str | None:
    pager_duty_incident = await parts.pagerduty.incident_by_key(page.key) if parts.pagerduty else None
    if pager_duty_incident:
        await parts.store.pages.set_pagerduty_id(page.key, pager_duty_incident.id)
    return pager_duty_incident.id if pager_duty_incident else None


async def _sync_pages(parts: Parts, incident_id: str, *, resolve: bool = False) -> None:
    """Bring the pages to where the incident is: acknowledged or resolved."""
    await durable_step("pages", lambda: sync_page_state(parts, incident_id, resolve=resolve), timedelta(hours=24))


def _from_pagerduty(event: TimelineEvent) -> bool:
    return event.facts.get("source") == "PagerDuty"


_HANDLERS: dict[Kind, EventHandler] = {
    Kind.DECLARED: _declared,
    Kind.PAGE_ASKED: _page_requested,
    Kind.ACKNOWLEDGED: _acknowledged,
    Kind.SEVERITY_CHANGED: _severity_changed,
    Kind.REOPENED: _reopened,
    Kind.PAGE_RESOLVED: _page_resolved,
    Kind.MITIGATED: _mitigated,
    Kind.RESOLVED: _resolved,
    Kind.CLOSED: _closed,
    Kind.FOLLOWUP_OPENED: _followup_opened,
    Kind.NOTE: _noted,
    Kind.UPDATE: _noted,
}
