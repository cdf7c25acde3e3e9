"""Groups of alerts: when the receiver must hear of one (alertmanager/notify, DedupStage)."""

from dataclasses import dataclass, field
from datetime import datetime

from sandbox.alertmanager.alerts import Alert, Labels, fingerprint
from sandbox.alertmanager.config import Route


@dataclass(frozen=True)
class Told:
    """What the receiver has been told last: when, and which alerts (fingerprints) were firing or resolved."""

    at: datetime
    firing: frozenset[str]
    resolved: frozenset[str]


@dataclass
class Group:
    """The alerts that share the route's labels, by fingerprint."""

    labels: Labels
    alerts: dict[str, Alert] = field(default_factory=dict)
    told: Told | None = None

    def add(self, alert: Alert) -> None:
        self.alerts[fingerprint(alert.labels)] = alert

    def must_tell(self, alerts: list[Alert], route: Route, now: datetime) -> bool:
        """Whether the receiver must hear of these alerts of the group (those that are not silenced)."""
        firing, resolved = _split(alerts, now)
        if self.told is None:
            return bool(firing)
        if firing - self.told.firing:
            return True
        if not firing:
            return bool(self.told.firing) and route.send_resolved
        if route.send_resolved and resolved - self.told.resolved:
            return True
        return now - self.told.at >= route.repeat_interval

    def tell(self, alerts: list[Alert], now: datetime) -> None:
        """Note that the receiver has heard of these alerts."""
        self.told = Told(now, *_split(alerts, now))

    def forget_resolved(self, now: datetime) -> None:
        self.alerts = {key: alert for key, alert in self.alerts.items() if not alert.is_resolved(now)}


def _split(alerts: list[Alert], now: datetime) -> tuple[frozenset[str], frozenset[str]]:
    keys = {fingerprint(alert.labels): alert.is_resolved(now) for alert in alerts}
    firing = frozenset(key for key, resolved in keys.items() if not resolved)
    return firing, frozenset(keys) - firing
