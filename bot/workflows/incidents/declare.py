"""Set an incident up: channel, headline, card, invitations, bookmarks, page, first snapshot; each once."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from slugify import slugify

from bot.deps import Deps
from bot.domain.errors import Blocked, BotError, Refused, Unavailable
from bot.domain.incident import Incident
from bot.domain.people import BOT
from bot.domain.policy import RESPONDER
from bot.domain.timeline import Kind
from bot.integrations.slack import reaction_of
from bot.integrations.slack_errors import Reaction, reaction_to
from bot.messages.incident import links
from bot.workflows.engine.durable import durable_step, start
from bot.workflows.incidents.messages import (
    MESSAGE_TIMEOUT,
    append_event,
    record_failure,
    update_card,
    update_headline,
    update_topic,
)

CHANNEL_NAME_LIMIT = 80
OPEN_CHANNEL_TIMEOUT = timedelta(seconds=15)
FURNISH_CHANNEL_TIMEOUT = timedelta(minutes=10)
INVITE = "conversations.invite"
INVITE_LIMIT = 100  # people in one call


async def declare(deps: Deps, incident_id: str) -> None:
    """Do everything that follows a declaration. Failures are recorded on the timeline, and the rest continues."""
    await start("page_teams", f"{incident_id}/page", incident_id, "declared")  # first: paging waits for nothing else
    channel = await durable_step("channel", now_or_later(open_channel, deps, incident_id), OPEN_CHANNEL_TIMEOUT)
    if not channel.ok:
        await record_failure(deps, incident_id, "channel", channel)  # posted in the headline's thread
        await durable_step("headline without channel", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT)
        channel = await durable_step(
            "channel again", now_or_later(open_channel, deps, incident_id), OPEN_CHANNEL_TIMEOUT
        )
    if deps.prometheus:
        await start("snapshot", f"{incident_id}/snapshot/declared", incident_id, "declared")
    names = ("headline", "topic", "invitations", "links", "card")
    outcomes = await asyncio.gather(
        durable_step("headline", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT),
        durable_step("topic", now_or_later(update_topic, deps, incident_id), FURNISH_CHANNEL_TIMEOUT),
        durable_step("invitations", now_or_later(invite, deps, incident_id), FURNISH_CHANNEL_TIMEOUT),
        durable_step("links", now_or_later(bookmark, deps, incident_id), FURNISH_CHANNEL_TIMEOUT),
        durable_step("card", lambda: update_card(deps, incident_id), MESSAGE_TIMEOUT),
    )
    for name, outcome in zip(names, outcomes, strict=True):
        if not outcome.ok:
            await record_failure(deps, incident_id, name, outcome)
    pinned = await durable_step("pin", now_or_later(pin_card, deps, incident_id), FURNISH_CHANNEL_TIMEOUT)
    # Show what happened since the headline was updated above.
    await durable_step("headline again", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT)
    await start("remind", f"{incident_id}/remind", incident_id)
    if not all(outcome.ok for outcome in (channel, *outcomes, pinned)):
        await start("furnish", f"{incident_id}/furnish", incident_id)


async def furnish(deps: Deps, incident_id: str) -> None:
    """Do what Slack did not allow at the declaration, as soon as an administrator has fixed it. Never gives up."""
    await durable_step("channel", lambda: open_channel(deps, incident_id))
    await asyncio.gather(
        durable_step("headline", lambda: update_headline(deps, incident_id)),
        durable_step("topic", lambda: update_topic(deps, incident_id)),
        durable_step("invitations", lambda: invite(deps, incident_id)),
        durable_step("links", lambda: bookmark(deps, incident_id)),
        durable_step("card", lambda: update_card(deps, incident_id)),
    )
    await durable_step("pin", lambda: pin_card(deps, incident_id))


def now_or_later(
    step: Callable[[Deps, str], Awaitable[Any]], deps: Deps, incident_id: str
) -> Callable[[], Awaitable[Any]]:
    """Return the step without waiting for an administrator: what is blocked is said at once, and left to `furnish`."""

    async def now() -> Any:
        try:
            return await step(deps, incident_id)
        except Blocked as problem:
            raise Refused(problem.key, **problem.facts) from problem

    return now


def channel_name(incident: Incident, attempt: int = 1) -> str:
    """Return `inc-2026-0001-latencia-alta`: lower-case ASCII, at most 80 characters, for any title."""
    suffix = f"-{attempt}" if attempt > 1 else ""
    room = CHANNEL_NAME_LIMIT - len(incident.id) - len(suffix) - 1
    words = slugify(incident.title, max_length=min(room, 40), word_boundary=True)
    return f"{incident.id.lower()}{'-' + words if words else ''}{suffix}"


async def open_channel(deps: Deps, incident_id: str) -> str:
    """Return the id of the incident's channel; creates it if missing."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.channel:
        return incident.channel
    # Look up the people to invite at the same time; the invitation reports a failure of that.
    (channel, name), _ = await asyncio.gather(_create(deps, incident), _warm_people_cache(deps, incident))
    at = deps.clock.now()
    await deps.store.incidents.change(
        incident_id,
        lambda incident_now: incident_now.opened_in(channel, name, by=BOT, at=at),
        idempotency_key=f"{incident_id}/channel",
    )
    deps.event(incident_id).set()
    return channel


