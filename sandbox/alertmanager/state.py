"""What Alertmanager remembers: alerts, silences, and the groups it notifies of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import uuid4

import promql_parser as promql

from sandbox import yaml_file
from sandbox.shipped import SHIPPED

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
NEVER = datetime(1, 1, 1, tzinfo=UTC)  # Go's zero time
DURATIONS = ("group_wait", "group_interval", "repeat_interval")
CONFIG = SHIPPED / "deploy" / "alertmanager" / "alertmanager.yaml"
Labels = Mapping[str, str]
MATCHER = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!=|!~|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s][^"]*?))?\s*', re.DOTALL
)
State = Literal["pending", "active", "expired"]


@dataclass(frozen=True)
class Alert:
    """One alert. It fires until `ends_at`, which its sender moves on for as long as the condition holds."""

    labels: Labels
    annotations: Labels
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime
    generator_url: str = ""

    def is_resolved(self, now: datetime) -> bool:
        return self.ends_at <= now

    def merge_into(self, old: Alert, now: datetime) -> Alert:
        """Return this update of `old`: the same alert continues, unless the old one had ended."""
        return self if old.is_resolved(now) else replace(self, starts_at=min(old.starts_at, self.starts_at))


def fingerprint(labels: Labels) -> str:
    """FNV-1a, 64 bits, over the sorted labels (prometheus/common/model, LabelSet.Fingerprint), as hex."""
    value = 0xCBF29CE484222325
    for name, text in sorted(labels.items()):
        for byte in b"\xff".join((name.encode(), text.encode(), b"")):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def sort_key(alert: Alert) -> tuple[object, ...]:
    """Return the key by which Alertmanager sorts: job, instance (alerts without them last), then all labels."""
    first = ((name not in alert.labels, alert.labels.get(name, "")) for name in ("job", "instance"))
    return (*first, sorted(alert.labels.items()))


def rfc3339(at: datetime) -> str:
    """Format in UTC, with no more digits than needed, as Go does."""
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def parse_time(text: str) -> datetime:
    """Parse RFC 3339. Raises ValueError, also for a missing time zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"no time zone in {text}")
    return time.astimezone(UTC)


# Silences.


@dataclass(frozen=True)
class Matcher:
    """One matcher. A regex must match the whole label value. Raises ValueError when it is invalid."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    def __post_init__(self) -> None:
        if not LABEL_NAME.fullmatch(self.name):
            raise ValueError(f'invalid label name "{self.name}"')
        if self.is_regex:
            try:
                re.compile(self.value)
            except re.error as error:
                raise ValueError(f"bad expression {self.value}: {error}") from None

    def fits(self, labels: Labels) -> bool:
        own = labels.get(self.name, "")
        same = re.fullmatch(self.value, own) is not None if self.is_regex else own == self.value
        return same == self.is_equal


def fits_all(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Return True if all matchers fit the labels."""
    return all(matcher.fits(labels) for matcher in matchers)


def parse_matcher(text: str) -> Matcher:
    """Parse a matcher such as `service="xr-engine"` or `pod=~"xr-.*"`. Raises ValueError."""
    match = MATCHER.fullmatch(text)
    if match is None:
        raise ValueError(f"bad matcher format: {text}")
    name, operator, quoted, bare = match.groups()
    value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else (bare or "")
    return Matcher(name, value, is_regex="~" in operator, is_equal=operator[0] == "=")


@dataclass(frozen=True)
class Silence:
    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    updated_at: datetime

    def state(self, now: datetime) -> State:
        if now < self.starts_at:
            return "pending"
        return "active" if now < self.ends_at else "expired"


