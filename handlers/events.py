"""Events that Slack tells of by itself."""

from __future__ import annotations

from bot.messages.home import home
from bot.signature import unescape_slack
from handlers.context import Call
from handlers.door import Handler

PIN = "pushpin"


async def reaction_added(call: Call) -> None:
    """📌 on a message of an incident's channel puts the message on the timeline."""
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
        cause=f"pinned:{channel}:{ts}",
    )


async def app_home_opened(call: Call) -> None:
    """Show what is open and what waits for this person."""
    await call.ack()
    if call.body["event"].get("tab") not in (None, "home"):
        return
    view = home(await call.bot.home.for_user(call.user_id), await call.translations())
    await call.bot.deps.slack.call("views.publish", user_id=call.user_id, view=view.to_dict())


EVENTS: dict[str, Handler] = {"reaction_added": reaction_added, "app_home_opened": app_home_opened}
