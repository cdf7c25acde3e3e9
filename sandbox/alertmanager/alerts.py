"""Alerts as Alertmanager knows them: their identity, their order, their times."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

Labels = Mapping[str, str]
NEVER = datetime(1, 1, 1, tzinfo=UTC)  # Go's zero time


@dataclass(frozen=True)
class Alert:
    """One alert. It fires until `ends_at`, which whoever raised it moves on as long as it is true."""

    labels: Labels
    annotations: Labels
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime
    generator_url: str = ""

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")

    def is_resolved(self, now: datetime) -> bool:
        return self.ends_at <= now

    def merged_into(self, old: "Alert", now: datetime) -> "Alert":
        """This news of an alert that is known already: the same alert goes on, unless the old one had ended."""
        return self if old.is_resolved(now) else replace(self, starts_at=min(old.starts_at, self.starts_at))


def fingerprint(labels: Labels) -> str:
    """FNV-1a, 64 bits, over the sorted labels (prometheus/common/model, LabelSet.Fingerprint), as hex."""
    value = 0xCBF29CE484222325
    for name, text in sorted(labels.items()):
        for byte in b"\xff".join((name.encode(), text.encode(), b"")):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def order(alert: Alert) -> tuple[object, ...]:
    """The key by which Alertmanager sorts: job, instance (alerts without them last), then all labels."""
    first = ((name not in alert.labels, alert.labels.get(name, "")) for name in ("job", "instance"))
    return (*first, sorted(alert.labels.items()))


def rfc3339(moment: datetime) -> str:
    """The moment in UTC, with no more digits than it has, as Go writes it."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def parsed(text: str) -> datetime:
    """A moment from RFC 3339. ValueError when it is none or has no time zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text}")
    return moment.astimezone(UTC)
