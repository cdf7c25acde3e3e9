"""What a monitoring system reports: alerts, in notifications about a group of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `fingerprint` tells it from the others of its sender; `link` leads to its query."""

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
    """A sender's report about one group. At least one alert; `truncated` more were left out by the sender."""

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
        """What the group is called: the name that its alerts share, else that of the first."""
        return self.common_labels.get("alertname") or self.group_labels.get("alertname") or self.alerts[0].name