async def _create(deps: Deps, incident: Incident) -> tuple[str, str]:
    """Create the channel, under another name where one is taken. A call whose answer was lost is made again for the
    same name, so that it finds what it has created.
    """
    posts, key = deps.store.slack_messages, f"{incident.id}/channel-name"
    tried = await posts.get(key)
    names = (channel_name(incident, attempt) for attempt in itertools.count(1))
    for name in itertools.dropwhile(lambda name: tried and name != tried.channel, names):
        if name != channel_name(incident):
            await posts.keep(key, name)
        try:
            # A repeated call is fenced by the name: it is taken once the first one is done.
            response = await deps.slack.call("conversations.create", name=name, is_private=False)
            return response["channel"]["id"], response["channel"]["name"]
        except Refused as problem:
            if problem.facts.get("error") != "name_taken":
                raise
            if existing := await _find_own_channel(deps, name):
                return existing, name
    raise AssertionError("unreachable")


async def _find_own_channel(deps: Deps, name: str) -> str | None:
    """Return the channel of this name if an earlier attempt created it and no incident uses it."""
    own_user_id = (await deps.slack.identity()).user_id
    async for channel in deps.slack.items("conversations.list", "channels", exclude_archived="true"):
        if channel.get("name") == name and channel.get("creator") == own_user_id:
            incident = await deps.store.incidents.in_channel(channel["id"])
            return None if incident else str(channel["id"])
    return None


async def _warm_people_cache(deps: Deps, incident: Incident) -> None:
    try:
        await responders(deps, incident)
    except BotError:
        return


async def responders(deps: Deps, incident: Incident) -> Responders:
    """Return whom to invite to the incident's channel."""
    policy = deps.team.severity_policy(incident.severity)
    teams = {name: deps.team.teams[name] for name in policy.invite}
    groups = {name: team.usergroup for name, team in teams.items() if team.usergroup}
    results = await asyncio.gather(*map(deps.slack.usergroup_members, groups.values()), return_exceptions=True)
    members: list[str] = []
    unreadable: dict[str, BotError] = {}
    for name, result in zip(groups, results, strict=True):
        if isinstance(result, BotError):
            unreadable[name] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            members += result
    listed = [member for team in teams.values() for member in team.members]
    if teams and not groups and not listed:  # the team's file says who responds, and not in which team
        listed = sorted(deps.team.people_by_role().get(RESPONDER, ()))
    declarer = [incident.declared_by.id] if incident.declared_by.in_slack else []
    people = tuple(dict.fromkeys([*declarer, *incident.roles.values(), *members, *listed]))
    return Responders(people, unreadable)


@dataclass(frozen=True, slots=True)
class Responders:
    """Slack user ids, and the teams whose user group cannot be read now, with the reasons."""

    people: Sequence[str]
    unreadable: Mapping[str, BotError]


