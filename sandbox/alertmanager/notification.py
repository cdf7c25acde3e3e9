"""The webhook's body, version 4: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sandbox.alertmanager.alerts import NEVER, Alert, Labels, fingerprint, order, rfc3339


def notification(
    receiver: str, group_labels: Labels, alerts: Sequence[Alert], *, external_url: str, now: datetime
) -> dict[str, Any]:
    """What the receiver is told of a group: its alerts as they stand now, in Alertmanager's order."""
    ordered = sorted(alerts, key=order)
    firing = any(not alert.is_resolved(now) for alert in ordered)
    return {
        "receiver": receiver,
        "status": "firing" if firing else "resolved",
        "alerts": [_alert(alert, now) for alert in ordered],
        "groupLabels": _sorted(group_labels),
        "commonLabels": _common([alert.labels for alert in ordered]),
        "commonAnnotations": _common([alert.annotations for alert in ordered]),
        "externalURL": external_url,
        "version": "4",
        "groupKey": group_key(group_labels),
        "truncatedAlerts": 0,
    }


def group_key(labels: Labels) -> str:
    """The key of a group of the root route."""
    inside = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()))
    return f"{{}}:{{{inside}}}"


def encoded(body: dict[str, Any]) -> bytes:
    """The body's bytes as Go's encoder writes them: `<`, `>`, `&` escaped, a line feed at the end."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"{text}\n".encode()


def _alert(alert: Alert, now: datetime) -> dict[str, Any]:
    resolved = alert.is_resolved(now)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": _sorted(alert.labels),
        "annotations": _sorted(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(alert.ends_at if resolved else NEVER),
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(alert.labels),
    }


def _common(labels: Sequence[Labels]) -> dict[str, str]:
    first, *others = labels
    return {k: v for k, v in sorted(first.items()) if all(other.get(k) == v for other in others)}


def _sorted(labels: Labels) -> dict[str, str]:
    return dict(sorted(labels.items()))
