"""The fingerprint of an alert: Alertmanager's own, and what tells alerts apart whose sender makes fingerprints up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.sources.alertmanager import Group, fingerprint_of, notification_of
from handlers.sources.source import validate
from tests.contract.alertmanager_contract import CONTRACTS

RECORDED = sorted(CONTRACTS.glob("alertmanager/real-am-*.json"))


@pytest.mark.skipif(not RECORDED, reason=f"no recorded payloads of Alertmanager in {CONTRACTS}")
def test_it_is_alertmanagers_own() -> None:
    alerts = [alert for path in RECORDED for alert in _group(json.loads(path.read_text("utf-8")))["alerts"]]
    assert len(alerts) > 1
    for alert in alerts:
        assert fingerprint_of(alert["labels"]) == alert["fingerprint"]


A, B = {"alertname": "A", "pod": "x"}, {"alertname": "B", "pod": "x"}


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (("", A), ("", A), True),
        (("", A), ("", B), False),
        (("", A), (fingerprint_of(A), A), True),
        (("made-up", A), ("made-up", A), True),
        (("made-up", A), ("made-up", B), False),
        (("made-up", A), ("made-up", {"alertname": "A"}), True),
        (("one", A), ("two", A), False),
    ],
)
def test_made_up_fingerprints_merge_nothing(first: Any, second: Any, is_same: bool) -> None:
    (one,), (other,) = (_read(*alert) for alert in (first, second))
    assert (one.fingerprint == other.fingerprint) is is_same


def _read(fingerprint: str, labels: dict[str, str]) -> Any:
    alert = {"status": "firing", "labels": labels, "startsAt": "2026-01-07T10:00:00Z", "fingerprint": fingerprint}
    body = {"version": "4", "groupKey": "g", "status": "firing", "alerts": [alert]}
    return notification_of(validate(Group, body), "alertmanager", "").alerts


def _group(recorded: Any) -> Any:
    return recorded if "alerts" in recorded else recorded["body"]
