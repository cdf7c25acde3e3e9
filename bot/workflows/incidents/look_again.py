"""Look again some minutes after an incident was resolved, and call people if it is not over."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from bot.deps import Deps
from bot.domain.incident import Incident
from bot.domain.people import BOT
from bot.domain.timeline import Kind
from bot.messages.incident import LOOK_AGAIN_MINUTES, out_of_bounds_text
from bot.workflows.engine.durable import durable_step, sleep_until
from bot.workflows.incidents.messages import out_of_bounds, update_headline

# After it was resolved. The second time those on call are mentioned too.
LOOKS = (timedelta(minutes=LOOK_AGAIN_MINUTES), timedelta(minutes=LOOK_AGAIN_MINUTES + 30))
LOOK_TIMEOUT = timedelta(hours=1)


async def look_again(deps: Deps, incident_id: str, resolved_seq: int) -> None:
    """Say loudly in the channel if alerts still fire or metrics are out of bounds, unless it is open again."""
    resolved_at = (await deps.store.incidents.event(incident_id, resolved_seq)).at
    for number, after in enumerate(LOOKS, start=1):
        await sleep_until(deps, resolved_at + after)
        look = partial(_look, deps, incident_id, resolved_seq, number)
        outcome = await durable_step(f"look again {number}", look, LOOK_TIMEOUT)
        if outcome.ok and not outcome.value:
            return


async def _look(deps: Deps, incident_id: str, resolved_seq: int, number: int) -> bool:
    """Return True if it is not over and has to be looked at again."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.status.is_open:
        return False
    firing = await deps.store.alerts.count_firing(incident_id)
    out = await out_of_bounds(deps, incident) or []
    await update_headline(deps, incident_id)
    if not firing and not out:
        return False
    event = await deps.store.incidents.event(incident_id, resolved_seq)
    facts = {
        "firing": firing,
        "out": [out_of_bounds_text(metric, deps.words) for metric in out],
        "call": _call(deps, incident, event.by.id if event.by.in_slack else None, everybody=number > 1),
    }
    at = deps.clock.now()
    await deps.store.incidents.change(
        incident_id,
        lambda incident_now: incident_now.with_event(Kind.STILL_FIRING, facts, by=BOT, at=at),
        idempotency_key=f"{incident_id}/{resolved_seq}/still-firing/{number}",
    )
    return True


def _call(deps: Deps, incident: Incident, resolved_by: str | None, *, everybody: bool) -> list[str]:
    """Return whom to mention: the commander and who resolved it; the second time also who is on call."""
    people = [incident.commander, resolved_by, *(people_on_call(deps, incident) if everybody else ())]
    return list(dict.fromkeys(person for person in people if person))


def people_on_call(deps: Deps, incident: Incident) -> list[str]:
    """Return the Slack user ids of those who are on call for the incident, the first ones first, as last known."""
    people = []
    for name in deps.team.severity_policy(incident.severity).page:
        service = deps.team.teams[name].pagerduty
        for person in deps.on_call.cached(service) if service else ():
            owner = deps.team.person(pagerduty=person.user_id) if person.user_id else None
            people.append(owner.slack if owner else None)
    return [person for person in people if person]
