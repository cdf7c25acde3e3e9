"""What comes from PagerDuty: its answers, and whether a webhook is its own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.domain.on_call import OnCall

EVENTS_INTEGRATION = "events_api_v2_inbound_integration"


@dataclass(frozen=True, slots=True)
class PagerDutyIncident:
    """An incident at PagerDuty. `status` is triggered, acknowledged or resolved; `service` is a name."""

    id: str
    key: str | None
    title: str
    status: str
    url: str
    service: str
    assignees: tuple[str, ...]


def verify_signature(header: str, body: bytes, secrets: Sequence[str]) -> bool:
    """Whether a V3 webhook is PagerDuty's: one `v1=<hex>` of the header is the HMAC-SHA256 of the raw body.

    Any of `secrets` will do, and any of the header's signatures, so that a secret can be replaced.
    https://developer.pagerduty.com/docs/verifying-webhook-signatures
    """
    given = [part.strip().encode() for part in header.split(",")]
    expected = [b"v1=" + hmac.new(s.encode(), body, hashlib.sha256).hexdigest().encode() for s in secrets if s]
    return any(hmac.compare_digest(signature, other) for signature in given for other in expected)


def events_keys(service: Mapping[str, Any]) -> list[str]:
    """The routing keys of a service's Events API v2 integrations."""
    integrations = service.get("integrations") or []
    return [integration["integration_key"] for integration in integrations if integration["type"] == EVENTS_INTEGRATION]


def incident(raw: Mapping[str, Any]) -> PagerDutyIncident:
    return PagerDutyIncident(
        raw["id"],
        raw.get("incident_key"),
        raw["title"],
        raw["status"],
        raw["html_url"],
        raw["service"]["summary"],
        tuple(assignment["assignee"]["summary"] for assignment in raw.get("assignments", ())),
    )


def on_call(entry: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]) -> OnCall:
    """An entry of the on-call list with its user included, and the user's contact methods."""
    user = entry["user"]
    until = datetime.fromisoformat(entry["end"]) if entry["end"] else None
    name = user.get("name") or user["summary"]
    return OnCall(int(entry["escalation_level"]), name, user.get("email"), _phone(methods), user["id"], until)


def _phone(methods: Sequence[Mapping[str, Any]]) -> str | None:
    """The number to call, as it is dialled from anywhere; one for text messages if there is no other."""
    for kind in ("phone_contact_method", "sms_contact_method"):
        for method in methods:
            if method["type"] == kind:
                return f"+{method['country_code']} {method['address']}"
    return None


def words(response: Any) -> tuple[str, int | None]:
    """Why the request was refused, in PagerDuty's words, and its code. The two APIs have different shapes."""
    try:
        body = response.json()
    except ValueError:
        return "", None
    if not isinstance(body, dict):
        return "", None
    error = body["error"] if isinstance(body.get("error"), dict) else body
    errors = error.get("errors")
    reasons = [error.get("message"), *(errors if isinstance(errors, list) else [])]
    code = error.get("code")
    return ": ".join(dict.fromkeys(str(reason) for reason in reasons if reason)), code if isinstance(
        code, int
    ) else None
