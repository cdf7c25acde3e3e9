"""The App Home of a person."""

from __future__ import annotations

import logging

from bot.domain.errors import Refused, Unavailable
from bot.messages.home import home
from handlers.slack.context import Call

log = logging.getLogger(__name__)


async def publish_home(call: Call) -> None:
    """Show the person's App Home as it is now."""
    words = await call.translations()
    view = home(await call.bot.home.for_user(call.user_id, words), words)
    try:
        await call.bot.deps.slack.call("views.publish", user_id=call.user_id, view=view.to_dict())
    except (Unavailable, Refused) as problem:  # it is shown when the person opens it again
        log.warning("the App Home is not shown: %s", problem)
