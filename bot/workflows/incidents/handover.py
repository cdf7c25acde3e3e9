"""Announce in an open incident that the on-call person changes soon, to the channel and to who comes next."""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.errors import BotError, Refused
from bot.domain.incident import Incident
from bot.domain.on_call import OnCall
from bot.messages.catchup import handover
from bot.slack_messages import Place, upsert_message
from bot.workflows.incidents.catchup import catch_up_on

NOTICE = timedelta(minutes=30)
LOOK_AGAIN = timedelta(minutes=10)


async def announce_handovers(deps: Deps, incident: Incident) -> list[datetime]:
    """Announce each change of on-call within NOTICE once. Returns when to look again; never raises for PagerDuty."""
    look_at = []
    if deps.pagerduty is None or incident.channel is None:
        return []
    for name in deps.team.severity_policy(incident.severity).page:
        service = deps.team.teams[name].pagerduty
        if service is None:
            continue
        try:
            look_at.append(await _announce(deps, incident, name, service))
        except BotError:
            look_at.append(deps.clock.now() + LOOK_AGAIN)
    return [at for at in look_at if at is not None]


async def _announce(deps: Deps, incident: Incident, team: str, service: str) -> datetime | None:
    now = deps.clock.now()
    first = next((person for person in await deps.on_call.get(service) if person.level == 1), None)
    if first is None or first.until is None:  # always the same person
        return None
    if first.until <= now:
        return now + LOOK_AGAIN  # the cached list is older
    if first.until - now > NOTICE:
        return first.until - NOTICE
    if deps.pagerduty is None:
        return None
    after = await deps.pagerduty.on_call(service, first.until + timedelta(seconds=1))
    following = next((person for person in after if person.level == 1), None)
    if following and following.user_id != first.user_id:
        await _post(deps, incident, team, first, following)
    return first.until + timedelta(minutes=1)


async def _post(deps: Deps, incident: Incident, team: str, first: OnCall, following: OnCall) -> None:
    until = first.until or deps.clock.now()
    facts = {"incident": incident, "team": team, "until": until}
    facts |= {"from_": _slack(deps, first), "to": _slack(deps, following)}
    key = f"{incident.id}/handover/{team}/{int(until.timestamp())}"
    await upsert_message(
        deps, key, Place(incident.channel or "", incident_id=incident.id), handover(incident, None, deps.words, facts)
    )
    owner = deps.team.person(pagerduty=following.user_id) if following.user_id else None
    if owner is None:
        return
    person = await deps.slack.person(owner.slack, owner.name, deps.locale)
    words, so_far = deps.words_for(person.locale), await catch_up_on(deps, incident)
    try:
        await upsert_message(
            deps, f"{key}/{owner.slack}", Place(owner.slack, moves=False), handover(incident, so_far, words, facts)
        )
    except Refused:  # the channel mentions them too
        return


def _slack(deps: Deps, person: OnCall) -> str:
    owner = deps.team.person(pagerduty=person.user_id) if person.user_id else None
    return owner.slack if owner else f"pagerduty:{person.name}"
