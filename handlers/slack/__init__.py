"""Handlers of Slack's requests: acknowledge, parse, call one service, reply."""

from __future__ import annotations

import re

from slack_bolt.async_app import AsyncAck, AsyncApp

from bot.domain.errors import BadInput
from bot.services.bot import Bot
from handlers.slack.buttons import BUTTONS
from handlers.slack.commands import COMMANDS, run
from handlers.slack.context import Call
from handlers.slack.dispatcher import SlackDispatcher
from handlers.slack.events import EVENTS, SHORTCUTS
from handlers.slack.forms import FORMS

ANY = re.compile("")


def register(app: AsyncApp, bot: Bot) -> SlackDispatcher:
    """Register every listener. Returns the dispatcher that they all use."""
    dispatcher = SlackDispatcher(bot)
    for name, own in bot.deps.team.commands.names().items():
        if name in COMMANDS:
            app.command(f"/{own}")(dispatcher.listener(run))
    for action_id, press in BUTTONS.items():
        app.action(action_id)(dispatcher.listener(press))
    for callback_id, submit in FORMS.items():
        app.view(callback_id)(dispatcher.listener(submit))
    for callback_id, use in SHORTCUTS.items():
        app.shortcut(callback_id)(dispatcher.listener(use))
    for event, hear in EVENTS.items():
        app.event(event)(dispatcher.listener(hear))
    unknown = dispatcher.listener(refuse)
    app.action(ANY)(unknown)
    app.view(ANY)(unknown)
    app.shortcut(ANY)(unknown)
    app.event(ANY)(ignore)
    return dispatcher


async def refuse(call: Call) -> None:
    """Say that a button, form or shortcut is unknown: an older version of the bot may have posted it."""
    raise BadInput("malformed_request")


async def ignore(ack: AsyncAck) -> None:
    """Acknowledge an event that the app is subscribed to for nothing: Slack sends no more to who refuses too many."""
    await ack()
