"""PagerDuty's webhooks: what is done there shows here. What we did there ourselves comes back and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.deps import Deps
from bot.domain.errors import BadInput, NotFound, Refused, Unavailable, WrongState
from bot.domain.incident import TITLE_LIMIT, Changed, Incident, Severity, with_source
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.services.incidents import Incidents
from bot.store.pages import Page

SOURCE = "PagerDuty"


class Reference(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    type: str = ""
    summary: str | None = None
    html_url: str | None = None


class Data(BaseModel):
    """The incident, or the note, that an event is about."""

    model_config = ConfigDict(extra="ignore")

    id: str
    type: str
    title: str = ""
    content: str = ""
    urgency: str | None = None
    incident_key: str | None = None
    html_url: str | None = None
    incident: Reference | None = None
    assignees: list[Reference] = Field(default_factory=list)


class Event(BaseModel):
    """A V3 webhook event (PagerDuty's documentation: "Webhooks V3 Overview"). Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str
    event_type: str
    agent: Reference | None = None
    data: Data


class Webhook(BaseModel):
    event: Event


class PagerDutyEvents:
    def __init__(self, deps: Deps, incidents: Incidents, wake: Callable[[], None]) -> None:
        self._deps = deps
        self._incidents = incidents
        self._wake = wake

    @staticmethod
    def read(body: Any) -> Event | None:
        """The event in a webhook's JSON; None for types that we do not know. Raises BadInput when it is no event."""
        kind = (
            body.get("event", {}).get("event_type")
            if isinstance(body, dict) and isinstance(body.get("event"), dict)
            else None
        )
        if not isinstance(kind, str):
            raise BadInput("webhook_wrong", where="event.event_type", why="missing")
        if kind not in _KNOWN:
            return None
        try:
            return Webhook.model_validate(body).event
        except ValidationError as mistakes:
            first = mistakes.errors(include_input=False, include_url=False)[0]
            location = ".".join(str(part) for part in first["loc"])
            raise BadInput("webhook_wrong", where=location, why=first["msg"]) from None

    async def handle(self, event: Event) -> None:
        """Carry the event over, once for its id, however often and under whatever delivery it comes.

        What cannot apply any more (acknowledging what is resolved) changes nothing.
        """
        pagerduty_id = event.data.incident.id if event.data.incident else event.data.id
        page = await self._page_of(pagerduty_id, event)
        if page is None:
            if event.event_type == "incident.triggered":
                await self._declare(event)
            return
        if not _by_a_person(event) or await self._by_us(event):
            return
        try:
            await self._apply(event, page)
        except (WrongState, NotFound):
            return

    async def _apply(self, event: Event, page: Page) -> None:
        by = self._person(event.agent)
        at = self._deps.clock.now()
        id, state = page.incident_id, page.state
        change: Callable[[Incident], Changed]
        match event.event_type:
            case "incident.acknowledged":
                state, change = "acknowledged", lambda now: with_source(SOURCE, now.acknowledge(by=by, at=at))
            case "incident.resolved" if not _is_main(page):  # a team that was called in has done its part
                state, change = "resolved", lambda now: now.with_event(Kind.PAGE_RESOLVED, facts, by=by, at=at)
            case "incident.resolved":
                state, change = "resolved", lambda now: with_source(SOURCE, now.resolve(by=by, at=at))
            case "incident.reopened":
                state, change = "sent", lambda now: with_source(SOURCE, now.reopen(SOURCE, by=by, at=at))
            case "incident.annotated":
                if f"[{id}#" in event.data.content:
                    return
                change = lambda now: with_source(SOURCE, now.note(event.data.content, by=by, at=at))  # noqa: E731
            case _:
                change = lambda now: now.with_event(Kind.ESCALATED, facts, by=by, at=at)  # noqa: E731
        to = ", ".join(filter(None, (reference.summary for reference in event.data.assignees)))
        facts = {"to": to, "team": page.team, "source": SOURCE}
        redacted = self._deps.redaction.of
        _, appended = await self._deps.store.incidents.change(
            id, lambda now: redacted(change(now)), cause=f"pagerduty:{event.id}"
        )
        if appended:
            await self._deps.store.pages.add(page.key, id, page.team, state)
            self._wake()

    async def _page_of(self, pagerduty_id: str, event: Event) -> Page | None:
        """Ours, by what we know, by the dedup key, or by the id that our pages carry in their title."""
        stored_page = await self._deps.store.pages.by_pagerduty_id(pagerduty_id)
        if stored_page:
            return stored_page
        keys = [event.data.incident_key, await self._key_of(pagerduty_id), event.data.title.partition(" ")[0]]
        for key in filter(None, keys):
            page = await self._deps.store.pages.by_key(key)
            if page:
                await self._deps.store.pages.set_pagerduty_id(page.key, pagerduty_id)
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

    async def _by_us(self, event: Event) -> bool:
        """What we do over there by REST comes back as done by the user whose address we write from."""
        if self._deps.pagerduty is None or event.agent is None:
            return False
        try:
            return event.agent.id == await self._deps.pagerduty.own_user_id()
        except (Unavailable, Refused):
            return False

    async def _declare(self, event: Event) -> None:
        at = self._deps.clock.now()
        by = Person("pagerduty", SOURCE)
        severity = Severity.SEV2 if event.data.urgency == "high" else Severity.SEV3
        title = event.data.title or event.data.id
        incident, new = await self._deps.store.incidents.declare(
            lambda id: self._deps.redaction.of(
                Incident.declare(
                    id,
                    title[:TITLE_LIMIT],
                    severity,
                    by=by,
                    at=at,
                    source="pagerduty",
                    facts={"link": event.data.html_url, "pagerduty": event.data.id},
                )
            ),
            at,
            origin=f"pagerduty/{event.data.id}",
        )
        key = event.data.incident_key or f"{incident.id}/pagerduty"
        await self._deps.store.pages.add(key, incident.id, SOURCE, "sent", event.data.id)
        if new:
            self._wake()

    def _person(self, agent: Reference | None) -> Person:
        owner = self._deps.team.person(pagerduty=agent.id) if agent else None
        if owner:
            return Person(owner.slack, owner.name)
        name = (agent.summary if agent else None) or SOURCE
        return Person(f"pagerduty:{name}", name)


def _is_main(page: Page) -> bool:
    """Whether it is the page of the incident itself, or the incident over there from which ours came."""
    return page.key == page.incident_id or page.team == SOURCE


def _by_a_person(event: Event) -> bool:
    """Whether somebody did it there. What our own calls did comes back with an integration or service as its agent."""
    return event.agent is not None and event.agent.type.startswith("user")


_KNOWN = frozenset(
    {"incident.triggered", "incident.acknowledged", "incident.resolved", "incident.reopened", "incident.annotated",
     "incident.escalated", "incident.reassigned", "incident.delegated"}
)  # fmt: skip
