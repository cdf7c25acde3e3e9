"""Submitted forms. Invalid input is reported beside the field, and the form stays open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bot.domain.errors import BadInput
from bot.domain.incident import Cause, Impact, Severity
from bot.domain.run import ApprovalState, StepRef
from bot.domain.stakeholders import Draft
from bot.messages.forms import NO_SERVICE
from bot.messages.message import Message
from bot.services.followups import FollowUpRequest
from bot.services.incidents import Findings
from handlers.slack.context import Call
from handlers.slack.dispatcher import Handler
from handlers.slack.payloads import whole_number


async def declare(call: Call) -> None:
    values = _values(call)
    if not (values["title"] or "").strip():
        await _field_errors(call, "title", BadInput("title_missing"))
        return
    await call.ack()
    service = values["service"] if values["service"] != NO_SERVICE else None
    await call.bot.incidents.declare(
        values["title"],
        _severity(values["severity"]),
        by=await call.person(),
        idempotency_key=_idempotency_key(call),
        service=service,
    )


async def update(call: Call) -> None:
    text = (_values(call)["text"] or "").strip()
    if not text:
        await _field_errors(call, "text", BadInput("text_missing"))
        return
    await call.ack()
    await call.bot.incidents.update(_about(call), text, by=await call.person(), idempotency_key=_idempotency_key(call))


async def notice(call: Call) -> None:
    text = (_values(call)["text"] or "").strip()
    if not text:
        await _field_errors(call, "text", BadInput("text_missing"))
        return
    await call.ack()
    draft = replace(Draft.parse(_about(call)), text=text)
    await call.bot.stakeholders.tell(draft, by=await call.person(), idempotency_key=_idempotency_key(call))


async def report(call: Call) -> None:
    values = _values(call)
    await call.ack()
    person, form = await call.person(), Findings.parse(_about(call))
    impact = Impact(
        users=whole_number(values["users"]) if values["users"] else None,
        services=tuple(values["services"] or ()),
        revenue=values["revenue"] or None,
        summary=values["summary"] or None,
    )
    root_cause = Cause(
        values["primary"] or None,
        _lines(values["contributing"]),
        values["detection"] or None,
        _lines(values["lessons"]),
    )
    meanwhile = await call.bot.incidents.set_findings(
        form, impact, root_cause, by=person, idempotency_key=_idempotency_key(call)
    )
    await call.bot.reports.enqueue(form.incident_id, idempotency_key=call.idempotency_key)
    if meanwhile:
        words = await call.translations()
        labels = [words.label(f"forms.report.{name}") for name in meanwhile]
        text = words.render_block("replies", "meanwhile", incident=form.incident_id, fields=labels)
        await call.reply(Message.of(text))


async def followup(call: Call) -> None:
    values = _values(call)
    if not (values["title"] or "").strip():
        await _field_errors(call, "title", BadInput("text_missing"))
        return
    await call.ack()
    await call.bot.followups.open(
        _about(call),
        FollowUpRequest(
            values["title"],
            owner=values["owner"],
            due=values["due"],
            labels=[label.strip() for label in (values["labels"] or "").split(",") if label.strip()],
        ),
        by=await call.person(),
        idempotency_key=_idempotency_key(call),
    )


async def dismiss(call: Call) -> None:
    reason = (_values(call)["reason"] or "").strip()
    if not reason:
        await _field_errors(call, "reason", BadInput("dismiss_reason_missing"))
        return
    await call.ack()
    await call.bot.incidents.dismiss(
        _about(call), reason, by=await call.person(), idempotency_key=_idempotency_key(call)
    )


async def resolve(call: Call) -> None:
    await call.ack()
    await call.bot.incidents.resolve(_about(call), by=await call.person(), idempotency_key=_idempotency_key(call))


async def break_glass(call: Call) -> None:
    reason = (_values(call)["reason"] or "").strip()
    if not reason:
        await _field_errors(call, "reason", BadInput("reason_missing"))
        return
    await call.ack()
    step, verdict = StepRef.parse(_about(call)), ApprovalState.BROKEN_GLASS
    await call.bot.runs.decide(
        step, verdict, by=await call.person(), idempotency_key=_idempotency_key(call), reason=reason
    )


async def answer(call: Call) -> None:
    text = (_values(call)["answer"] or "").strip()
    step = StepRef.parse(_about(call))
    try:
        await call.bot.runs.answer(step, text, by=await call.person(), idempotency_key=_idempotency_key(call))
    except BadInput as problem:
        await _field_errors(call, "answer", problem)
        return
    await call.ack()


class _Values(dict[str, Any]):
    """The values of a form by block id; None where nothing was entered. Raises BadInput for a block it has not."""

    def __missing__(self, name: str) -> Any:
        raise BadInput("malformed_request")


def _values(call: Call) -> _Values:
    state = call.body["view"].get("state", {}).get("values", {})
    return _Values({block: _value(next(iter(fields.values()), {})) for block, fields in state.items()})


def _severity(text: str | None) -> Severity:
    try:
        return Severity(text or "")
    except ValueError:
        raise BadInput("malformed_request") from None


def _value(field: dict[str, Any]) -> Any:
    if "selected_options" in field:
        return [option["value"] for option in field["selected_options"] or []]
    chosen = field.get("selected_option")
    return chosen["value"] if chosen else field.get("value") or field.get("selected_date")


def _lines(text: str | None) -> tuple[str, ...]:
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())


def _about(call: Call) -> str:
    return str(call.body["view"].get("private_metadata") or "")


def _idempotency_key(call: Call) -> str:
    """Return the same key for the same form, however often it is sent."""
    return f"view:{call.body['view']['id']}"


async def _field_errors(call: Call, block: str, problem: BadInput) -> None:
    words = await call.cached_translations()
    await call.ack(response_action="errors", errors={block: words.error(problem)})


FORMS: dict[str, Handler] = {
    "declare": declare,
    "update": update,
    "notice": notice,
    "report": report,
    "followup": followup,
    "dismiss": dismiss,
    "resolve": resolve,
    "break_glass": break_glass,
    "answer": answer,
}
