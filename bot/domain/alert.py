"""Alerts as a monitoring system reports them: in notifications about a group of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `fingerprint` identifies it within its sender; `link` leads to its query."""

    fingerprint: str
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at: datetime
    link: str = ""

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "alert")


@dataclass(frozen=True, slots=True)
class Notification:
    """A report about one group of alerts, at least one; the sender left out `truncated` more."""

    group_key: str
    alerts: tuple[Alert, ...]
    group_labels: Mapping[str, str] = field(default_factory=dict)
    common_labels: Mapping[str, str] = field(default_factory=dict)
    common_annotations: Mapping[str, str] = field(default_factory=dict)
    truncated: int = 0

    @property
    def firing(self) -> dict[str, Alert]:
        """The firing alerts by fingerprint."""
        return {alert.fingerprint: alert for alert in self.alerts if alert.firing}

    @property
    def name(self) -> str:
        """The group's name: the alert name that all its alerts share, else that of the first one."""
        return self.common_labels.get("alertname") or self.group_labels.get("alertname") or self.alerts[0].name
