"""Slack's events and shortcuts."""

from __future__ import annotations

import logging

from bot.domain.errors import BadInput, Refused, Unavailable
from bot.domain.incident import TITLE_LIMIT, Severity
from bot.messages import forms
from bot.messages.home import home
from handlers.slack.context import Call
from handlers.slack.dispatcher import Handler
from handlers.slack.readable import author, readable_text

PIN = "pushpin"

log = logging.getLogger(__name__)


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
    view = home(await call.bot.home.for_user(call.user_id), await call.translations())
    try:
        await call.bot.deps.slack.call("views.publish", user_id=call.user_id, view=view.to_dict())
    except (Unavailable, Refused) as problem:  # it is shown when the person opens it again
        log.warning("the App Home is not shown: %s", problem)


EVENTS: dict[str, Handler] = {"reaction_added": reaction_added, "app_home_opened": app_home_opened}


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
