"""`/page` and `/oncall`."""

from __future__ import annotations

from bot.domain.errors import BadInput
from bot.domain.incident import Severity
from bot.messages.message import Message
from bot.messages.on_call import on_call
from bot.signature import Rest
from handlers.slack.commands.group import Command
from handlers.slack.commands.incident import done
from handlers.slack.context import Call

PAGE = Command("page")
ON_CALL = Command("oncall")


@PAGE.verb("/page @sre-team El render no responde sev=SEV1", default=True)
async def page(call: Call, team: str, text: Rest | None = None, *, sev: Severity | None = None) -> Message:
    """Page a team about this channel's incident; outside an incident it declares one."""
    person = await call.person()
    name = call.bot.paging.team(team)
    await call.bot.paging.check(name)
    incident = await call.bot.incidents.in_channel(call.channel_id or "")
    if incident is None:
        if not text:
            raise BadInput("text_missing")
        incident = await call.bot.paging.declare_and_page(
            name, text, sev or Severity.SEV2, by=person, idempotency_key=call.idempotency_key
        )
    else:
        message = text or incident.title
        await call.bot.paging.page(incident, name, message, by=person, idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("replies", "paging", team=name, incident=incident))


@PAGE.verb("/page ack")
async def ack(call: Call) -> Message:
    """Acknowledge the incident and its page."""
    incident = await call.incident()
    await call.bot.incidents.acknowledge(incident.id, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@PAGE.verb("/page resolve")
async def resolve(call: Call) -> Message:
    """Resolve this incident's page; the incident itself stays open."""
    incident = await call.incident()
    await call.bot.paging.resolve(incident, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@ON_CALL.verb("/oncall", default=True)
async def oncall(call: Call, team: str | None = None) -> Message:
    """Show who is on call now, by team or of one team, and until when."""
    name = call.bot.paging.team(team) if team else None
    if name:
        await call.bot.paging.check(name)  # says whom to call instead, where nobody can be paged
    rotas = await call.bot.paging.rota(name)
    return on_call(rotas, await call.translations(), call.bot.deps.team.emergency_contact)
