"""Buttons of messages. A button carries an id; permissions are checked at the click."""

from __future__ import annotations

from datetime import timedelta

from bot.domain.errors import BadInput
from bot.domain.incident import Severity
from bot.domain.run import ApprovalState, RunRequest, StepRef
from bot.domain.stakeholders import Draft
from bot.messages import forms
from bot.messages.approval import change_sheet
from bot.messages.catchup import catch_up as catch_up_message
from bot.messages.forecast import incident_title
from bot.messages.message import Message
from bot.messages.stakeholders import form as notice_form
from bot.messages.why import evidence_sheet
from bot.services.why import Opinion
from handlers.slack.context import Call
from handlers.slack.dispatcher import Handler
from handlers.slack.home import publish_home
from handlers.slack.payloads import whole_number

SNOOZE = timedelta(minutes=15)


async def acknowledge(call: Call) -> None:
    await call.ack()
    await call.bot.incidents.acknowledge(call.value, by=await call.person(), idempotency_key=call.idempotency_key)
    await _say_if_not_shown(call)


async def take_command(call: Call) -> None:
    await call.ack()
    await call.bot.incidents.take_command(call.value, by=await call.person(), idempotency_key=call.idempotency_key)
    await _say_if_not_shown(call)


async def mitigate(call: Call) -> None:
    await call.ack()
    await call.bot.incidents.mitigate(call.value, by=await call.person(), idempotency_key=call.idempotency_key)
    await _say_if_not_shown(call)


async def resolve(call: Call) -> None:
    """Resolve an incident; if more fires now than the confirmation said, ask again in a form."""
    await call.ack()
    id, _, said = call.value.partition("|")
    firing = await call.bot.deps.store.alerts.count_firing(id)
    if said and firing > whole_number(said):
        await call.open(forms.resolve(await call.cached_translations(), id, firing))
        return
    await call.bot.incidents.resolve(id, by=await call.person(), idempotency_key=call.idempotency_key)
    await _say_if_not_shown(call)


async def dismiss(call: Call) -> None:
    """End an incident as a false alarm: a form asks for the reason."""
    await call.ack()
    firing = await call.bot.deps.store.alerts.count_firing(call.value)
    await call.open(forms.dismiss(await call.cached_translations(), call.value, firing))


async def reopen(call: Call) -> None:
    await call.ack()
    reason = call.bot.deps.words.label("reopened_by_button")
    await call.bot.incidents.reopen(call.value, reason, by=await call.person(), idempotency_key=call.idempotency_key)


async def catch_up(call: Call) -> None:
    """Tell the person alone what has happened so far."""
    await call.ack()
    incident = await call.bot.incidents.find(call.value)
    so_far = await call.bot.incidents.catch_up(incident)
    await call.reply(catch_up_message(so_far, await call.translations()))


async def snooze(call: Call) -> None:
    """Remind of the update later."""
    await call.ack()
    until = await call.bot.incidents.snooze(
        call.value, SNOOZE, by=await call.person(), idempotency_key=call.idempotency_key
    )
    await call.reply(Message.of((await call.translations()).render_block("replies", "snoozed", until=until)))


async def declare_new(call: Call) -> None:
    """Declare another incident of the same service."""
    await call.ack()
    incident = await call.bot.incidents.find(call.value)
    words, team = await call.cached_translations(), call.bot.deps.team
    await call.open(forms.declare(words, team, severity=incident.severity, service=incident.service))


async def declare_predicted(call: Call) -> None:
    """Open the form to declare an incident of what is foreseen."""
    await call.ack()
    prediction, metric = await call.bot.forecasts.prediction(call.value)
    words, team = await call.cached_translations(), call.bot.deps.team
    title = incident_title(prediction, metric, words)
    await call.open(forms.declare(words, team, severity=Severity.SEV3, service=prediction.service, title=title))


async def snooze_predicted(call: Call) -> None:
    """Tell nothing more of what is foreseen for a while; the message and the answer say until when."""
    await call.ack()
    prediction, metric = await call.bot.forecasts.snooze(call.value, by=await call.person())
    words = await call.translations()
    title = metric.in_language(words.locale)
    await call.reply(Message.of(words.render_block("forecast", "snoozed", prediction=prediction, title=title)))


async def run_predicted(call: Call) -> None:
    """Start the runbook against what is foreseen, once."""
    await call.ack()
    id, _, name = call.value.rpartition("|")
    run = await call.bot.forecasts.run(id, name, by=await call.person(), channel=call.channel_id)
    words = await call.translations()
    await call.reply(Message.of(words.render_block("calendar", "started", run=run, runbook=name)))


async def close_incident(call: Call) -> None:
    await call.ack()
    await call.bot.incidents.close(call.value, by=await call.person(), idempotency_key=call.idempotency_key)
    await _say_if_not_shown(call)


