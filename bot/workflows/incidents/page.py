"""Paging: durable, reported in the channel when it fails, idempotent by dedup key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bot.deps import Deps
from bot.domain.errors import BotError, NotConfigured, Refused, Unavailable
from bot.domain.incident import Status
from bot.domain.timeline import Kind
from bot.integrations.pagerduty import PageAlert
from bot.workflows.engine.durable import Outcome, durable_step, start
from bot.workflows.incidents.messages import append_event

PAGE_ALARM_AFTER = timedelta(seconds=20)
# Retrying does not help: a person must fix it first.
NOT_RETRIABLE = frozenset({"pagerduty_off", "pagerduty_unknown", "pagerduty_no_integration", "refused", "unexpected"})
PAGE_TIMEOUT = timedelta(hours=24)
# PagerDuty's severities: critical, error, warning, info.
URGENCY = {"SEV1": "critical", "SEV2": "error", "SEV3": "warning", "SEV4": "info"}


async def page_teams(deps: Deps, incident_id: str, trigger: str) -> None:
    """Page the teams of the incident's severity, the first one with the incident's own dedup key.

    `trigger` distinguishes repeated calls: declared, or the number of the event that changed the severity or reopened
    it.
    """
    outcome = await durable_step("who", lambda: _teams(deps, incident_id, trigger))
    for position, team in enumerate(outcome.value or []):
        key = incident_id if position == 0 else f"{incident_id}/{team}"
        await start("page", f"{key}/paging/{trigger}", key, incident_id, team, "", trigger)


async def page(deps: Deps, key: str, incident_id: str, team: str, text: str, trigger: str) -> None:
    """Page one team. If that fails, the channel is told so, and whom to call, until it works."""
    outcome = await durable_step("page", lambda: _send(deps, key, incident_id, team, text), PAGE_ALARM_AFTER)
    if not outcome.ok:
        await durable_step("say that it failed", lambda: _failed(deps, key, incident_id, team, outcome, trigger))
        if outcome.error in NOT_RETRIABLE:
            return
        outcome = await durable_step("page again", lambda: _send(deps, key, incident_id, team, text), PAGE_TIMEOUT)
    if outcome.ok:
        await durable_step("say that it worked", lambda: _sent(deps, key, incident_id, team, outcome.value, trigger))
        # The incident may have been acknowledged meanwhile: then stop the page.
        await durable_step("catch up", lambda: sync_page_state(deps, incident_id), PAGE_TIMEOUT)


async def _teams(deps: Deps, incident_id: str, trigger: str) -> list[str]:
    incident = await deps.store.incidents.get(incident_id)
    if trigger == "declared" and incident.source == "pagerduty":
        return []  # PagerDuty has paged already
    if incident.drill and not deps.team.drills.page:
        return []
    return list(deps.team.severity_policy(incident.severity).page)


async def _send(deps: Deps, key: str, incident_id: str, team: str, text: str) -> dict[str, Any]:
    if deps.pagerduty is None:
        raise NotConfigured("pagerduty_off")
    incident = await deps.store.incidents.get(incident_id)
    page = await deps.store.pages.by_key(key)
    if not text and (not incident.status.is_open or (page and page.state in ("sent", "acknowledged"))):
        return {"skipped": True}
    await deps.store.pages.add(key, incident_id, team, "sending")
    summary = f"{incident.id} {incident.severity} · {text or incident.title}"
    await deps.pagerduty.trigger(
        key,
        PageAlert(
            summary=summary[:1024],
            severity=URGENCY[incident.severity],
            source=incident.service or deps.team.organisation,
            details={"incident": incident.id, "severity": incident.severity.value, "team": team, "text": text},
            links=[{"href": link, "text": incident.id}] if (link := await _link(deps, incident_id)) else [],
        ),
        service=_service(deps, team),
    )
    return {"who": ", ".join(contact["name"] for contact in await on_call_contacts(deps, team, cached_only=True))}


async def _link(deps: Deps, incident_id: str) -> str | None:
    headline = await deps.store.slack_messages.get(f"{incident_id}/headline")
    return deps.slack.permalink(headline.channel, headline.ts) if headline and headline.ts else None


async def _sent(deps: Deps, key: str, incident_id: str, team: str, value: dict[str, Any], trigger: str) -> None:
    if value.get("skipped"):
        return
    await deps.store.pages.add(key, incident_id, team, "sent")
    facts = {"team": team, "key": key, "who": value.get("who") or ""}
    await append_event(deps, incident_id, Kind.PAGED, facts, idempotency_key=f"{key}/paged/{trigger}")


async def _failed(deps: Deps, key: str, incident_id: str, team: str, outcome: Outcome, trigger: str) -> None:
    await deps.store.pages.add(key, incident_id, team, "failed")
    why = deps.words.error(BotError(outcome.error or "unknown", **outcome.facts))
    facts = {
        "team": team,
        "key": key,
        "why": why,
        "reach": await on_call_contacts(deps, team),
        "again": outcome.error not in NOT_RETRIABLE,
    }
    await append_event(deps, incident_id, Kind.PAGE_FAILED, facts, idempotency_key=f"{key}/page-failed/{trigger}")


async def sync_page_state(deps: Deps, incident_id: str, *, resolve: bool = False) -> None:
    """Acknowledge or resolve the pages in PagerDuty to match the incident; with `resolve`, resolve all."""
    pagerduty = deps.pagerduty
    if pagerduty is None:
        return
    incident = await deps.store.incidents.get(incident_id)
    resolve = resolve or not incident.status.is_open
    if not resolve and incident.status is Status.DECLARED:
        return
    state = "resolved" if resolve else "acknowledged"
    # A page whose sending was interrupted may have arrived, so it is resolved too. It is not acknowledged here: the
    # workflow that sends it would take it for sent.
    states = ("sent", "acknowledged", "sending") if resolve else ("sent", "acknowledged")
    for page in await deps.store.pages.list_by_incident(incident_id):
        if page.state not in states or page.state == state:
            continue
        if page.team in deps.team.teams:
            service = _service(deps, page.team)
            await (pagerduty.resolve if resolve else pagerduty.acknowledge)(page.key, service=service)
        elif page.pagerduty_id:  # opened in PagerDuty, so our routing key does not match
            await (pagerduty.resolve_incident if resolve else pagerduty.acknowledge_incident)(page.pagerduty_id)
        await deps.store.pages.add(page.key, incident_id, page.team, state)


def _service(deps: Deps, team: str) -> str | None:
    configured = deps.team.teams.get(team)
    return configured.pagerduty if configured else None


async def on_call_contacts(deps: Deps, team: str, *, cached_only: bool = False) -> list[dict[str, str]]:
    """Return the on-call contacts of a team from PagerDuty, falling back to the cache and then to the team file.

    With `cached_only` it uses only the cache, because sending a page must not wait for it.
    """
    configured = deps.team.teams.get(team)
    contacts: list[dict[str, str]] = []
    if deps.pagerduty and configured and configured.pagerduty:
        try:
            on_call = await deps.on_call.get(configured.pagerduty, cached_only=cached_only)
            contacts = [
                {"name": person.name, "phone": person.phone or "", "email": person.email or ""}
                for person in on_call
                if person.level == 1
            ]
        except (Unavailable, Refused):
            contacts = []
    if not contacts and configured and configured.contact and not cached_only:
        contact = configured.contact
        contacts = [{"name": contact.name, "phone": contact.phone or "", "email": contact.email or ""}]
    if not cached_only and deps.team.emergency_contact and not any(contact["phone"] for contact in contacts):
        contacts.append({"name": deps.team.organisation, "phone": deps.team.emergency_contact, "email": ""})
    return contacts
