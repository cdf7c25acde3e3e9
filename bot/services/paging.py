"""Page teams on request, and show who is on call."""

from __future__ import annotations

import re

from bot.deps import Deps
from bot.domain.errors import BadInput, BotError, NotConfigured
from bot.domain.incident import Declaration, Incident, Severity, headline
from bot.domain.nearest import nearest
from bot.domain.on_call import Rota
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.services.incidents import Incidents
from bot.workflows.incidents.page import can_be_paged, on_call_contacts, page_key

_USER_ID = re.compile(r"[UW][A-Z0-9]{6,}")


class Paging:
    def __init__(self, deps: Deps, incidents: Incidents) -> None:
        self._deps = deps
        self._incidents = incidents

    def team(self, name: str) -> str:
        """Return a team by its name, user group (`<!subteam^S…>`, `S…`) or service. Raises BadInput."""
        teams = self._deps.team.teams
        normalized = name.removeprefix("@").lower()
        for candidate, team in teams.items():
            if normalized in (candidate.lower(), (team.usergroup or "").lower(), (team.pagerduty or "").lower()):
                return candidate
        slug = normalized.replace("-", "")
        for candidate in teams:
            if candidate.lower() == slug:
                return candidate
        service = self._deps.team.services.get(name)
        if service and service.owners:
            return service.owners[0]
        people = self._deps.team.people
        called = [word for one in people for word in (one.name, *one.name.split()[:1], one.login or one.name)]
        if _USER_ID.fullmatch(name) or normalized in [word.lower() for word in called]:
            raise BadInput("person_not_paged", known=sorted(teams))
        raise BadInput("unknown_team", team=name, nearest=nearest(name, teams), known=sorted(teams))

    async def check(self, team: str) -> None:
        """Raise NotConfigured or BadInput, which says whom to call, if a page would not reach this team."""
        if self._deps.pagerduty is None:
            raise NotConfigured("pagerduty_off")
        if not can_be_paged(self._deps, team):
            contacts = await on_call_contacts(self._deps, team)
            reach = [" · ".join(filter(None, (one["name"], one["phone"], one["email"]))) for one in contacts]
            others = sorted(name for name, other in self._deps.team.teams.items() if other.pagerduty)
            raise BadInput("team_not_paged", team=team, reach=reach, teams=others)

    async def declare_and_page(
        self, team: str, text: str, severity: Severity, *, by: Person, idempotency_key: str
    ) -> Incident:
        """Page a team outside of an incident: joins the open incident with this title, or declares one."""
        await self.check(team)
        title = headline(self._deps.redaction.text(text))
        async with self._deps.message_lock(f"page/{title}"):
            same = [one for one in await self._deps.store.incidents.list_open() if one.title == title]
            facts, at = {"paging": team}, self._deps.clock.now()
            incident = same[0] if same else await self._incidents.declare_as(
                Declaration(title, severity, by=by, at=at, facts=facts), idempotency_key=f"{idempotency_key}/declare"
            )  # fmt: skip
        await self.page(incident, team, text, by=by, idempotency_key=idempotency_key)
        return incident

    async def page(self, incident: Incident, team: str, text: str, *, by: Person, idempotency_key: str) -> None:
        """Page a team about an incident, durably."""
        await self.check(team)
        key = await self._first_key(incident, team) or f"{incident.id}/{team}/{idempotency_key[:16]}"
        facts = self._deps.redaction.of({"team": team, "text": text, "key": key})
        at = self._deps.clock.now()
        await self._deps.store.incidents.change(
            incident.id,
            lambda incident_now: incident_now.with_event(Kind.PAGE_ASKED, facts, by=by, at=at),
            idempotency_key=idempotency_key,
        )

    async def _first_key(self, incident: Incident, team: str) -> str | None:
        """Return the key of the page that the declaration leaves to the one that was asked for, if it is still owed."""
        store = self._deps.store.incidents
        declared = await store.newest(incident.id, Kind.DECLARED)
        if declared is None or declared.facts.get("paging") != team or await store.newest(incident.id, Kind.PAGE_ASKED):
            return None
        teams = self._deps.team.severity_policy(incident.severity).page
        return page_key(incident.id, teams.index(team), team) if team in teams else None

    async def resolve(self, incident: Incident, *, by: Person, idempotency_key: str) -> None:
        """Resolve the pages of an incident; the incident itself stays open."""
        if self._deps.pagerduty is None:
            raise NotConfigured("pagerduty_off")
        at = self._deps.clock.now()
        await self._deps.store.incidents.change(
            incident.id,
            lambda incident_now: incident_now.with_event(Kind.PAGE_RESOLVED, {}, by=by, at=at),
            idempotency_key=idempotency_key,
        )

    async def rota(self, only: str | None = None) -> list[Rota]:
        """Return who is on call for each team with a PagerDuty service, or for one team, and as of when."""
        rotas = []
        for name, team in self._deps.team.teams.items():
            if not team.pagerduty or only not in (None, name):
                continue
            team_contact = team.contact
            contact = (
                " · ".join(filter(None, (team_contact.name, team_contact.phone, team_contact.email)))
                if team_contact
                else None
            )
            try:
                as_of, people = await self._deps.on_call.updated_at(team.pagerduty)
                rotas.append(Rota(name, tuple(people), as_of, None, contact))
            except BotError as problem:
                rotas.append(Rota(name, (), None, problem, contact))
        return rotas
