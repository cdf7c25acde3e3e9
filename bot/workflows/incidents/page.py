"""Paging: durable, reported in the channel when it fails, idempotent by dedup key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.deps import Deps
from bot.domain.alert import ALERT_SOURCES
from bot.domain.errors import BotError, NotConfigured, Refused, Unavailable
from bot.domain.incident import Incident, Status
from bot.domain.timeline import Kind
from bot.integrations.pagerduty import PageAlert
from bot.store.pages import Page
from bot.workflows.engine.durable import Outcome, durable_step, sleep_until, start
from bot.workflows.incidents.messages import append_event

PAGE_ALARM_AFTER = timedelta(seconds=20)
# Retrying does not help: a person must fix it first.
NOT_RETRIABLE = frozenset({"pagerduty_off", "team_not_paged", "unexpected"})
REFUSED_PAUSE_SECONDS = 10.0  # what PagerDuty refuses an administrator may mend: a token, a service, a name
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
        key = page_key(incident_id, position, team)
        if team:
            await start("page", f"{key}/paging/{trigger}", key, incident_id, team, "", trigger)


async def page(deps: Deps, key: str, incident_id: str, team: str, text: str, trigger: str) -> None:
    """Page one team. If that fails, the channel is told so, and whom to call, until it works."""
    outcome = await durable_step("page", lambda: _send(deps, key, incident_id, team, text), PAGE_ALARM_AFTER)
    if not outcome.ok:
        await durable_step("say that it failed", lambda: _failed(deps, key, incident_id, team, outcome, trigger))
        if _is_hopeless(outcome.error, outcome.facts):
            return
        send_again = partial(_send_again, deps, key, incident_id, team, text)
        outcome = await durable_step("page again", send_again, PAGE_TIMEOUT)
    if outcome.ok:
        await durable_step("say that it worked", lambda: _sent(deps, key, incident_id, team, outcome.value, trigger))
        # The incident may have been acknowledged meanwhile: then stop the page.
        await durable_step("catch up", lambda: sync_page_state(deps, incident_id), PAGE_TIMEOUT)


async def _teams(deps: Deps, incident_id: str, trigger: str) -> list[str]:
    """Return the teams to page, in the order of their keys; empty in the place of one held back or asked for."""
    incident = await deps.store.incidents.get(incident_id)
    if trigger == "declared" and incident.source == "pagerduty":
        return []  # PagerDuty has paged already
    if incident.drill and not deps.team.drills.page:
        return []
    teams = list(deps.team.severity_policy(incident.severity).page)
    declared = await deps.store.incidents.newest(incident_id, Kind.DECLARED) if trigger == "declared" else None
    if declared:  # the team that the declaration is about is paged by who asked for it, with their words
        teams = ["" if team == declared.facts.get("paging") else team for team in teams]
    if trigger != "declared" or incident.source not in ALERT_SOURCES or deps.pagerduty is None:
        return teams
    for position, team in enumerate(teams):
        if team and await _is_held(deps, incident, page_key(incident_id, position, team), team):
            teams[position] = ""
    return teams


def page_key(incident_id: str, position: int, team: str) -> str:
    """Return the dedup key of a page: the first team is paged with the incident's own."""
    return incident_id if position == 0 else f"{incident_id}/{team}"


async def _is_held(deps: Deps, incident: Incident, key: str, team: str) -> bool:
    """Hold a page back for as long as a storm takes to show, if its team was just paged for other alerts."""
    now, hold = deps.clock.now(), deps.team.alerts.storm.within
    other = await deps.store.pages.claim(Page(key, incident.id, team, "sending", None), incident, now - hold)
    if other is None:
        return False
    facts = {"team": team, "key": key, "other": other, "until": (now + hold).isoformat()} | {
        "minutes": max(1, round(hold.total_seconds() / 60))
    }
    await append_event(deps, incident.id, Kind.PAGE_HELD, facts, idempotency_key=f"{key}/page-held")
    return True


async def page_later(deps: Deps, key: str, incident_id: str, team: str, until: str) -> None:
    """Send a page that was held back, unless somebody has answered the incident, or a storm pages for all of them."""
    while True:
        await sleep_until(deps, datetime.fromisoformat(until))
        outcome = await durable_step("is it answered?", lambda: _look_again_at(deps, incident_id), PAGE_TIMEOUT)
        if not outcome.value:
            break
        until = outcome.value
    if outcome.ok and outcome.value is None:
        await start("page", f"{key}/paging/later", key, incident_id, team, "", "later")


async def _look_again_at(deps: Deps, incident_id: str) -> str | None:
    """Return when to look again (ISO 8601), an empty text if somebody has answered, None if the page is to be sent."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.status is not Status.DECLARED:
        return ""
    if await deps.store.alerts.storm():
        return (deps.clock.now() + deps.team.alerts.storm.within).isoformat()
    return None


async def _send(deps: Deps, key: str, incident_id: str, team: str, text: str) -> dict[str, Any]:
    if deps.pagerduty is None:
        raise NotConfigured("pagerduty_off")
    if not can_be_paged(deps, team):
        raise Refused("team_not_paged", team=team)
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


async def _send_again(deps: Deps, key: str, incident_id: str, team: str, text: str) -> dict[str, Any]:
    """Send a page, again after a while where PagerDuty refuses it."""
    try:
        return await _send(deps, key, incident_id, team, text)
    except Refused as problem:
        if _is_hopeless(problem.key, problem.facts):
            raise
        raise Unavailable(problem.key, **problem.facts | {"retry_after": REFUSED_PAUSE_SECONDS}) from problem


def _is_hopeless(error: str | None, facts: Mapping[str, Any]) -> bool:
    """Return True if trying again cannot help: a setting of the bot is wrong, such as its routing key (400)."""
    return error in NOT_RETRIABLE or (error == "refused" and facts.get("status") == 400)


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
        "again": not _is_hopeless(outcome.error, outcome.facts),
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
    # A page whose sending was interrupted, or whose answers were lost, may have arrived, so it is resolved too. It is
    # not acknowledged here: the workflow that sends it would take it for sent.
    states = ("sent", "acknowledged", "sending", "failed") if resolve else ("sent", "acknowledged")
    for page in await deps.store.pages.list_by_incident(incident_id):
        if page.state not in states or page.state == state:
            continue
        if page.team in deps.team.teams:
            service = _service(deps, page.team)
            try:
                await (pagerduty.resolve if resolve else pagerduty.acknowledge)(page.key, service=service)
            except (Refused, NotConfigured):
                if page.state != "failed":
                    raise
                continue  # refused as the page itself was: it has not arrived
        elif page.pagerduty_id:  # opened in PagerDuty, so our routing key does not match
            await (pagerduty.resolve_incident if resolve else pagerduty.acknowledge_incident)(page.pagerduty_id)
        await deps.store.pages.add(page.key, incident_id, page.team, state)


def can_be_paged(deps: Deps, team: str) -> bool:
    """Return False for a team without a PagerDuty service where others have one: a page would wake one of them."""
    teams = deps.team.teams
    return team not in teams or bool(teams[team].pagerduty) or not any(other.pagerduty for other in teams.values())


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
