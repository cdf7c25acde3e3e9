"""`/drill`: start a drill, inject faults, show the score."""

from __future__ import annotations

from bot.messages.drill import scenarios, scorecard
from bot.messages.message import Message
from handlers.slack.commands.group import Command
from handlers.slack.context import Call

DRILL = Command("drill")


@DRILL.verb("/drill list")
async def list_(call: Call) -> Message:
    """List the scenarios."""
    return scenarios(call.bot.drills.scenarios(), await call.translations())


@DRILL.verb("/drill start gpu-node-loss")
async def start(call: Call, scenario: str) -> Message:
    """Open a drill; no fault starts yet."""
    person = await call.person()
    incident, _ = await call.bot.drills.start(
        scenario, by=person, idempotency_key=call.idempotency_key, channel=call.channel_id
    )
    return Message.of((await call.translations()).render_block("drill", "started", incident=incident))


@DRILL.verb("/drill inject")
async def inject(call: Call) -> Message:
    """Start the next fault."""
    run = await call.bot.drills.inject(
        await call.incident(), by=await call.person(), idempotency_key=call.idempotency_key
    )
    return Message.of((await call.translations()).render_block("drill", "injected", run=run))


@DRILL.verb("/drill score")
async def score(call: Call) -> Message:
    """Show the score against the targets."""
    incident = await call.incident()
    return scorecard(await call.bot.drills.score(incident), incident, await call.translations())


@DRILL.verb("/drill stop")
async def stop(call: Call) -> Message:
    """Undo the drill's faults and resolve it."""
    incident = await call.incident()
    result = await call.bot.drills.stop(incident, by=await call.person(), idempotency_key=call.idempotency_key)
    return scorecard(result, incident, await call.translations())
