"""Handlers of timeline events: everything that follows an event is defined here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from bot.deps import Deps
from bot.domain.followup import FollowUpDraft
from bot.domain.people import BOT, Person
from bot.domain.stakeholders import asks_again
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages.message import Message
from bot.slack_messages import Place, upsert_message
from bot.store.pages import Page
from bot.turns import Turn
from bot.workflows.engine.durable import durable_step, start
from bot.workflows.incidents.diagnostics import run_diagnostics
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT, post_timeline_event, update_incident_messages
from bot.workflows.incidents.next_step import (
    CHANGES_ENDING,
    CHANGES_NEXT_STEP,
    update_endings,
    update_next_step,
)
from bot.workflows.incidents.page import sync_page_state
from bot.workflows.incidents.remind import answer_update_drafts
from bot.workflows.incidents.status_page import CHANGES_STATUS_PAGE
from bot.workflows.reports.report import update_report_message

EventHandler = Callable[[Deps, str, TimelineEvent], Awaitable[None]]

# A run's own message shows these.
_RUN_EVENTS = frozenset({Kind.RUN_STARTED, Kind.RUN_APPROVED, Kind.RUN_CHANGED, Kind.RUN_UNDONE, Kind.RUN_ENDED})
NOT_POSTED = _RUN_EVENTS | {
    Kind.DECLARED,
    Kind.CHANNEL_OPENED,
    Kind.SNAPSHOT_TAKEN,
    Kind.REPORT_WRITTEN,
    Kind.SNOOZED,
    Kind.NOTICE_SNOOZED,
    Kind.CAUSES_WEIGHED,
}
_CHANGES_CARD = frozenset(
    {Kind.ACKNOWLEDGED, Kind.UNACKNOWLEDGED, Kind.SEVERITY_CHANGED, Kind.ROLE_ASSIGNED, Kind.UPDATE, Kind.MITIGATED,
     Kind.RESOLVED, Kind.DISMISSED, Kind.REOPENED, Kind.CLOSED, Kind.ALERT_FIRING, Kind.ALERT_RESOLVED}
)  # fmt: skip

_CHANGES_REPORT = frozenset(
    {
        Kind.FOLLOWUP_FILED,
        Kind.FOLLOWUP_DONE,
        Kind.FOLLOWUP_REOPENED,
        Kind.IMPACT_SET,
        Kind.CAUSE_SET,
        Kind.CHANGE_REVERTED,
    }
)


async def handle_event(deps: Deps, incident_id: str, seq: int) -> None:
    """Carry one event outside. Events never change, so a replay sees the same one.

    Pages and other workflows start first: nobody sleeps on because Slack does not take a message.
    """
    with deps.turns.take(incident_id, seq) as turn:
        event = await deps.store.incidents.event(incident_id, seq)
        if _changes_pages(event):
            resolve = event.kind is Kind.PAGE_RESOLVED
            await start("sync_pages", f"{incident_id}/{seq}/pages", incident_id, resolve)
        if handler := _AFTER_EVENT.get(event.kind):
            await handler(deps, incident_id, event)
        await _tell(deps, incident_id, event, turn)
    if event.kind in CHANGES_NEXT_STEP:
        await durable_step("next step", lambda: update_next_step(deps, incident_id), MESSAGE_TIMEOUT)
    if event.kind in CHANGES_ENDING:
        await durable_step("ending", lambda: update_endings(deps, incident_id), MESSAGE_TIMEOUT)
    if event.kind in (Kind.NOTE, Kind.UPDATE):
        await _noted(deps, incident_id, event)
    if event.kind in (Kind.UPDATE, Kind.RESOLVED, Kind.DISMISSED):
        await durable_step("drafts", lambda: answer_update_drafts(deps, incident_id, event), MESSAGE_TIMEOUT)
    if asks_again(event):  # last, since earlier versions did not: what they have begun goes on behind its steps
        await start("tell_stakeholders", f"{incident_id}/{seq}/stakeholders", incident_id, seq)
    if event.kind in CHANGES_STATUS_PAGE and deps.statuspage and deps.team.status_page.hosted:
        await start("update_status_page", f"{incident_id}/{seq}/status-page", incident_id, seq)


def _changes_pages(event: TimelineEvent) -> bool:
    if event.kind is Kind.PAGE_RESOLVED:
        return not _from_pagerduty(event)
    return event.kind in (Kind.ACKNOWLEDGED, Kind.RESOLVED, Kind.DISMISSED)


async def sync_pages(deps: Deps, incident_id: str, resolve: bool) -> None:
    """Bring the pages in PagerDuty to the incident's state."""
    await _sync_pages(deps, incident_id, resolve=resolve)


