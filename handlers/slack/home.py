"""The App Home of a person."""

from __future__ import annotations

from bot.messages.home import home
from handlers.slack.context import Call


async def publish_home(call: Call) -> None:
    """Show the person's App Home as it is now."""
    view = home(await call.bot.home.for_user(call.user_id), await call.translations())
    await call.bot.deps.slack.call("views.publish", user_id=call.user_id, view=view.to_dict())
