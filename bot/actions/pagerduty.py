"""`pagerduty.*`: page people, and update their pages.

Actions about an incident only append an event to it. The event's handler then calls PagerDuty durably: it retries, and
reports failures in the channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import BadInput, NotConfigured, WrongState
from bot.domain.incident import Changed, Incident
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.timeline import Kind
from bot.integrations.effects import effect
from bot.integrations.pagerduty import PageAlert
from bot.team import Team

Text = Annotated[str, Field(min_length=1, max_length=900)]


@dataclass(frozen=True, slots=True)
class Paged:
    """`key` is PagerDuty's dedup key."""

    team: str
    key: str


@dataclass(frozen=True, slots=True)
class IncidentNote:
    incident: str


@dataclass(frozen=True, slots=True)
class Duty:
    """A person on call; level 1 is paged first. `until` is None for a permanent duty."""

    team: str
    name: str
    level: int
    until: datetime | None


@dataclass(frozen=True, slots=True)
class OnCallNow:
    people: list[Duty]


@action("pagerduty.page", risk=Risk.CHANGE, example="/ops pagerduty.page SRETeam 'El render no responde'")
async def page(ctx: Context, team: str, text: Text) -> Paged:
    """Page a team about this incident, or with the text alone outside an incident."""
    pagerduty, service = ctx.pagerduty, _team(ctx, team).pagerduty
    incident = ctx.incident_id
    key = f"{incident}/{team}/{ctx.key}" if incident else ctx.key

    @effect("pagerduty.page")
    async def send(team: str, text: str) -> bool:
        if incident is None:
            summary = f"{ctx.team.organisation} · {text}"
            await pagerduty.trigger(key, PageAlert(summary, "error", ctx.team.organisation), service=service)
            return True
        facts = {"team": team, "text": text, "key": key}
        await _append_event(
            ctx, lambda current: current.with_event(Kind.PAGE_ASKED, facts, by=ctx.by, at=ctx.clock.now())
        )
        return True

    await send(team, text)
    return Paged(team, key)


@action("pagerduty.acknowledge", risk=Risk.CHANGE, example="/ops pagerduty.acknowledge")
async def acknowledge(ctx: Context) -> IncidentNote:
    """Acknowledge this incident and its pages."""

    @effect("pagerduty.acknowledge")
    async def send(incident: str) -> None:
        try:
            await _append_event(ctx, lambda current: current.acknowledge(by=ctx.by, at=ctx.clock.now()))
        except WrongState as already:
            if already.key != "already_acknowledged":
                raise

    incident = _incident_id(ctx)
    await send(incident)
    return IncidentNote(incident)


@action("pagerduty.resolve", risk=Risk.CHANGE, example="/ops pagerduty.resolve")
async def resolve(ctx: Context) -> IncidentNote:
    """Resolve the pages of this incident; the incident itself stays open."""

    @effect("pagerduty.resolve")
    async def send(incident: str) -> None:
        await _append_event(
            ctx, lambda current: current.with_event(Kind.PAGE_RESOLVED, {}, by=ctx.by, at=ctx.clock.now())
        )

    incident = _incident_id(ctx)
    await send(incident)
    return IncidentNote(incident)


@action("pagerduty.note", risk=Risk.CHANGE, example="/ops pagerduty.note 'Escalado a 10 réplicas'")
async def note(ctx: Context, text: Text) -> IncidentNote:
    """Add a note to the timeline and to PagerDuty."""

    @effect("pagerduty.note")
    async def send(text: str) -> None:
        await _append_event(ctx, lambda current: current.note(text, by=ctx.by, at=ctx.clock.now()))

    incident = _incident_id(ctx)
    await send(text)
    return IncidentNote(incident)


@action("pagerduty.oncall", risk=Risk.READ, example="/ops pagerduty.oncall team=SRETeam")
async def oncall(ctx: Context, team: str | None = None) -> OnCallNow:
    """Show who is on call now, and until when."""
    _require_pagerduty(ctx)
    teams = {team: _team(ctx, team)} if team else ctx.team.teams
    duties = [
        Duty(name, on_call.name, on_call.level, on_call.until)
        for name, t in teams.items()
        if t.pagerduty
        for on_call in await ctx.deps.on_call.get(t.pagerduty)
    ]
    return OnCallNow(duties)


async def _append_event(ctx: Context, change: Callable[[Incident], Changed]) -> None:
    """Append this step's event to the incident, once; the event's handler does the rest."""
    redacted = ctx.deps.redaction.of
    await ctx.deps.store.incidents.change(
        _incident_id(ctx), lambda incident: redacted(change(incident)), idempotency_key=ctx.key
    )


def _incident_id(ctx: Context) -> str:
    _require_pagerduty(ctx)
    if ctx.incident_id is None:
        raise BadInput("not_in_incident")
    return ctx.incident_id


def _require_pagerduty(ctx: Context) -> None:
    if ctx.deps.pagerduty is None:
        raise NotConfigured("pagerduty_off")


def _team(ctx: Context, name: str) -> Team:
    teams = ctx.team.teams
    if name not in teams:
        raise BadInput("unknown_team", team=name, nearest=nearest(name, teams), known=sorted(teams))
    if teams[name].pagerduty is None:
        with_pagerduty = sorted(team for team, t in teams.items() if t.pagerduty)
        raise BadInput("team_without_pagerduty", team=name, known=with_pagerduty)
    return teams[name]