class Silences:
    """All silences by id, expired ones included."""

    def __init__(self) -> None:
        self._by_id: dict[str, Silence] = {}

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._by_id.values())

    def get(self, silence_id: str) -> Silence | None:
        return self._by_id.get(silence_id)

    def put(
        self,
        matchers: Sequence[Matcher],
        starts_at: datetime,
        ends_at: datetime,
        created_by: str,
        comment: str,
        now: datetime,
        silence_id: str | None = None,
    ) -> Silence:
        """Create a silence, or update the one of this id. Raises KeyError, or ValueError for invalid times.

        An expired silence, or one whose matchers change, is replaced by a new one.
        """
        if ends_at <= starts_at:
            raise ValueError("start time must be before end time")
        if ends_at <= now:
            raise ValueError("end time can't be in the past")
        if all(matcher.fits({}) for matcher in matchers):
            raise ValueError("at least one matcher must not match the empty string")
        old = None if silence_id is None else self._by_id[silence_id]
        silence = Silence(str(uuid4()), tuple(matchers), max(starts_at, now), ends_at, created_by, comment, now)
        if old is not None and old.state(now) != "expired":
            if old.matchers == silence.matchers:
                silence = replace(silence, id=old.id, starts_at=old.starts_at)
            else:
                self.expire(old.id, now)
        self._by_id[silence.id] = silence
        return silence

    def expire(self, silence_id: str, now: datetime) -> None:
        """End a silence now. Raises KeyError when there is none, ValueError when it has expired."""
        silence = self._by_id[silence_id]
        if silence.state(now) == "expired":
            raise ValueError(f"silence {silence_id} already expired")
        starts_at = min(silence.starts_at, now)
        self._by_id[silence_id] = replace(silence, starts_at=starts_at, ends_at=now, updated_at=now)

    def silencing(self, labels: Labels, now: datetime) -> list[str]:
        """Return the ids of the active silences that match these labels."""
        return [
            silence.id
            for silence in self._by_id.values()
            if silence.state(now) == "active" and fits_all(silence.matchers, labels)
        ]


# The route of the configuration, and the groups of alerts that it makes.


@dataclass(frozen=True)
class Route:
    """The root route and its one webhook receiver. `group_by` None groups by all labels."""

    receiver: str
    group_by: tuple[str, ...] | None
    group_wait: timedelta = timedelta(seconds=30)
    group_interval: timedelta = timedelta(minutes=5)
    repeat_interval: timedelta = timedelta(hours=4)
    send_resolved: bool = True


def load_route(path: Path = CONFIG) -> Route:
    """Read the route of a configuration file with one webhook. Raises ValueError for anything else.

    A route of its own is only known for Watchdog, which the sandbox's Prometheus does not have.
    """
    config = yaml_file.read(path)
    route, receivers = config["route"], config["receivers"]
    others = [one for one in route.get("routes", ()) if one.get("matchers") != ['alertname = "Watchdog"']]
    if others or len(receivers) != 1 or len(receivers[0]["webhook_configs"]) != 1:
        raise ValueError(f"{path.name}: the sandbox supports one route with one webhook")
    group_by = route.get("group_by", [])
    return Route(
        receiver=route["receiver"],
        group_by=None if group_by == ["..."] else tuple(group_by),
        send_resolved=receivers[0]["webhook_configs"][0].get("send_resolved", True),
        **{name: promql.parse_duration(route[name]) for name in DURATIONS if name in route},
    )


@dataclass(frozen=True)
class Notified:
    """The last notification: when, and which alerts (fingerprints) were firing or resolved in it."""

    at: datetime
    firing: frozenset[str]
    resolved: frozenset[str]


@dataclass
class Group:
    """The alerts with the same values of the route's labels, by fingerprint (alertmanager/notify, DedupStage)."""

    labels: Labels
    alerts: dict[str, Alert] = field(default_factory=dict)
    last_notified: Notified | None = None

    def add(self, alert: Alert) -> None:
        self.alerts[fingerprint(alert.labels)] = alert

    def needs_notification(self, alerts: list[Alert], route: Route, now: datetime) -> bool:
        """Return True if these alerts, those not silenced, differ from the last notification or are due again."""
        firing, resolved = _split(alerts, now)
        if self.last_notified is None:
            return bool(firing)
        if firing - self.last_notified.firing:
            return True
        if not firing:
            return bool(self.last_notified.firing) and route.send_resolved
        if route.send_resolved and resolved - self.last_notified.resolved:
            return True
        return now - self.last_notified.at >= route.repeat_interval

    def mark_notified(self, alerts: list[Alert], now: datetime) -> None:
        """Record that the receiver was notified of these alerts."""
        self.last_notified = Notified(now, *_split(alerts, now))

    def drop_resolved(self, now: datetime) -> None:
        self.alerts = {key: alert for key, alert in self.alerts.items() if not alert.is_resolved(now)}


def _split(alerts: list[Alert], now: datetime) -> tuple[frozenset[str], frozenset[str]]:
    keys = {fingerprint(alert.labels): alert.is_resolved(now) for alert in alerts}
    firing = frozenset(key for key, resolved in keys.items() if not resolved)
    return firing, frozenset(keys) - firing
