"""Slash commands."""

from __future__ import annotations

from bot.domain.errors import BadInput
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
    try:
        answer = await command.run(call, str(call.body.get("text") or ""))
    except BadInput as problem:
        if problem.key != "unknown_verb":
            raise
        raise BadInput(
            problem.key, **problem.facts, elsewhere=_elsewhere(command, str(problem.facts["verb"]))
        ) from None
    if answer:
        await call.reply(answer)


def _elsewhere(command: Command, verb: str) -> str | None:
    """Return the other command with such a verb: who types `/ops undo` means `/runbook undo`."""
    return next((f"/{one.name} {verb}" for one in COMMANDS.values() if one is not command and verb in one.verbs), None)
