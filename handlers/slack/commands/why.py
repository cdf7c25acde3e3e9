"""`/why`: what changed, and which causes fit, with their evidence."""

from __future__ import annotations

from bot.messages.message import Message
from bot.messages.why import why_message
from bot.services.why import Opinion
from bot.signature import Rest
from handlers.slack.commands.group import Command
from handlers.slack.context import Call

WHY = Command("why")


@WHY.verb("/why xr-engine", default=True)
async def why(call: Call, service: str | None = None) -> Message:
    """Show what changed, and the causes that fit, with their evidence."""
    named = call.named_incident
    incident = await call.incident() if named else await call.bot.incidents.in_channel(call.channel_id or "")
    found = await call.bot.causes.look(incident, service, idempotency_key=call.idempotency_key)
    is_own = incident is not None and incident.service == found.diagnosis.service
    return why_message(found, await call.translations(), incident.id if incident and is_own else None)


@WHY.verb("/why rule-out bad-version v2.4.1 lleva un mes en producción")
async def rule_out(call: Call, cause: str, reason: Rest | None = None) -> Message:
    """Rule a cause out: it is left out from now on."""
    opinion = Opinion(await call.incident(), cause)
    await call.bot.causes.rule_out(opinion, reason, by=await call.person(), idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("why", "done_ruled_out"))


@WHY.verb("/why confirm bad-configuration")
async def confirm(call: Call, cause: str) -> Message:
    """Confirm a cause: it becomes the root cause, if none is set."""
    opinion = Opinion(await call.incident(), cause)
    await call.bot.causes.confirm(opinion, by=await call.person(), idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("why", "done_confirmed"))
