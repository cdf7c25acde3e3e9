"""The JSON of Alertmanager: its API version 2, by its own OpenAPI document, and its webhook."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from sandbox.alertmanager.state import (
    LABEL_NAME,
    NEVER,
    Alert,
    Labels,
    Matcher,
    Silence,
    fingerprint,
    rfc3339,
    sort_key,
)

Json = dict[str, Any]


class PostedMatcher(BaseModel):
    name: str
    value: str
    is_regex: bool = Field(alias="isRegex")
    is_equal: bool = Field(True, alias="isEqual")

    def matcher(self) -> Matcher:
        return Matcher(self.name, self.value, self.is_regex, self.is_equal)


class PostedSilence(BaseModel):
    id: str | None = None
    matchers: list[PostedMatcher] = Field(min_length=1)
    starts_at: AwareDatetime = Field(alias="startsAt")
    ends_at: AwareDatetime = Field(alias="endsAt")
    created_by: str = Field(alias="createdBy")
    comment: str


class PostedAlert(BaseModel):
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: AwareDatetime | None = Field(None, alias="startsAt")
    ends_at: AwareDatetime | None = Field(None, alias="endsAt")
    generator_url: str = Field("", alias="generatorURL")

    def checked_labels(self) -> dict[str, str]:
        """Return the labels that are not empty. Raises ValueError for none, or for an invalid name."""
        labels = {name: value for name, value in self.labels.items() if value}
        if not labels:
            raise ValueError("at least one label pair required")
        for name in labels:
            if not LABEL_NAME.fullmatch(name):
                raise ValueError(f'invalid label set: invalid name "{name}"')
        return labels


def silence_json(silence: Silence, now: datetime) -> Json:
    matchers = [
        {"name": m.name, "value": m.value, "isRegex": m.is_regex, "isEqual": m.is_equal} for m in silence.matchers
    ]
    return {
        "id": silence.id,
        "status": {"state": silence.state(now)},
        "updatedAt": date_time(silence.updated_at),
        "matchers": matchers,
        "startsAt": date_time(silence.starts_at),
        "endsAt": date_time(silence.ends_at),
        "createdBy": silence.created_by,
        "comment": silence.comment,
        "annotations": {},
    }


def alert_json(alert: Alert, silenced_by: list[str], receiver: str) -> Json:
    return {
        "labels": dict(sorted(alert.labels.items())),
        "annotations": dict(sorted(alert.annotations.items())),
        "startsAt": date_time(alert.starts_at),
        "endsAt": date_time(alert.ends_at),
        "updatedAt": date_time(alert.updated_at),
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(alert.labels),
        "receivers": [{"name": receiver}],
        "status": {
            "state": "suppressed" if silenced_by else "active",
            "silencedBy": silenced_by,
            "inhibitedBy": [],
            "mutedBy": [],
        },
    }


def date_time(at: datetime) -> str:
    """Format in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# The webhook's body, version 4: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config


def notification(
    receiver: str, group_labels: Labels, alerts: Sequence[Alert], *, external_url: str, now: datetime
) -> dict[str, Any]:
    """Return the body of a notification: the group's alerts in their present state, in Alertmanager's order."""
    ordered = sorted(alerts, key=sort_key)
    firing = any(not alert.is_resolved(now) for alert in ordered)
    return {
        "receiver": receiver,
        "status": "firing" if firing else "resolved",
        "alerts": [_webhook_alert(alert, now) for alert in ordered],
        "groupLabels": _sort_labels(group_labels),
        "commonLabels": _common([alert.labels for alert in ordered]),
        "commonAnnotations": _common([alert.annotations for alert in ordered]),
        "externalURL": external_url,
        "version": "4",
        "groupKey": group_key(group_labels),
        "truncatedAlerts": 0,
    }


def group_key(labels: Labels) -> str:
    """Return the key of a group of the root route."""
    inside = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()))
    return f"{{}}:{{{inside}}}"


def encode(body: dict[str, Any]) -> bytes:
    """Encode the body as Go does: `<`, `>`, `&` escaped, a line feed at the end."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"{text}\n".encode()


def _webhook_alert(alert: Alert, now: datetime) -> dict[str, Any]:
    resolved = alert.is_resolved(now)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": _sort_labels(alert.labels),
        "annotations": _sort_labels(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(alert.ends_at if resolved else NEVER),
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(alert.labels),
    }


def _common(labels: Sequence[Labels]) -> dict[str, str]:
    first, *others = labels
    return {k: v for k, v in sorted(first.items()) if all(other.get(k) == v for other in others)}


def _sort_labels(labels: Labels) -> dict[str, str]:
    return dict(sorted(labels.items()))
