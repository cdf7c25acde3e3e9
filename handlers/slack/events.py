"""Slack's events and shortcuts."""

from __future__ import annotations

from datetime import timedelta

from bot.domain.errors import BadInput
from bot.domain.incident import TITLE_LIMIT, Milestone, Severity
from bot.messages import forms
from bot.messages.catchup import catch_up
from handlers.slack.context import Call
from handlers.slack.dispatcher import Handler
from handlers.slack.home import publish_home
from handlers.slack.payloads import author, readable_text

PIN = "pushpin"
JOINED_LATE_AFTER = timedelta(minutes=2)  # of the declaration


async def reaction_added(call: Call) -> None:
    """Put a message on the incident's timeline if it gets a 📌."""
    await call.ack()
    event = call.body["event"]
    item = event.get("item", {})
    if event.get("reaction") != PIN or item.get("type") != "message":
        return
    channel, ts = item["channel"], item["ts"]
    incident = await call.bot.incidents.in_channel(channel)
    if incident is None:
        return
    slack = call.bot.deps.slack
    message = await slack.message(channel, ts)
    if message is None:
        return
    await call.bot.incidents.add_message(
        incident.id,
        readable_text(message),
        slack.permalink(channel, ts),
        author(message),
        by=await call.person(),
        idempotency_key=f"pinned:{channel}:{ts}",
    )


async def app_home_opened(call: Call) -> None:
    """Show the App Home."""
    await call.ack()
    if call.body["event"].get("tab") not in (None, "home"):
        return
    await publish_home(call)


async def member_joined_channel(call: Call) -> None:
    """Tell who joins an incident's channel late, and only them, what has happened so far."""
    await call.ack()
    incident = await call.bot.incidents.in_channel(call.channel_id or "")
    if incident is None or not incident.status.is_open:
        return
    deps = call.bot.deps
    if deps.clock.now() - incident.milestones[Milestone.DECLARED] < JOINED_LATE_AFTER:
        return  # invited at the opening: nothing has happened yet
    if call.user_id == (await deps.slack.identity()).user_id:
        return
    await call.reply(catch_up(await call.bot.incidents.catch_up(incident), await call.translations()))


EVENTS: dict[str, Handler] = {
    "reaction_added": reaction_added,
    "app_home_opened": app_home_opened,
    "member_joined_channel": member_joined_channel,
}


async def declare_incident(call: Call) -> None:
    await call.ack()
    words, team = await call.cached_translations(), call.bot.deps.team
    await call.open(forms.declare(words, team, severity=Severity.SEV3, service=None, title=_title(call)))


async def add_to_timeline(call: Call) -> None:
    await call.ack()
    incident = await call.bot.incidents.in_channel(call.channel_id or "")
    if incident is None:
        raise BadInput("not_in_incident")
    message = call.body["message"]
    link = call.bot.deps.slack.permalink(call.channel_id or "", message["ts"])
    key = f"pinned:{call.channel_id}:{message['ts']}"
    await call.bot.incidents.add_message(
        incident.id, _text(call), link, author(message), by=await call.person(), idempotency_key=key
    )


async def create_followup(call: Call) -> None:
    await call.ack()
    incident = await call.bot.incidents.in_channel(call.channel_id or "")
    if incident is None:
        raise BadInput("not_in_incident")
    team = call.bot.deps.team
    due = (call.bot.deps.clock.now() + team.followups.due_in).date()
    words = await call.cached_translations()
    await call.open(forms.followup(words, team, incident.id, due=due, title=_title(call)))


def _text(call: Call) -> str:
    return readable_text(call.body.get("message") or {})


def _title(call: Call) -> str:
    return " ".join(_text(call).split())[:TITLE_LIMIT]


SHORTCUTS: dict[str, Handler] = {
    "declare_incident": declare_incident,
    "declare_from_message": declare_incident,
    "add_to_timeline": add_to_timeline,
    "create_followup": create_followup,
}
