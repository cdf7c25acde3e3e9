"""Apply PagerDuty's webhooks to incidents. Events caused by the bot itself come back and change nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from bot.deps import Deps
from bot.domain.alert import STORM
from bot.domain.errors import NotFound, Refused, Unavailable, WrongState
from bot.domain.incident import (
    TITLE_LIMIT,
    Changed,
    Declaration,
    Incident,
    Severity,
    headline,
    is_visible,
    shorten,
    with_source,
)
from bot.domain.on_call import PageEvent, PagerDutyAgent
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.integrations.pagerduty import PagerDutyIncident
from bot.services.incidents import Incidents
from bot.store.alerts import PageFromOutside, StormLimit
from bot.store.pages import Page
from bot.workflows.incidents.alerts import web_address

SOURCE = "PagerDuty"
NAME_LIMIT = 100  # of a person or a monitor: PagerDuty allows services 255


class PagerDutyEvents:
    def __init__(self, deps: Deps, incidents: Incidents) -> None:
        self._deps = deps
        self._incidents = incidents

    async def handle(self, event: PageEvent) -> None:
        """Apply an event once, identified by its id, however often it is delivered.

        An event that no longer applies (acknowledging a resolved incident) changes nothing. Raises Unavailable if
        PagerDuty must say which page it is of, and does not answer.
        """
        page = await self._find_page(event)
        if event.kind == "triggered":
            if page is None or page.team == SOURCE:
                await self._begin(event)
            return
        if page is None or await self._is_own_event(event):
            return
        try:
            await self._apply(event, page)
        except (WrongState, NotFound):
            return

    async def _apply(self, event: PageEvent, page: Page) -> None:
        by = self._person(event.agent)
        at = self._deps.clock.now()
        id, state = page.incident_id, page.state
        by_itself = event.agent is None or not event.agent.is_person
        facts: dict[str, object] = {
            "to": ", ".join(event.assignees),
            "team": page.team,
            "source": SOURCE,
            "how": event.kind,
            "by_itself": by_itself,
        }

        def applied(kind: Kind, **more: object) -> Callable[[Incident], Changed]:
            return lambda incident: incident.with_event(kind, facts | more, by=by, at=at)

        change: Callable[[Incident], Changed]
        match event.kind:
            case "acknowledged":
                state, change = "acknowledged", lambda incident: with_source(SOURCE, incident.acknowledge(by=by, at=at))
            case "unacknowledged" if _is_main(page):
                state, change = "sent", lambda incident: _with_facts(facts, incident.unacknowledge(by=by, at=at))
            case "unacknowledged":
                state, change = "sent", applied(Kind.ESCALATED)
            case "resolved" if event.merged_into:
                into = event.merged_into
                change = applied(Kind.PAGE_MERGED, title=into.title, url=into.url)
            case "resolved" if by_itself and await self._has_resolved_page(id):
                return  # our own event, which comes back
            case "resolved" if by_itself or not _is_main(page):
                # The incident stays open: a monitor that calms down is no proof, nor is one team's end everybody's.
                state, change = "resolved", applied(Kind.PAGE_RESOLVED)
            case "resolved":
                state, change = "resolved", lambda incident: with_source(SOURCE, incident.resolve(by=by, at=at))
            case "reopened":
                state, change = "sent", lambda incident: with_source(SOURCE, incident.reopen(SOURCE, by=by, at=at))
            case "annotated":
                note = shorten(event.note)
                if f"[{id}#" in note or not is_visible(note):
                    return
                change = lambda incident: with_source(SOURCE, incident.note(note, by=by, at=at))  # noqa: E731
            case _:
                change = applied(Kind.ESCALATED)
        redacted = self._deps.redaction.of
        _, appended = await self._deps.store.incidents.change(
            id, lambda incident: redacted(change(incident)), idempotency_key=f"pagerduty:{event.id}"
        )
        if not appended:
            return
        if event.kind == "resolved" and event.merged_into:
            await self._deps.store.pages.merge(page.key, event.merged_into.id)
        else:
            await self._deps.store.pages.add(page.key, id, page.team, state)

    async def _has_resolved_page(self, incident_id: str) -> bool:
        """Return True if the bot itself resolves the pages of this incident: it is over, or a person asked for it."""
        incident = await self._deps.store.incidents.get(incident_id)
        requested = await self._deps.store.incidents.newest(incident_id, Kind.PAGE_RESOLVED)
        return not incident.status.is_open or (requested is not None and requested.facts.get("source") != SOURCE)

    async def _find_page(self, event: PageEvent) -> Page | None:
        """Return our page by its PagerDuty id or its dedup key: titles are anybody's."""
        stored_page = await self._deps.store.pages.by_pagerduty_id(event.incident_id)
        if stored_page:
            return stored_page
        key = event.dedup_key or await self._key_of(event.incident_id)
        page = await self._deps.store.pages.by_key(key) if key else None
        if page:
            await self._deps.store.pages.set_pagerduty_id(page.key, event.incident_id)
        return page

    async def _key_of(self, pagerduty_id: str) -> str | None:
        if self._deps.pagerduty is None:
            return None
        try:
            key: str | None = await self._deps.pagerduty.key_of(pagerduty_id)
            return key
        except Refused:
            return None

    async def _is_own_event(self, event: PageEvent) -> bool:
        """Return True if the agent is the user of our From address, which our own REST calls use."""
        if self._deps.pagerduty is None or event.agent is None:
            return False
        try:
            return event.agent.id == await self._deps.pagerduty.own_user_id()
        except (Unavailable, Refused):
            return False

    async def _begin(self, event: PageEvent) -> None:
        """Declare an incident, as far as it has come in PagerDuty: its events may arrive in another order."""
        there = await self._as_it_is(event.incident_id)
        if there and there.status == "resolved":
            return
        incident = await self._declare(event)
        page = await self._deps.store.pages.by_pagerduty_id(event.incident_id)
        if page and there and there.acknowledged_by and incident.source != STORM:
            acknowledged = replace(event, kind="acknowledged", agent=there.acknowledged_by[-1])
            with contextlib.suppress(WrongState):
                await self._apply(acknowledged, page)

    async def _as_it_is(self, pagerduty_id: str) -> PagerDutyIncident | None:
        """Return the incident as PagerDuty has it now; None if it does not say."""
        try:
            return await self._deps.pagerduty.incident(pagerduty_id) if self._deps.pagerduty else None
        except (Unavailable, Refused):
            return None

    async def _declare(self, event: PageEvent) -> Incident:
        at = self._deps.clock.now()
        severity = Severity.SEV2 if event.urgency == "high" else Severity.SEV3
        declaration = Declaration(
            headline(event.title, event.incident_id),
            severity,
            by=Person("pagerduty", SOURCE),
            at=at,
            source="pagerduty",
            facts={"page": web_address(event.url or ""), "pagerduty": event.incident_id},
        )
        storm = self._deps.team.alerts.storm
        return await self._deps.store.alerts.declare_page(
            PageFromOutside(event.dedup_key, event.incident_id, SOURCE),
            lambda id, is_storm: self._deps.redaction.of(Incident.declare(id, self._declared(declaration, is_storm))),
            at,
            StormLimit(storm.incidents, storm.within),
        )

    def _declared(self, declaration: Declaration, is_storm: bool) -> Declaration:
        """Return the declaration, or that of the storm which begins with it."""
        if not is_storm:
            return declaration
        name = declaration.title[: TITLE_LIMIT // 2]
        return replace(declaration, title=self._deps.words.label("alerts.storm_title", name=name), source=STORM)

    def _person(self, agent: PagerDutyAgent | None) -> Person:
        owner = self._deps.team.person(pagerduty=agent.id) if agent else None
        if owner:
            return Person(owner.slack, owner.name)
        name = shorten((agent.name if agent else None) or SOURCE, NAME_LIMIT)
        return Person(f"pagerduty:{name}", name)


def _with_facts(facts: Mapping[str, object], changed: Changed) -> Changed:
    incident, event = changed
    return incident, replace(event, facts={**event.facts, **facts})


def _is_main(page: Page) -> bool:
    """Return True for the incident's own page, or for the PagerDuty incident from which it was declared."""
    return page.key == page.incident_id or page.team == SOURCE
