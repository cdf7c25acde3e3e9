"""Apply PagerDuty's webhooks to incidents. Events caused by the bot itself come back and change nothing."""

from __future__ import annotations

from collections.abc import Callable

from bot.deps import Deps
from bot.domain.errors import NotFound, Refused, Unavailable, WrongState
from bot.domain.incident import TITLE_LIMIT, Changed, Declaration, Incident, Severity, with_source
from bot.domain.on_call import PageEvent, PagerDutyAgent
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.services.incidents import Incidents
from bot.store.pages import Page

SOURCE = "PagerDuty"


class PagerDutyEvents:
    def __init__(self, deps: Deps, incidents: Incidents) -> None:
        self._deps = deps
        self._incidents = incidents

    async def handle(self, event: PageEvent) -> None:
        """Apply an event once, identified by its id, however often it is delivered.

        An event that no longer applies (acknowledging a resolved incident) changes nothing.
        """
        page = await self._find_page(event)
        if page is None:
            if event.kind == "triggered":
                await self._declare(event)
            return
        if event.agent is None or not event.agent.is_person or await self._is_own_event(event):
            return
        try:
            await self._apply(event, page)
        except (WrongState, NotFound):
            return

    async def _apply(self, event: PageEvent, page: Page) -> None:
        by = self._person(event.agent)
        at = self._deps.clock.now()
        id, state = page.incident_id, page.state
        change: Callable[[Incident], Changed]
        match event.kind:
            case "acknowledged":
                state, change = "acknowledged", lambda incident: with_source(SOURCE, incident.acknowledge(by=by, at=at))
            case "resolved" if not _is_main(page):  # the page of an additional team: the incident stays open
                state, change = (
                    "resolved",
                    lambda incident: incident.with_event(Kind.PAGE_RESOLVED, facts, by=by, at=at),
                )
            case "resolved":
                state, change = "resolved", lambda incident: with_source(SOURCE, incident.resolve(by=by, at=at))
            case "reopened":
                state, change = "sent", lambda incident: with_source(SOURCE, incident.reopen(SOURCE, by=by, at=at))
            case "annotated":
                if f"[{id}#" in event.note:
                    return
                change = lambda incident: with_source(SOURCE, incident.note(event.note, by=by, at=at))  # noqa: E731
            case _:
                change = lambda incident: incident.with_event(Kind.ESCALATED, facts, by=by, at=at)  # noqa: E731
        to = ", ".join(event.assignees)
        facts = {"to": to, "team": page.team, "source": SOURCE}
        redacted = self._deps.redaction.of
        _, appended = await self._deps.store.incidents.change(
            id, lambda incident: redacted(change(incident)), idempotency_key=f"pagerduty:{event.id}"
        )
        if appended:
            await self._deps.store.pages.add(page.key, id, page.team, state)

    async def _find_page(self, event: PageEvent) -> Page | None:
        """Return our page by its PagerDuty id, its dedup key, or the incident's id in the title."""
        stored_page = await self._deps.store.pages.by_pagerduty_id(event.incident_id)
        if stored_page:
            return stored_page
        keys = [event.dedup_key, await self._key_of(event.incident_id), event.title.partition(" ")[0]]
        for key in filter(None, keys):
            page = await self._deps.store.pages.by_key(key)
            if page:
                await self._deps.store.pages.set_pagerduty_id(page.key, event.incident_id)
                return page
        return None

    async def _key_of(self, pagerduty_id: str) -> str | None:
        if self._deps.pagerduty is None:
            return None
        try:
            key: str | None = await self._deps.pagerduty.key_of(pagerduty_id)
            return key
        except (Unavailable, Refused):
            return None

    async def _is_own_event(self, event: PageEvent) -> bool:
        """Return True if the agent is the user of our From address, which our own REST calls use."""
        if self._deps.pagerduty is None or event.agent is None:
            return False
        try:
            return event.agent.id == await self._deps.pagerduty.own_user_id()
        except (Unavailable, Refused):
            return False

    async def _declare(self, event: PageEvent) -> None:
        at = self._deps.clock.now()
        by = Person("pagerduty", SOURCE)
        severity = Severity.SEV2 if event.urgency == "high" else Severity.SEV3
        title = event.title or event.incident_id
        incident, _ = await self._deps.store.incidents.declare(
            lambda id: self._deps.redaction.of(
                Incident.declare(
                    id,
                    Declaration(
                        title[:TITLE_LIMIT],
                        severity,
                        by=by,
                        at=at,
                        source="pagerduty",
                        facts={"link": event.url, "pagerduty": event.incident_id},
                    ),
                )
            ),
            at,
            idempotency_key=f"pagerduty/{event.incident_id}",
        )
        key = event.dedup_key or f"{incident.id}/pagerduty"
        await self._deps.store.pages.add(key, incident.id, SOURCE, "sent", event.incident_id)

    def _person(self, agent: PagerDutyAgent | None) -> Person:
        owner = self._deps.team.person(pagerduty=agent.id) if agent else None
        if owner:
            return Person(owner.slack, owner.name)
        name = (agent.name if agent else None) or SOURCE
        return Person(f"pagerduty:{name}", name)


def _is_main(page: Page) -> bool:
    """Return True for the incident's own page, or for the PagerDuty incident from which it was declared."""
    return page.key == page.incident_id or page.team == SOURCE
