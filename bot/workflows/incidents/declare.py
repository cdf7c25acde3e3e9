"""Set an incident up: channel, headline, card, invitations, bookmarks, page, first snapshot; each once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from slugify import slugify

from bot.deps import Deps
from bot.domain.errors import BotError, Refused
from bot.domain.incident import Incident
from bot.domain.people import BOT
from bot.messages.incident import links
from bot.workflows.engine.durable import durable_step, start
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT, record_failure, update_card, update_headline, update_topic

CHANNEL_NAME_LIMIT = 80
OPEN_CHANNEL_TIMEOUT = timedelta(seconds=15)
FURNISH_CHANNEL_TIMEOUT = timedelta(minutes=10)


async def declare(deps: Deps, incident_id: str) -> None:
    """Do everything that follows a declaration. Failures are recorded on the timeline, and the rest continues."""
    await start("page_teams", f"{incident_id}/page", incident_id, "declared")  # first: paging waits for nothing else
    channel = await durable_step("channel", lambda: open_channel(deps, incident_id), OPEN_CHANNEL_TIMEOUT)
    if not channel.ok:
        await record_failure(deps, incident_id, "channel", channel)  # posted in the headline's thread
        await durable_step("headline without channel", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT)
        await durable_step("channel again", lambda: open_channel(deps, incident_id), MESSAGE_TIMEOUT)
    if deps.prometheus:
        await start("snapshot", f"{incident_id}/snapshot/declared", incident_id, "declared")
    names = ("headline", "topic", "invitations", "links", "card")
    outcomes = await asyncio.gather(
        durable_step("headline", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT),
        durable_step("topic", lambda: update_topic(deps, incident_id), FURNISH_CHANNEL_TIMEOUT),
        durable_step("invitations", lambda: invite(deps, incident_id), FURNISH_CHANNEL_TIMEOUT),
        durable_step("links", lambda: bookmark(deps, incident_id), FURNISH_CHANNEL_TIMEOUT),
        durable_step("card", lambda: update_card(deps, incident_id), MESSAGE_TIMEOUT),
    )
    for name, outcome in zip(names, outcomes, strict=True):
        if not outcome.ok:
            await record_failure(deps, incident_id, name, outcome)
    await durable_step("pin", lambda: pin_card(deps, incident_id), FURNISH_CHANNEL_TIMEOUT)
    # Show what happened since the headline was updated above.
    await durable_step("headline again", lambda: update_headline(deps, incident_id), MESSAGE_TIMEOUT)
    await start("remind", f"{incident_id}/remind", incident_id)


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
    for attempt in range(1, 10):
        name = channel_name(incident, attempt)
        try:
            response = await deps.slack.call("conversations.create", name=name, is_private=False)
            return response["channel"]["id"], response["channel"]["name"]
        except Refused as problem:
            if problem.facts.get("error") != "name_taken":
                raise
            if existing := await _find_own_channel(deps, name):
                return existing, name
    raise Refused("slack_refused", method="conversations.create", error="name_taken")


async def _find_own_channel(deps: Deps, name: str) -> str | None:
    """Return the channel of this name if an earlier attempt created it and no incident uses it."""
    own_user_id = (await deps.slack.identity()).user_id
    for channel in await deps.slack.paginate("conversations.list", "channels"):
        if channel.get("name") == name and channel.get("creator") == own_user_id and not channel.get("is_archived"):
            incident = await deps.store.incidents.in_channel(channel["id"])
            return None if incident else str(channel["id"])
    return None


async def _warm_people_cache(deps: Deps, incident: Incident) -> None:
    try:
        await responders(deps, incident)
    except BotError:
        return


async def responders(deps: Deps, incident: Incident) -> list[str]:
    """Return the Slack user ids to invite to the incident's channel."""
    policy = deps.team.severity_policy(incident.severity)
    teams = [deps.team.teams[name] for name in policy.invite]
    groups = [deps.slack.usergroup_members(team.usergroup) for team in teams if team.usergroup]
    members = [member for group in await asyncio.gather(*groups) for member in group]
    listed = [member for team in teams for member in team.members]
    declarer = [incident.declared_by.id] if incident.declared_by.in_slack else []
    return list(dict.fromkeys([*declarer, *incident.roles.values(), *members, *listed]))


async def invite(deps: Deps, incident_id: str) -> list[str]:
    """Invite the responders; people whom Slack does not know are skipped."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.channel is None:
        return []
    people = await responders(deps, incident)
    if not people:
        return []
    try:
        await deps.slack.call("conversations.invite", channel=incident.channel, users=",".join(people))
        return people
    except Refused as problem:
        if problem.facts.get("error") == "already_in_channel" and len(people) == 1:
            return people
    outcomes = await asyncio.gather(
        *(_invite_person(deps, incident.channel, person) for person in people), return_exceptions=False
    )
    return [person for person, invited in zip(people, outcomes, strict=True) if invited]


async def _invite_person(deps: Deps, channel: str, person: str) -> bool:
    try:
        await deps.slack.call("conversations.invite", channel=channel, users=person)
    except Refused as problem:
        return problem.facts.get("error") == "already_in_channel"
    return True


async def bookmark(deps: Deps, incident_id: str) -> list[str]:
    """Add the service's dashboards as bookmarks of the channel, each once."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.channel is None:
        return []
    dashboards = links(incident, deps.team, deps.grafana_url)
    await asyncio.gather(*(_add_bookmark(deps, incident, title, url) for title, url in dashboards))
    return [url for _, url in dashboards]


async def _add_bookmark(deps: Deps, incident: Incident, title: str, url: str) -> None:
    channel = incident.channel or ""
    key = f"{incident.id}/bookmark/{title}"[:160]
    if not await deps.store.slack_messages.reserve(key, channel):
        existing = await deps.slack.call("bookmarks.list", channel_id=channel)
        if any(bookmark.get("link") == url for bookmark in existing.get("bookmarks") or []):
            return
    await deps.slack.call("bookmarks.add", channel_id=channel, title=title, type="link", link=url)


async def pin_card(deps: Deps, incident_id: str) -> dict[str, Any] | None:
    message = await deps.store.slack_messages.get(f"{incident_id}/card")
    if message is None or message.ts is None:
        return None
    try:
        return await deps.slack.call("pins.add", channel=message.channel, timestamp=message.ts)
    except Refused as problem:
        if problem.facts.get("error") != "already_pinned":
            raise
        return None