async def invite(deps: Deps, incident_id: str) -> dict[str, str]:
    """Invite the responders, and tell the channel who could not be invited. Returns their errors by user id.

    One call invites a hundred people; Slack names those whom it refuses, and the others are invited without them.
    """
    incident = await deps.store.incidents.get(incident_id)
    if incident.channel is None:
        return {}
    candidates = await responders(deps, incident)
    refused: dict[str, str] = {}
    for start_at in range(0, len(candidates.people), INVITE_LIMIT):
        refused |= await _invite(deps, incident.channel, list(candidates.people[start_at : start_at + INVITE_LIMIT]))
    if refused or candidates.unreadable:
        names = [(await deps.slack.person(person, person, deps.locale)).name for person in refused]
        groups = {
            name: str(problem.facts.get("error") or problem.key) for name, problem in candidates.unreadable.items()
        }
        why = deps.words.render_block(
            "everybody", "not_invited", people=dict(zip(names, refused.values(), strict=True)), groups=groups
        )
        facts = {"what": deps.words.label("trouble.invitations"), "why": why}
        key = f"{incident_id}/trouble/invitations/{hashlib.sha256(why.encode()).hexdigest()[:8]}"
        await append_event(deps, incident_id, Kind.TROUBLE, facts, idempotency_key=key)
    for problem in candidates.unreadable.values():
        if isinstance(problem, Unavailable):  # its people are invited as soon as it can be read
            raise problem
    return refused


async def _invite(deps: Deps, channel: str, people: list[str]) -> dict[str, str]:
    """Invite these people. Returns the errors of those who cannot be invited, by user id."""
    refused: dict[str, str] = {}
    while people:
        try:
            response = await deps.slack.call(INVITE, channel=channel, users=",".join(people), force=len(people) > 1)
            errors = response.get("errors") or []
            people = []
        except Refused as problem:
            if reaction_of(problem) is Reaction.ELSEWHERE:
                return refused  # the channel is closed, so nobody can be in it
            if reaction_of(problem) is Reaction.NEVER:
                raise
            errors = problem.facts.get("people") or []
            if not isinstance(errors, list) or not errors:
                errors = [{"user": person, "error": problem.facts["error"]} for person in people[:1]]
                if len(people) > 1:  # Slack does not say who it was: leave out members, or halve the list to find out
                    members = await _members(deps, channel)
                    outside = [person for person in people if person not in members]
                    if len(outside) < len(people):
                        people = outside
                        continue
                    half = len(people) // 2
                    halves = [await _invite(deps, channel, part) for part in (people[:half], people[half:])]
                    return refused | halves[0] | halves[1]
        named = {str(error.get("user")): str(error.get("error")) for error in errors}
        refused |= {
            person: error for person, error in named.items() if reaction_to(INVITE, error) is not Reaction.ALREADY
        }
        remaining = [person for person in people if person not in named]
        if len(remaining) == len(people):
            break
        people = remaining
    return refused


async def _members(deps: Deps, channel: str) -> set[str]:
    return {str(member) for member in await deps.slack.paginate("conversations.members", "members", channel=channel)}


async def bookmark(deps: Deps, incident_id: str) -> list[str]:
    """Add the service's dashboards as bookmarks of the channel, each once, in the order of the team's file."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.channel is None:
        return []
    dashboards = links(incident, deps.team, deps.grafana_url)
    for title, url in dashboards:
        await _add_bookmark(deps, incident, title, url)
    return [url for _, url in dashboards]


async def _add_bookmark(deps: Deps, incident: Incident, title: str, url: str) -> None:
    channel = incident.channel or ""
    key = f"{incident.id}/bookmark/{title}"[:160]
    if not await deps.store.slack_messages.reserve(key, channel, datetime.now(UTC)):
        existing = await deps.slack.call("bookmarks.list", channel_id=channel)
        if any(bookmark.get("link") == url for bookmark in existing.get("bookmarks") or []):
            deps.slack.in_flight.forget(key)
            return
    await deps.slack.call_once(key, "bookmarks.add", channel_id=channel, title=title, type="link", link=url)


async def pin_card(deps: Deps, incident_id: str) -> dict[str, Any] | None:
    message = await deps.store.slack_messages.get(f"{incident_id}/card")
    if message is None or message.ts is None:
        return None
    try:
        return await deps.slack.call("pins.add", channel=message.channel, timestamp=message.ts)
    except Refused as problem:
        if reaction_of(problem) not in (Reaction.ALREADY, Reaction.ELSEWHERE):
            raise
        return None