async def _say_if_not_shown(call: Call) -> None:
    """Tell the person that it is saved, if Slack does not show it: otherwise the channel shows it."""
    if not await call.bot.incidents.is_shown(call.value.partition("|")[0], idempotency_key=call.idempotency_key):
        await call.reply(Message.of((await call.translations()).render_block("replies", "saved")))


async def post_update(call: Call) -> None:
    await call.ack()
    await call.open(forms.update(await call.cached_translations(), call.value))


async def publish_update(call: Call) -> None:
    """Post exactly the draft that is shown, once."""
    await call.ack()
    id, key, text = _update_draft(call)
    await call.bot.incidents.update(id, text, by=await call.person(), idempotency_key=f"{id}/update-draft/{key}")


async def edit_update(call: Call) -> None:
    await call.ack()
    id, _, text = _update_draft(call)
    await call.open(forms.update(await call.cached_translations(), id, text))


def _update_draft(call: Call) -> tuple[str, str, str]:
    """Return the incident, the key and the text that a draft's button carries. Raises BadInput."""
    id, _, rest = call.value.partition("|")
    key, _, text = rest.partition("|")
    if not (id and key and text):
        raise BadInput("malformed_request")
    return id, key, text


async def publish_notice(call: Call) -> None:
    """Publish exactly the text that the draft shows."""
    await call.ack()
    draft = Draft.parse(call.value)
    await call.bot.stakeholders.tell(draft, by=await call.person(), idempotency_key=call.idempotency_key)


async def edit_notice(call: Call) -> None:
    await call.ack()
    await call.open(notice_form(Draft.parse(call.value), await call.cached_translations()))


async def snooze_notice(call: Call) -> None:
    """Ask for the notice again in a few minutes; the draft says when."""
    await call.ack()
    await call.bot.stakeholders.snooze(call.value, by=await call.person(), idempotency_key=call.idempotency_key)


async def complete_report(call: Call) -> None:
    await call.ack()
    await call.open_findings(await call.bot.incidents.find(call.value))


async def open_followup(call: Call) -> None:
    await call.ack()
    team = call.bot.deps.team
    due = (call.bot.deps.clock.now() + _due_in(call)).date()
    await call.open(forms.followup(await call.cached_translations(), team, call.value, due=due))


def _due_in(call: Call) -> timedelta:
    return call.bot.deps.team.followups.due_in


async def approve(call: Call) -> None:
    await call.ack()
    await _decide(call, ApprovalState.APPROVED)


async def reject(call: Call) -> None:
    await call.ack()
    await _decide(call, ApprovalState.REJECTED)


async def break_glass(call: Call) -> None:
    """Run without approval, in an emergency: a form asks for the reason."""
    await call.ack()
    StepRef.parse(call.value)
    await call.open(forms.break_glass(await call.cached_translations(), call.value))


async def show_change(call: Call) -> None:
    """Open a sheet with the change that an approval is about."""
    await call.ack()
    pending = await call.bot.runs.pending(StepRef.parse(call.value))
    await call.open(change_sheet(pending.view(), await call.cached_translations()))


async def propose_change(call: Call) -> None:
    """Open the change as a pull request instead."""
    await call.ack()
    step = StepRef.parse(call.value)
    await call.bot.runs.propose(step, by=await call.person(), idempotency_key=call.idempotency_key)
    await call.reply(Message.of((await call.translations()).render_block("replies", "proposed")))


async def go_on_without(call: Call) -> None:
    """Go on without a step that nobody approved."""
    await call.ack()
    run_id, step_id = _step(call)
    await call.bot.runs.go_on_without(run_id, step_id, by=await call.person(), idempotency_key=call.idempotency_key)


async def ask_again(call: Call) -> None:
    """Ask once more for an approval that nobody gave."""
    await call.ack()
    run_id, step_id = _step(call)
    await call.bot.runs.ask_again(run_id, step_id, by=await call.person(), idempotency_key=call.idempotency_key)


def _step(call: Call) -> tuple[str, str]:
    """Return the run and the step that a button carries. Raises BadInput."""
    run_id, _, step_id = call.value.partition("|")
    if not (run_id and step_id) or "|" in step_id:
        raise BadInput("malformed_request")
    return run_id, step_id


async def continue_run(call: Call) -> None:
    """Continue a run where it stopped."""
    await call.ack()
    await call.bot.runs.continue_stopped(call.value, by=await call.person())


async def answer(call: Call) -> None:
    """Open the form for a run's question."""
    await call.ack()
    question = await call.bot.runs.question(StepRef.parse(call.value))
    words, services = await call.cached_translations(), list(call.bot.deps.team.services)
    await call.open(forms.answer(words, call.value, question.text, question.spec, services, question.default))


async def cancel_run(call: Call) -> None:
    await call.ack()
    await call.bot.runs.cancel(call.value, by=await call.person(), idempotency_key=call.idempotency_key)


