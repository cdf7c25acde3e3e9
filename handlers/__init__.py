"""What reaches the bot from outside. A handler acknowledges, reads, asks one service, and answers."""

from __future__ import annotations

from slack_bolt.async_app import AsyncApp

from bot.services.bot import Bot
from handlers.buttons import BUTTONS
from handlers.commands import COMMANDS, run
from handlers.door import SlackDispatcher
from handlers.events import EVENTS
from handlers.modals import FORMS
from handlers.shortcuts import SHORTCUTS


def register(app: AsyncApp, bot: Bot) -> SlackDispatcher:
    """Every listener, in one list; gives the door that they all go through."""
    door = SlackDispatcher(bot)
    for name in COMMANDS:
        app.command(f"/{name}")(door.listener(run))
    for action_id, press in BUTTONS.items():
        app.action(action_id)(door.listener(press))
    for callback_id, submit in FORMS.items():
        app.view(callback_id)(door.listener(submit))
    for callback_id, use in SHORTCUTS.items():
        app.shortcut(callback_id)(door.listener(use))
    for event, hear in EVENTS.items():
        app.event(event)(door.listener(hear))
    return door
