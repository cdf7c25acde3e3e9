"""Alerts as a monitoring system reports them: in notifications about a group of alerts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bot.domain.incident import Severity

STORM = "storm"  # the source of a storm incident
ALERT_SOURCES = ("alertmanager", "grafana", "pagerduty", STORM)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # earlier times are invalid, such as Go's zero time
LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # later ones have no equal in every time zone


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, known by its `fingerprint` and by when it started.

    `link` leads to its query, `links` (by name: dashboard, panel, silence) to other pages of its sender. `count` is
    more than one where one value stands for alerts that the sender has not listed. `severity` is set where the team
    says it, whatever the labels say.
    """

    fingerprint: str
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at: datetime
    ended_at: datetime | None = None
    link: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    severity: Severity | None = None

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "alert")


@dataclass(frozen=True, slots=True)
class Notification:
    """A report about one group of alerts, at least one; the sender left out `truncated` more.

    `sender` is the base URL of who sent it; `source` the kind of sender: alertmanager or grafana. `firing_group` is
    what the report says of the group as a whole: it may fire while no listed alert does. `refused` says what of the
    report could not be read.
    """

    group_key: str
    alerts: tuple[Alert, ...]
    group_labels: Mapping[str, str] = field(default_factory=dict)
    common_labels: Mapping[str, str] = field(default_factory=dict)
    common_annotations: Mapping[str, str] = field(default_factory=dict)
    truncated: int = 0
    sender: str = ""
    source: str = "alertmanager"
    firing_group: bool = True
    refused: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the whole group key: what Alertmanager and Grafana use as PagerDuty's dedup key, too."""
        return hashlib.sha256(self.group_key.encode()).hexdigest()

    @property
    def name(self) -> str:
        """The group's name: the alert name that all its alerts share, else that of the first one."""
        return self.common_labels.get("alertname") or self.group_labels.get("alertname") or self.alerts[0].name

    def complete(self) -> tuple[Alert, ...]:
        """Return each alert once, as it began last, and one more for those that are not listed, if any fires."""
        listed: dict[str, Alert] = {}
        for alert in self.alerts:
            known = listed.get(alert.fingerprint, alert)
            listed[alert.fingerprint] = max(known, alert, key=lambda one: (one.started_at, one.firing))
        firing = [alert for alert in listed.values() if alert.firing]
        if not self.truncated and (firing or not self.firing_group):
            return tuple(listed.values())
        unlisted = Alert(
            fingerprint=f"unlisted/{self.digest}",
            firing=self.firing_group,
            labels={**self.group_labels, **self.common_labels},
            annotations=self.common_annotations,
            started_at=min((alert.started_at for alert in firing), default=EARLIEST),
            count=max(1, self.truncated),
        )
        return (*listed.values(), unlisted)


@dataclass(frozen=True, slots=True)
class IncidentAlert:
    """An alert of an incident, as it was reported last."""

    id: int
    fingerprint: str
    labels: Mapping[str, str]
    firing: bool
    count: int
    returned: int
    group: str

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "alert")