async def undo_run(call: Call) -> None:
    await call.ack()
    await call.bot.runs.undo(call.value, by=await call.person(), idempotency_key=call.idempotency_key)


async def run_proposed(call: Call) -> None:
    await call.ack()
    await _run(call, dry_run=False)


async def rehearse_proposed(call: Call) -> None:
    await call.ack()
    await _run(call, dry_run=True)


async def _run(call: Call, *, dry_run: bool) -> None:
    id, _, name = call.value.partition("|")
    incident = await call.bot.incidents.find(id)
    request = RunRequest(await call.person(), call.idempotency_key, incident=incident, dry_run=dry_run)
    await call.bot.runs.start(name, {}, request)


async def run_due(call: Call) -> None:
    """Start the runbook of a due thing, once for each thing."""
    await call.ack()
    due, _, name = call.value.rpartition("|")
    request = RunRequest(await call.person(), f"calendar/{due}/run", channel=call.channel_id)
    run = await call.bot.runs.start(name, {}, request)
    words = await call.translations()
    await call.reply(Message.of(words.render_block("calendar", "started", run=run, runbook=name)))


async def start_drill(call: Call) -> None:
    """Open the drill that is due; no fault starts yet."""
    await call.ack()
    due, _, scenario = call.value.rpartition("|")
    incident, _run = await call.bot.drills.start(
        scenario, by=await call.person(), idempotency_key=f"calendar/{due}/{scenario}", channel=call.channel_id
    )
    await call.reply(Message.of((await call.translations()).render_block("drill", "started", incident=incident)))


async def _decide(call: Call, verdict: ApprovalState) -> None:
    step = StepRef.parse(call.value)
    try:
        await call.bot.runs.decide(step, verdict, by=await call.person(), idempotency_key=call.idempotency_key)
    finally:
        if (call.body.get("view") or {}).get("type") == "home":
            await publish_home(call)


async def show_evidence(call: Call) -> None:
    """Open a sheet with the evidence for each cause."""
    await call.ack()
    incident = await call.bot.incidents.find(call.value)
    found = await call.bot.causes.evidence(incident)
    words = await call.cached_translations()
    if found is None:
        await call.reply(Message.of(words.render_block("why", "no_evidence")))
        return
    await call.open(evidence_sheet(found, words, incident.id, charted=call.bot.causes.charts))


async def rule_out(call: Call) -> None:
    await call.ack()
    opinion = await _opinion(call)
    await call.bot.causes.rule_out(opinion, None, by=await call.person(), idempotency_key=call.idempotency_key)
    await call.reply(Message.of((await call.translations()).render_block("why", "done_ruled_out")))


async def confirm_cause(call: Call) -> None:
    await call.ack()
    opinion = await _opinion(call)
    await call.bot.causes.confirm(opinion, by=await call.person(), idempotency_key=call.idempotency_key)
    await call.reply(Message.of((await call.translations()).render_block("why", "done_confirmed")))


async def _opinion(call: Call) -> Opinion:
    id, _, cause = call.value.partition("|")
    return Opinion(await call.bot.incidents.find(id), cause)


async def opened(call: Call) -> None:
    """Acknowledge a button that opened a page: Slack reports these clicks, too."""
    await call.ack()


BUTTONS: dict[str, Handler] = {
    "open_alert_runbook": opened,
    "open_alert_query": opened,
    "open_alert_dashboard": opened,
    "open_report": opened,
    "approve": approve,
    "reject": reject,
    "break_glass": break_glass,
    "answer": answer,
    "show_change": show_change,
    "propose_change": propose_change,
    "go_on_without": go_on_without,
    "ask_again": ask_again,
    "continue_run": continue_run,
    "cancel_run": cancel_run,
    "run_proposed": run_proposed,
    "rehearse_proposed": rehearse_proposed,
    "undo_run": undo_run,
    "run_due": run_due,
    "start_drill": start_drill,
    "start_drill_1": start_drill,
    "start_drill_2": start_drill,
    "acknowledge": acknowledge,
    "take_command": take_command,
    "mitigate": mitigate,
    "resolve": resolve,
    "dismiss": dismiss,
    "reopen": reopen,
    "declare_new": declare_new,
    "declare_predicted": declare_predicted,
    "snooze_predicted": snooze_predicted,
    "run_predicted": run_predicted,
    "catch_up": catch_up,
    "snooze": snooze,
    "close_incident": close_incident,
    "post_update": post_update,
    "publish_update": publish_update,
    "edit_update": edit_update,
    "publish_notice": publish_notice,
    "edit_notice": edit_notice,
    "snooze_notice": snooze_notice,
    "complete_report": complete_report,
    "open_followup": open_followup,
    "show_evidence": show_evidence,
    "rule_out": rule_out,
    "confirm_cause": confirm_cause,
}
