"""What Alertmanager sends: webhooks of version 4."""

from __future__ import annotations

import json
from typing import Any

from sandbox.alertmanager.backend import WEBHOOK_TOKEN

PATH = "/webhooks/alertmanager"
BEARER = {"Authorization": f"Bearer {WEBHOOK_TOKEN}", "Content-Type": "application/json"}


def alert(fingerprint: str = "f1", *, status: str = "firing", summary: str = "p95 de 900 ms", **labels: str) -> Any:
    """One alert; `labels` go over its own."""
    return {
        "status": status,
        "labels": {"alertname": "HighLatency", "service": "xr-engine", "severity": "critical"} | labels,
        "annotations": {"summary": summary},
        "startsAt": "2026-01-07T02:10:00.123456789Z",
        "endsAt": "2026-01-07T02:40:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph?g0.expr=up",
        "fingerprint": fingerprint,
    }


def notification(*alerts: Any, **keys: Any) -> bytes:
    """A group of alerts as it is sent; `keys` go over its own."""
    firing = any(one["status"] == "firing" for one in alerts)
    return json.dumps(
        {
            "version": "4",
            "groupKey": '{}:{alertname="HighLatency"}',
            "truncatedAlerts": 0,
            "status": "firing" if firing else "resolved",
            "receiver": "tamv-bot",
            "groupLabels": {"alertname": "HighLatency"},
            "commonLabels": {name: alerts[0]["labels"][name] for name in ("alertname", "service")},
            "commonAnnotations": alerts[0]["annotations"] if len(alerts) == 1 else {},
            "externalURL": "http://alertmanager.example",
            "alerts": list(alerts),
            **keys,
        }
    ).encode()
