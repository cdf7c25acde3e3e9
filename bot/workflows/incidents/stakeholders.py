"""Keep stakeholders informed: ask somebody to publish each notice in time, and publish it.

A draft goes to one person as a direct message; when it is nearly due it is asked for again, and at the end somebody
else is asked. Each event after which another notice is due starts a workflow of its own, and ends the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.errors import Refused
from bot.domain.incident import Incident
from bot.domain.stakeholders import Draft, Notice, last_change, next_notice, speakers, told_part
from bot.domain.timeline import Kind
from bot.messages.stakeholders import answered, notice, request, suggestion
from bot.messages.translations import Translations
from bot.slack_messages import Place, upsert_message
from bot.workflows.engine.durable import durable_step, sleep_until
from bot.workflows.incidents.look_again import people_on_call
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT

POLL = timedelta(minutes=1)  # while nobody is there to be asked
ASK_TIMEOUT = timedelta(hours=1)


async def tell_stakeholders(deps: Deps, incident_id: str, seq: int) -> None:
    """Publish the notice of the event `seq`, if it is one; take back older drafts; ask for the next notice."""
    event = await deps.store.incidents.event(incident_id, seq)
    if event.kind is Kind.STAKEHOLDERS_TOLD:
        await durable_step("publish", lambda: _publish(deps, incident_id), MESSAGE_TIMEOUT)
    await durable_step("older drafts", lambda: _answer_drafts(deps, incident_id, seq), ASK_TIMEOUT)
    while True:
        outcome = await durable_step("ask", lambda: _ask(deps, incident_id, seq), ASK_TIMEOUT)
        if outcome.ok and outcome.value is None:
            return
        again = outcome.value if outcome.ok else (deps.clock.now() + POLL).isoformat()
        await sleep_until(deps, datetime.fromisoformat(again))


async def _publish(deps: Deps, incident_id: str) -> None:
    """Send the newest notices: one message until the incident ends, edited, and one for its end."""
    async with deps.message_lock(f"{incident_id}/notice"):
        incident = await deps.store.incidents.get(incident_id)
        part, told = told_part(await deps.store.incidents.timeline(incident_id))
        for ends in (False, True):
            newest = next((event for event in reversed(told) if event.facts["ends"] is ends), None)
            if newest is None:
                continue
            key = f"{incident_id}/notice/{part}" + ("/end" if ends else "")
            place = Place(newest.facts["channel"], moves=False)
            await upsert_message(deps, key, place, notice(incident, newest, deps.words))


async def _answer_drafts(deps: Deps, incident_id: str, seq: int) -> None:
    """Take the buttons from the drafts that were asked for before the event `seq`."""
    incident = await deps.store.incidents.get(incident_id)
    event = await deps.store.incidents.event(incident_id, seq)
    prefix = f"{incident_id}/draft/"
    for key, sent in (await deps.store.slack_messages.with_prefix(prefix)).items():
        asked_after, _, person = key.removeprefix(prefix).split("/")
        if int(asked_after) < seq:
            words = await _words_of(deps, person)
            await upsert_message(deps, key, Place(sent.channel, moves=False), answered(incident, event, words))


async def _ask(deps: Deps, incident_id: str, seq: int) -> str | None:
    """Ask for the next notice if it is time. Returns when to look again (ISO 8601), or None to end."""
    incident = await deps.store.incidents.get(incident_id)
    timeline = await deps.store.incidents.timeline(incident_id)
    if last_change(timeline).seq > seq:
        return None
    policy = deps.team.severity_policy(incident.severity)
    due = next_notice(incident, timeline, policy.tell_stakeholders_within)
    if due is None or deps.team.stakeholders_channel is None:
        return None
    now = deps.clock.now()
    asked = [at for at in due.asks if at <= now]
    if asked:
        # Who is on call is paged already: at first only those who have taken a role are asked.
        people = speakers(incident, people_on_call(deps, incident) if len(asked) > 1 else ())
        if not people:
            return (now + POLL).isoformat()
        news_at = None if due.ends or policy.update_every is None else max(now, due.due) + policy.update_every
        draft = Draft(incident_id, seq, news_at, suggestion(incident, deps.team, deps.words))
        if asked[-1] == due.due and len(people) > 1:
            people = (*people[1:], people[0])
        await _send(deps, incident, due, draft, people, len(asked))
    left = due.asks[len(asked) :]
    return left[0].isoformat() if left else None


async def _send(deps: Deps, incident: Incident, due: Notice, draft: Draft, people: Sequence[str], number: int) -> None:
    """Send a draft to the first of these people whom Slack lets the bot write to."""
    for person in people:
        message = request(incident, draft, due.due, str(deps.team.stakeholders_channel), await _words_of(deps, person))
        try:
            await upsert_message(
                deps, f"{incident.id}/draft/{draft.seq}/{number}/{person}", Place(person, moves=False), message
            )
            return
        except Refused:
            continue


async def _words_of(deps: Deps, person: str) -> Translations:
    return deps.words_for((await deps.slack.person(person, person, deps.locale)).locale)
