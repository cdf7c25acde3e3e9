"""`/incident`: everything that can be done with an incident."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from bot.domain.incident import Cause, Incident, Role, Severity, merged
from bot.domain.times import PositiveDuration
from bot.messages import forms
from bot.messages.alerts import splittable
from bot.messages.catchup import catch_up
from bot.messages.incident import card, listing, timeline
from bot.messages.message import Message
from bot.messages.stakeholders import form as notice_form
from bot.messages.statistics import statistics as statistics_message
from bot.services.followups import FollowUpRequest
from bot.services.statistics import WINDOW
from bot.signature import Mention, Rest, unescape_slack
from handlers.slack.commands.group import Command
from handlers.slack.context import Call
from handlers.slack.payloads import MOST_DIGITS

INCIDENT = Command("incident")
DEFAULT_SEVERITY = Severity.SEV3


@INCIDENT.verb("/incident declare Latencia alta en render sev=SEV2 service=xr-engine")
async def declare(
    call: Call, title: Rest | None = None, *, sev: Severity | None = None, service: str | None = None
) -> Message | None:
    """Declare an incident; without a title a form opens."""
    if not title:
        words = await call.cached_translations()
        await call.open(forms.declare(words, call.bot.deps.team, severity=sev or DEFAULT_SEVERITY, service=service))
        return None
    incident = await call.bot.incidents.declare(
        title, sev or DEFAULT_SEVERITY, by=await call.person(), idempotency_key=call.idempotency_key, service=service
    )
    shown = await call.bot.incidents.is_shown(incident.id, idempotency_key=call.idempotency_key)
    words = await call.translations()
    return Message.of(words.render_block("replies", "declared" if shown else "declared_saved", incident=incident))


@INCIDENT.verb("/incident list")
async def list_(call: Call, page: Annotated[int, Field(ge=1)] = 1) -> Message:
    """List open incidents, the most severe first."""
    return listing(await call.bot.deps.store.incidents.list_open(), await call.translations(), page=page)


@INCIDENT.verb("/incident status")
async def status(call: Call) -> Message:
    """Show this incident's status."""
    incident = await call.incident()
    return card(incident, await call.translations(), in_own_channel=True)


@INCIDENT.verb("/incident severity SEV1")
async def severity(call: Call, level: Severity) -> Message:
    """Change the severity."""
    incident = await call.incident()
    await call.bot.incidents.set_severity(
        incident.id, level, by=await call.person(), idempotency_key=call.idempotency_key
    )
    return await done(call, incident)


@INCIDENT.verb("/incident role commander @ana")
async def role(call: Call, role: Role, person: Mention) -> Message:
    """Assign a role."""
    incident = await call.incident()
    await call.bot.incidents.assign(
        incident.id, role, person, by=await call.person(), idempotency_key=call.idempotency_key
    )
    return await done(call, incident)


