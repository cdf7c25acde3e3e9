"""`pagerduty.*`: people are called, and told what has become of it.

What is about an incident goes by the incident's own events, so that it is durable, said in the channel when it fails,
and tried again.
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
    """Somebody on call; the first level is 1. `until` is None when the duty has no end."""

    team: str
    name: str
    level: int
    until: datetime | None


@dataclass(frozen=True, slots=True)
class OnCallNow:
    people: list[Duty]


@action("pagerduty.page", risk=Risk.CHANGE, example="/ops pagerduty.page SRETeam 'El render no responde'")
async def page(ctx: Context, team: str, text: Text) -> Paged:
    """Page a team about this incident, or about the text alone where there is none."""
    pagerduty, service = ctx.pagerduty, _team(ctx, team).pagerduty
    incident = ctx.incident_id
    key = f"{incident}/{team}/{ctx.key}" if incident else ctx.key

    @effect("pagerduty.page")
    async def ring(team: str, text: str) -> bool:
        if incident is None:
            about = f"{ctx.team.organisation} · {text}"
            await pagerduty.trigger(key, PageAlert(about, "error", ctx.team.organisation), service=service)
            return True
        facts = {"team": team, "text": text, "key": key}
        await _append_event(ctx, lambda now: now.with_event(Kind.PAGE_ASKED, facts, by=ctx.by, at=ctx.clock.now()))
        return True

    await ring(team, text)
    return Paged(team, key)


@action("pagerduty.acknowledge", risk=Risk.CHANGE)
async def acknowledge(ctx: Context) -> IncidentNote:
    """Acknowledge this incident, and with it its pages."""

    @effect("pagerduty.acknowledge")
    async def say(incident: str) -> None:
        try:
            await _append_event(ctx, lambda now: now.acknowledge(by=ctx.by, at=ctx.clock.now()))
        except WrongState as already:
            if already.key != "already_acknowledged":
                raise

    incident = _incident(ctx)
    await say(incident)
    return IncidentNote(incident)


@action("pagerduty.resolve", risk=Risk.CHANGE)
async def resolve(ctx: Context) -> IncidentNote:
    """Resolve the pages of this incident; the incident itself stays open."""

    @effect("pagerduty.resolve")
    async def say(incident: str) -> None:
        await _append_event(ctx, lambda now: now.with_event(Kind.PAGE_RESOLVED, {}, by=ctx.by, at=ctx.clock.now()))

    incident = _incident(ctx)
    await say(incident)
    return IncidentNote(incident)


@action("pagerduty.note", risk=Risk.CHANGE, example="/ops pagerduty.note 'Escalado a 10 réplicas'")
async def note(ctx: Context, text: Text) -> IncidentNote:
    """Note something on the timeline and at PagerDuty."""

    @effect("pagerduty.note")
    async def say(text: str) -> None:
        await _append_event(ctx, lambda now: now.note(text, by=ctx.by, at=ctx.clock.now()))

    incident = _incident(ctx)
    await say(text)
    return IncidentNote(incident)


@action("pagerduty.oncall", risk=Risk.READ)
async def oncall(ctx: Context, team: str | None = None) -> OnCallNow:
    """Who is on call now, and until when."""
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
    """The incident's event of this step, once; what follows from it is carried out by the engine."""
    redacted = ctx.deps.redaction.of
    await ctx.deps.store.incidents.change(_incident(ctx), lambda now: redacted(change(now)), idempotency_key=ctx.key)


def _incident(ctx: Context) -> str:
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