async def follow(deps: Deps, incident_id: str, seq: int) -> None:
    """Do the same in the order of earlier versions, for events that they have begun with."""
    with deps.turns.take(incident_id, seq) as turn:
        event = await deps.store.incidents.event(incident_id, seq)
        await _tell(deps, incident_id, event, turn)
    if handler := _HANDLERS.get(event.kind):
        await handler(deps, incident_id, event)


async def _tell(deps: Deps, incident_id: str, event: TimelineEvent, turn: Turn) -> None:
    if event.kind not in NOT_POSTED:
        await post_timeline_event(deps, incident_id, event, turn)
    turn.release()
    if event.kind in _CHANGES_CARD:
        await update_incident_messages(deps, incident_id)
    if event.kind in (Kind.CAUSES_WEIGHED, Kind.CAUSE_CONFIRMED):
        await durable_step("causes", lambda: update_next_step(deps, incident_id), MESSAGE_TIMEOUT)
    if event.kind in _CHANGES_REPORT:
        await durable_step("report's message", lambda: update_report_message(deps, incident_id), timedelta(minutes=10))


async def _declared(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await start("declare", f"{incident_id}/declare", incident_id)
    if runbooks := event.facts.get("runbooks"):
        await start("propose", f"{incident_id}/propose", incident_id, runbooks)
    if deps.team.causes.automatic and event.facts.get("service") and (deps.prometheus or deps.kubernetes):
        await start("diagnose", f"{incident_id}/{event.seq}/why", incident_id, event.seq)


async def _page_requested(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    key, team, text = event.facts["key"], event.facts["team"], event.facts["text"]
    await start("page", f"{key}/paging", key, incident_id, team, text, "asked")


async def _page_held(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    key, team, until = event.facts["key"], event.facts["team"], event.facts["until"]
    await start("page_later", f"{key}/later", key, incident_id, team, until)


async def _acknowledged(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await _sync_pages(deps, incident_id)


async def _severity_changed(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await start("page_teams", f"{incident_id}/{event.seq}/page", incident_id, str(event.seq))


async def _reopened(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await start("page_teams", f"{incident_id}/{event.seq}/page", incident_id, str(event.seq))
    # The reminders may have ended when it was closed.
    await start("remind", f"{incident_id}/{event.seq}/remind", incident_id)


async def _resolved(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await _sync_pages(deps, incident_id)
    await _after_resolution(deps, incident_id, event)


async def _after_resolution(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await _check_causes(deps, incident_id, event)
    if deps.prometheus:
        await start("snapshot", f"{incident_id}/{event.seq}/snapshot", incident_id, "resolved")
    await durable_step("usual follow-ups", lambda: _open_usual_followups(deps, incident_id))
    await start("write_report", f"{incident_id}/{event.seq}/report", incident_id)
    await start("remind", f"{incident_id}/{event.seq}/look-again", incident_id, event.seq)


async def _snoozed(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await start("remind", f"{incident_id}/{event.seq}/snooze", incident_id, None, event.facts["until"])


async def _open_usual_followups(deps: Deps, incident_id: str) -> None:
    """Open the follow-ups that the team file lists for the incident's severity; none for a drill."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.drill:
        return
    now, policy = deps.clock.now(), deps.team.followups
    for number, usual in enumerate(deps.team.severity_policy(incident.severity).followups):
        await deps.store.followups.open(
            incident_id,
            FollowUpDraft(
                f"{deps.words.pick(usual.title)} ({incident_id})",
                owner=usual.owner or policy.owner,
                due=now.date() + (usual.due_in or policy.due_in),
                labels=tuple(policy.labels),
            ),
            by=BOT,
            at=now,
            idempotency_key=f"{incident_id}/usual/{number}",
        )


async def _ruled_out(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await start("diagnose", f"{incident_id}/{event.seq}/why", incident_id, event.seq)


async def _check_causes(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    for kind in (Kind.CAUSES_WEIGHED, Kind.CAUSE_CONFIRMED):
        if await deps.store.incidents.newest(incident_id, kind):
            await start("check_causes", f"{incident_id}/{event.seq}/causes", incident_id, event.seq)
            return


async def _mitigated(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await _check_causes(deps, incident_id, event)
    if deps.prometheus:
        await start("snapshot", f"{incident_id}/{event.seq}/snapshot", incident_id, "mitigated")


async def _closed(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    await start("write_report", f"{incident_id}/{event.seq}/report", incident_id)


async def _page_resolved(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    if not _from_pagerduty(event):
        await _sync_pages(deps, incident_id, resolve=True)


async def _followup_opened(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    followup = event.facts["followup"]
    await start("file_followup", f"{followup}/file", followup)


async def _noted(deps: Deps, incident_id: str, event: TimelineEvent) -> None:
    pagerduty = deps.pagerduty
    if pagerduty is None or _from_pagerduty(event):
        return
    text = f"{event.by.name or event.by.id}: {event.facts['text']} [{incident_id}#{event.seq}]"

    async def note() -> None:
        for page in await deps.store.pages.list_by_incident(incident_id):
            id = page.pagerduty_id or await _pagerduty_id(deps, page)
            if id:
                await pagerduty.note(id, text)

    await durable_step("note in PagerDuty", note, timedelta(minutes=10))


async def _pagerduty_id(deps: Deps, page: Page) -> str | None:
    incident = await deps.pagerduty.incident_by_key(page.key) if deps.pagerduty else None
    if incident:
        await deps.store.pages.set_pagerduty_id(page.key, incident.id)
    return incident.id if incident else None


async def _sync_pages(deps: Deps, incident_id: str, *, resolve: bool = False) -> None:
    """Acknowledge or resolve the pages to match the incident."""
    await durable_step("pages", lambda: sync_page_state(deps, incident_id, resolve=resolve), timedelta(hours=24))


def _from_pagerduty(event: TimelineEvent) -> bool:
    return event.facts.get("source") == "PagerDuty"


# These start other workflows or work in the database only, so that nothing waits for them.
_AFTER_EVENT: dict[Kind, EventHandler] = {
    Kind.DECLARED: _declared,
    Kind.PAGE_ASKED: _page_requested,
    Kind.PAGE_HELD: _page_held,
    Kind.SEVERITY_CHANGED: _severity_changed,
    Kind.REOPENED: _reopened,
    Kind.MITIGATED: _mitigated,
    Kind.RESOLVED: _after_resolution,
    Kind.CLOSED: _closed,
    Kind.SNOOZED: _snoozed,
    Kind.FOLLOWUP_OPENED: _followup_opened,
    Kind.CAUSE_RULED_OUT: _ruled_out,
}
_HANDLERS = _AFTER_EVENT | {
    Kind.ACKNOWLEDGED: _acknowledged,
    Kind.PAGE_RESOLVED: _page_resolved,
    Kind.RESOLVED: _resolved,
    Kind.NOTE: _noted,
    Kind.UPDATE: _noted,
}


async def announce(deps: Deps, key: str, part: str, facts: dict[str, Any]) -> None:
    """Post the block `part` of the announcements once; `by` in `facts` is a Person as JSON or a Slack user id."""
    by = facts.get("by")
    facts_shown = facts | {"by": Person.from_json(by) if isinstance(by, dict) else by}
    message = Message.of(deps.words.render_block("everybody", part, **facts_shown))
    await durable_step(
        f"announce {part}",
        partial(upsert_message, deps, f"{key}/{part}", Place(deps.incident_channel, person=_id(by)), message),
        MESSAGE_TIMEOUT,
    )


def _id(by: Any) -> str | None:
    person = by.get("id") if isinstance(by, dict) else by
    return person if isinstance(person, str) and Person(person).in_slack else None


async def propose(deps: Deps, incident_id: str, runbooks: list[dict[str, Any]]) -> None:
    """Propose the runbooks of the declaration in the incident's channel, once it is open, and look with the first."""
    await durable_step("propose", lambda: update_next_step(deps, incident_id), MESSAGE_TIMEOUT)
    await run_diagnostics(deps, incident_id, runbooks)