@INCIDENT.verb("/incident ack")
async def ack(call: Call) -> Message:
    """Acknowledge the incident."""
    incident = await call.incident()
    await call.bot.incidents.acknowledge(incident.id, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident update Escalando réplicas; los usuarios ven mejora")
async def update(call: Call, text: Rest | None = None) -> Message | None:
    """Post a status update; without text a form opens."""
    if not text:
        await call.open(forms.update(await call.cached_translations(), (await call.incident()).id))
        return None
    incident = await call.incident()
    await call.bot.incidents.update(incident.id, text, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident announce El render 4D va lento. Estamos trabajando en ello.")
async def announce(call: Call, text: Rest | None = None) -> Message | None:
    """Tell the stakeholders; without text a form opens with a draft."""
    incident = await call.incident()
    draft = call.bot.stakeholders.draft(incident)
    if not text:
        await call.open(notice_form(draft, await call.cached_translations()))
        return None
    await call.bot.stakeholders.tell(
        replace(draft, text=text), by=await call.person(), idempotency_key=call.idempotency_key
    )
    return await done(call, incident)


@INCIDENT.verb("/incident note El pico empezó tras el despliegue 2.1.0")
async def note(call: Call, text: Rest) -> Message:
    """Add a note to the timeline."""
    incident = await call.incident()
    await call.bot.incidents.note(incident.id, text, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident mitigate")
async def mitigate(call: Call) -> Message:
    """Mark the incident as mitigated: users are no longer affected."""
    incident = await call.incident()
    await call.bot.incidents.mitigate(incident.id, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident resolve")
async def resolve(call: Call) -> Message:
    """Resolve the incident: its page is resolved and the report written."""
    incident = await call.incident()
    await call.bot.incidents.resolve(incident.id, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident dismiss El límite estaba mal puesto")
async def dismiss(call: Call, reason: Rest) -> Message:
    """End the incident as a false alarm: no statistics count it."""
    incident = await call.incident()
    await call.bot.incidents.dismiss(incident.id, reason, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident reopen La latencia volvió a subir")
async def reopen(call: Call, reason: Rest) -> Message:
    """Reopen the incident."""
    incident = await call.incident()
    await call.bot.incidents.reopen(incident.id, reason, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident close")
async def close(call: Call) -> Message:
    """Close the incident: its report is complete."""
    incident = await call.incident()
    await call.bot.incidents.close(incident.id, by=await call.person(), idempotency_key=call.idempotency_key)
    return await done(call, incident)


@INCIDENT.verb("/incident split HighLatency")
async def split(call: Call, alert: Rest | None = None) -> Message:
    """Move alerts into an incident of their own; without a name it lists them."""
    incident = await call.incident()
    words = await call.translations()
    if not alert:
        return splittable(incident, await call.bot.alerts.of_incident(incident), words)
    moved = await call.bot.alerts.split(
        incident, unescape_slack(alert), by=await call.person(), idempotency_key=call.idempotency_key
    )
    return Message.of(words.render_block("alerts", "split", moved=moved))


@INCIDENT.verb("/incident catchup")
async def catchup(call: Call) -> Message:
    """Tell you alone what has happened, what was tried, what waits and what is next."""
    return catch_up(await call.bot.incidents.catch_up(await call.incident()), await call.translations())


@INCIDENT.verb("/incident timeline")
async def timeline_(call: Call) -> Message:
    """Show the timeline."""
    incident = await call.incident()
    return timeline(incident, await call.bot.deps.store.incidents.timeline(incident.id), await call.translations())


@INCIDENT.verb('/incident impact users=1200 revenue="$4,000" summary="Render lento en toda Europa"')
async def impact(
    call: Call,
    text: Rest | None = None,
    *,
    users: Annotated[int, Field(ge=0, lt=10**MOST_DIGITS)] | None = None,
    services: str | None = None,
    revenue: str | None = None,
    summary: str | None = None,
) -> Message | None:
    """Set who was affected; text alone is the summary, without values a form opens."""
    incident, summary = await call.incident(), summary or text
    if users is None and services is None and revenue is None and summary is None:
        await call.open_findings(incident)
        return None
    named = [call.bot.incidents.check_service(name.strip()) for name in (services or "").split(",") if name.strip()]
    given = {"users": users, "services": tuple(filter(None, named)), "revenue": revenue, "summary": summary}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value not in (None, "", ())}
    await call.bot.incidents.set_impact(
        incident.id,
        lambda now: replace(now, **changes),
        by=await call.person(),
        idempotency_key=call.idempotency_key,
    )
    return await done(call, incident)


@INCIDENT.verb('/incident cause primary="Fuga de memoria en el render" detection="Alerta HighLatency"')
async def cause(
    call: Call,
    text: Rest | None = None,
    *,
    primary: str | None = None,
    contributing: str | None = None,
    detection: str | None = None,
    lesson: str | None = None,
) -> Message | None:
    """Set the root cause; text alone is the primary one, without values a form opens."""
    incident, primary = await call.incident(), primary or text
    if primary is None and contributing is None and detection is None and lesson is None:
        await call.open_findings(incident)
        return None
    given = Cause(primary or None, _one(contributing), detection or None, _one(lesson))
    await call.bot.incidents.set_cause(
        incident.id,
        lambda now: merged(now, Cause(), given),
        by=await call.person(),
        idempotency_key=call.idempotency_key,
    )
    return await done(call, incident)


def _one(text: str | None) -> tuple[str, ...]:
    return (text,) if text else ()


async def done(call: Call, incident: Incident) -> Message:
    """Say that it is done, or that it is saved while Slack does not show it."""
    shown = await call.bot.incidents.is_shown(incident.id, idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("replies", "done" if shown else "saved"))


@INCIDENT.verb("/incident report")
async def report(call: Call) -> Message:
    """Write the report from the current data."""
    incident = await call.incident()
    await call.bot.reports.enqueue(incident.id, idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("replies", "reporting", incident=incident))


@INCIDENT.verb('/incident followup "Alertas de memoria en xr-engine" owner=SRETeam due=14d label=monitoring')
async def followup(
    call: Call, title: Rest, *, owner: str | None = None, due: str | None = None, label: str | None = None
) -> Message:
    """Open a follow-up, which becomes a GitHub issue."""
    incident = await call.incident()
    labels = [item.strip() for item in (label or "").split(",") if item.strip()]
    opened = await call.bot.followups.open(
        incident.id,
        FollowUpRequest(title, owner=owner, due=due, labels=labels),
        by=await call.person(),
        idempotency_key=call.idempotency_key,
    )
    return Message.of((await call.translations()).render_block("replies", "followup", followup=opened))


@INCIDENT.verb("/incident stats 90d")
async def stats(call: Call, window: PositiveDuration | None = None) -> Message:
    """Show MTTA, MTTR, MTBF and deployment results against the targets, without drills."""
    statistics, duration = call.bot.statistics, window or WINDOW
    return statistics_message(
        await statistics.compute(duration), await statistics.deployments(duration), await call.translations()
    )
