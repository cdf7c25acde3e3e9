"""The slash commands."""

from __future__ import annotations

from handlers.commands.drill import DRILL
from handlers.commands.group import Command
from handlers.commands.incident import INCIDENT
from handlers.commands.ops import OPS
from handlers.commands.page import ON_CALL, PAGE
from handlers.commands.runbook import RUNBOOK
from handlers.commands.snapshot import SNAPSHOT
from handlers.context import Call

COMMANDS: dict[str, Command] = {
    command.name: command for command in (INCIDENT, RUNBOOK, OPS, SNAPSHOT, PAGE, ON_CALL, DRILL)
}


async def run(call: Call) -> None:
    """Any slash command."""
    await call.ack()
    command = COMMANDS[str(call.body["command"]).lstrip("/")]
    if answer := await command.run(call, str(call.body.get("text") or "")):
        await call.reply(answer)
