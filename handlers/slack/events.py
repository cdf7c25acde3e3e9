"""Slack's events and shortcuts."""

from __future__ import annotations

from datetime import timedelta

from bot.domain.errors import BadInput, Refused
from bot.domain.incident import TITLE_LIMIT, Milestone, Severity
from bot.messages import forms
from bot.messages.catchup import catch_up
from bot.signature import unescape_slack
from handlers.slack.context import Call
from handlers.slack.dispatcher import Handler
from handlers.slack.home import publish_home

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
    history = await slack.read("conversations.history", channel=channel, latest=ts, inclusive="true", limit=1)
    message = next((m for m in history.get("messages") or [] if m.get("ts") == ts), None)
    if message is None:
        return
    await call.bot.incidents.add_message(
        incident.id,
        unescape_slack(str(message.get("text") or "")),
        slack.permalink(channel, ts),
        str(message.get("user") or "bot"),
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
    message = catch_up(await call.bot.incidents.catch_up(incident), await call.translations())
    try:
        await call.reply(message)
    except Refused:  # an ephemeral message needs somebody who is there
        await deps.slack.call("chat.postMessage", channel=call.user_id, **message.to_dict())


EVENTS: dict[str, Handler] = {
    "reaction_added": reaction_added,
    "app_home_opened": app_home_opened,
    "member_joined_channel": member_joined_channel,
}


async def declare_incident(call: Call) -> None:
    await call.ack()
    words, team = await call.cached_translations(), call.bot.deps.team
    await call.open(forms.declare(words, team, severity=Severity.SEV3, service=None, title=_text(call)[:TITLE_LIMIT]))


async def add_to_timeline(call: Call) -> None:
    await call.ack()
    incident = await call.bot.incidents.in_channel(call.channel_id or "")
    if incident is None:
        raise BadInput("not_in_incident")
    message = call.body["message"]
    link = call.bot.deps.slack.permalink(call.channel_id or "", message["ts"])
    key = f"pinned:{call.channel_id}:{message['ts']}"
    author = str(message.get("user") or "bot")
    await call.bot.incidents.add_message(
        incident.id, _text(call), link, author, by=await call.person(), idempotency_key=key
    )


async def create_followup(call: Call) -> None:
    await call.ack()
    incident = await call.bot.incidents.in_channel(call.channel_id or "")
    if incident is None:
        raise BadInput("not_in_incident")
    team = call.bot.deps.team
    due = (call.bot.deps.clock.now() + team.followups.due_in).date()
    title = " ".join(_text(call).split())[:TITLE_LIMIT]
    await call.open(forms.followup(await call.cached_translations(), team, incident.id, due=due, title=title))


def _text(call: Call) -> str:
    return unescape_slack(str((call.body.get("message") or {}).get("text") or ""))


SHORTCUTS: dict[str, Handler] = {
    "declare_incident": declare_incident,
    "declare_from_message": declare_incident,
    "add_to_timeline": add_to_timeline,
    "create_followup": create_followup,
}
