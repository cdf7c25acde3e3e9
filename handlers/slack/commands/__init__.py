"""Slash commands."""

from __future__ import annotations

from handlers.slack.commands.drill import DRILL
from handlers.slack.commands.group import Command
from handlers.slack.commands.incident import INCIDENT
from handlers.slack.commands.ops import OPS
from handlers.slack.commands.page import ON_CALL, PAGE
from handlers.slack.commands.runbook import RUNBOOK
from handlers.slack.commands.snapshot import SNAPSHOT
from handlers.slack.commands.why import WHY
from handlers.slack.context import Call

COMMANDS: dict[str, Command] = {
    command.name: command for command in (INCIDENT, RUNBOOK, OPS, WHY, SNAPSHOT, PAGE, ON_CALL, DRILL)
}


async def run(call: Call) -> None:
    """Run a slash command."""
    await call.ack()
    typed = str(call.body["command"]).lstrip("/")
    names = call.bot.deps.team.commands.names()
    command = next(COMMANDS[name] for name, own in names.items() if own == typed and name in COMMANDS)
    if answer := await command.run(call, str(call.body.get("text") or "")):
        await call.reply(answer)
