"""PagerDuty's V3 webhooks. Source: https://developer.pagerduty.com/docs/webhooks-overview"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bot.domain.errors import BadInput
from bot.domain.on_call import MergedInto, PageEvent, PagerDutyAgent
from bot.integrations.pagerduty import verify_signature
from bot.services.bot import Bot
from handlers.sources.source import Payload, Source, Text, validate

KNOWN_EVENTS = frozenset(
    {"incident.triggered", "incident.acknowledged", "incident.resolved", "incident.reopened", "incident.annotated",
     "incident.escalated", "incident.reassigned", "incident.delegated", "incident.unacknowledged"}
)  # fmt: skip


Name = Annotated[str, Field(min_length=1, max_length=64)]  # PagerDuty's ids are short


class Reference(Payload):
    id: Name
    type: Text = ""
    summary: Text = ""
    html_url: Text = ""


def _readable(value: Any) -> Any:
    """Return a part that only describes the event; None where it cannot be read: the event counts without it."""
    try:
        return validate(Reference, value)
    except BadInput:
        return None


def _all_readable(value: Any) -> list[Reference]:
    return [one for one in map(_readable, value if isinstance(value, list) else ()) if one]


OptionalReference = Annotated[Reference | None, BeforeValidator(_readable)]
References = Annotated[list[Reference], BeforeValidator(_all_readable)]


class ResolveReason(Payload):
    """Why an incident was resolved: merged into another one, if it is not None."""

    type: Text = ""
    incident: OptionalReference = None


class Data(Payload):
    """The incident or the note of an event."""

    id: Name
    type: Text = ""
    title: Text = ""
    content: Text = ""
    urgency: Text = ""
    incident_key: Text = ""
    html_url: Text = ""
    incident: Reference | None = None
    assignees: References = Field(default_factory=list)
    escalation_policy: OptionalReference = None
    resolve_reason: Annotated[
        ResolveReason | None, BeforeValidator(lambda value: value if isinstance(value, dict) else None)
    ] = None


class Event(Payload):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    event_type: str
    agent: OptionalReference = None
    data: Data


class Webhook(Payload):
    event: Event


class PagerDuty(Source):
    """Authenticated by `X-PagerDuty-Signature`: HMAC of the body with one of PAGERDUTY_WEBHOOK_SECRETS."""

    name = "pagerduty"
    setting = "pagerduty_webhook_secrets"

    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return verify_signature(headers.get("x-pagerduty-signature", ""), body, self.secrets)

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        return headers.get("x-webhook-id") or super().delivery_id(headers, body)

    def read(self, event: str, body: Any) -> PageEvent | None:
        """Return the event; None for unknown types, because an error would disable the subscription."""
        envelope = body.get("event") if isinstance(body, dict) else None
        kind = envelope.get("event_type") if isinstance(envelope, dict) else None
        if not isinstance(kind, str):
            raise BadInput("webhook_wrong", where="event.event_type", why="missing")
        if kind not in KNOWN_EVENTS:
            return None
        webhook_event = validate(Webhook, body).event
        data, agent = webhook_event.data, webhook_event.agent
        kind = webhook_event.event_type.removeprefix("incident.")
        target = data.resolve_reason.incident if data.resolve_reason else None
        is_merge = data.resolve_reason is not None and data.resolve_reason.type.startswith("merge")
        to = [assignee.summary for assignee in data.assignees]
        if kind == "delegated" and data.escalation_policy:
            to = [data.escalation_policy.summary, *to]
        return PageEvent(
            id=webhook_event.id,
            kind=kind,
            incident_id=data.incident.id if data.incident else data.id,
            title=data.title,
            note=data.content,
            urgency=data.urgency or None,
            dedup_key=data.incident_key or None,
            url=data.html_url or None,
            assignees=tuple(filter(None, to)),
            agent=PagerDutyAgent(agent.id, agent.type, agent.summary or None) if agent else None,
            merged_into=MergedInto(target.id, target.summary or target.id, target.html_url or None)
            if is_merge and target
            else None,
        )

    async def handle(self, bot: Bot, event: PageEvent, key: str) -> None:
        await bot.pagerduty.handle(event)
