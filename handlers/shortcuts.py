"""Shortcuts: from anywhere, and from a message."""

from __future__ import annotations

from bot.domain.errors import BadInput
from bot.domain.incident import TITLE_LIMIT, Severity
from bot.messages import forms
from bot.signature import unescape_slack
from handlers.context import Call
from handlers.door import Handler


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
    cause = f"pinned:{call.channel_id}:{message['ts']}"
    author = str(message.get("user") or "bot")
    await call.bot.incidents.add_message(incident.id, _text(call), link, author, by=await call.person(), cause=cause)


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
