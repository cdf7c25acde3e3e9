"""Forms that were sent. What is wrong with one is said beside the field, and the form stays open."""

from __future__ import annotations

from typing import Any

from bot.domain.errors import BadInput
from bot.domain.incident import Cause, Impact, Severity
from bot.domain.run import ApprovalState, StepRef
from bot.messages.forms import NO_SERVICE
from bot.services.followups import FollowUpRequest
from handlers.slack.context import Call
from handlers.slack.dispatcher import Handler


async def declare(call: Call) -> None:
    given = _values(call)
    if not (given["title"] or "").strip():
        await _field_errors(call, "title", BadInput("title_missing"))
        return
    await call.ack()
    service = given["service"] if given["service"] != NO_SERVICE else None
    await call.bot.incidents.declare(
        given["title"],
        Severity(given["severity"]),
        by=await call.person(),
        idempotency_key=_form(call),
        service=service,
    )


async def update(call: Call) -> None:
    text = (_values(call)["text"] or "").strip()
    if not text:
        await _field_errors(call, "text", BadInput("text_missing"))
        return
    await call.ack()
    await call.bot.incidents.update(_about(call), text, by=await call.person(), idempotency_key=_form(call))


async def report(call: Call) -> None:
    given = _values(call)
    await call.ack()
    person, id = await call.person(), _about(call)
    impact = Impact(
        users=int(given["users"]) if given["users"] else None,
        services=tuple(given["services"] or ()),
        revenue=given["revenue"] or None,
        summary=given["summary"] or None,
    )
    why = Cause(
        given["primary"] or None, _lines(given["contributing"]), given["detection"] or None, _lines(given["lessons"])
    )
    incident = await call.bot.incidents.find(id)
    if impact != incident.impact:
        await call.bot.incidents.set_impact(id, impact, by=person, idempotency_key=f"{_form(call)}/impact")
    if why != incident.cause:
        await call.bot.incidents.set_cause(id, why, by=person, idempotency_key=f"{_form(call)}/cause")
    await call.bot.reports.enqueue(id, idempotency_key=call.idempotency_key)


async def followup(call: Call) -> None:
    given = _values(call)
    if not (given["title"] or "").strip():
        await _field_errors(call, "title", BadInput("text_missing"))
        return
    await call.ack()
    await call.bot.followups.open(
        _about(call),
        FollowUpRequest(
            given["title"],
            owner=given["owner"],
            due=given["due"],
            labels=[label.strip() for label in (given["labels"] or "").split(",") if label.strip()],
        ),
        by=await call.person(),
        idempotency_key=_form(call),
    )


async def break_glass(call: Call) -> None:
    reason = (_values(call)["reason"] or "").strip()
    if not reason:
        await _field_errors(call, "reason", BadInput("reason_missing"))
        return
    await call.ack()
    step, verdict = StepRef.parse(_about(call)), ApprovalState.BROKEN_GLASS
    await call.bot.runs.decide(step, verdict, by=await call.person(), idempotency_key=_form(call), reason=reason)


async def answer(call: Call) -> None:
    text = (_values(call)["answer"] or "").strip()
    step = StepRef.parse(_about(call))
    try:
        await call.bot.runs.answer(step, text, by=await call.person(), idempotency_key=_form(call))
    except BadInput as wrong:
        await _field_errors(call, "answer", wrong)
        return
    await call.ack()


def _values(call: Call) -> dict[str, Any]:
    """What was filled in, by the field's block; None where nothing was."""
    state = call.body["view"].get("state", {}).get("values", {})
    return {block: _value(next(iter(fields.values()), {})) for block, fields in state.items()}


def _value(field: dict[str, Any]) -> Any:
    if "selected_options" in field:
        return [option["value"] for option in field["selected_options"] or []]
    chosen = field.get("selected_option")
    return chosen["value"] if chosen else field.get("value") or field.get("selected_date")


def _lines(text: str | None) -> tuple[str, ...]:
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())


def _about(call: Call) -> str:
    return str(call.body["view"].get("private_metadata") or "")


def _form(call: Call) -> str:
    """One form is one cause, however often it is sent."""
    return f"view:{call.body['view']['id']}"


async def _field_errors(call: Call, block: str, problem: BadInput) -> None:
    words = await call.cached_translations()
    await call.ack(response_action="errors", errors={block: words.error(problem)})


FORMS: dict[str, Handler] = {
    "declare": declare,
    "update": update,
    "report": report,
    "followup": followup,
    "break_glass": break_glass,
    "answer": answer,
}
