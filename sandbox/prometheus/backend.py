"""Prometheus: samples, rules, metadata, and the alerts that it sends to Alertmanager."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sandbox.alertmanager.backend import Alertmanager
from sandbox.alertmanager.state import Alert
from sandbox.clock import Clock
from sandbox.prometheus.rules import INTERVAL, Rules
from sandbox.prometheus.rules import Alert as RuleAlert
from sandbox.prometheus.tsdb import Tsdb

EXTERNAL_URL = "https://prometheus.tamv.world"
VALID_FOR = timedelta(minutes=4)  # after the last evaluation; Prometheus' four resend delays
MIN_PAUSE = 0.5  # real seconds between two evaluations, however fast the world's clock is


@dataclass(frozen=True)
class Metadata:
    """A metric's `type` (counter, gauge or histogram) and help text."""

    type: str
    help: str


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus over `tsdb`, on the world's clock.

    `refresh` is called before each answer, so that the samples reach up to now. With a `token`, requests must carry it
    as their bearer token.
    """

    tsdb: Tsdb
    clock: Clock
    refresh: Callable[[], None] = lambda: None
    rules: Rules = field(default_factory=lambda: Rules([]))
    metadata: Mapping[str, Metadata] = field(default_factory=dict)
    token: str | None = None

    def now(self) -> int:
        """Return the world's time in ms."""
        return int(self.clock.now().timestamp() * 1000)


async def send_alerts(prometheus: Prometheus, alertmanagers: Sequence[Alertmanager]) -> None:
    """Evaluate the rules on the world's clock and send their alerts to all of these, until cancelled."""
    while True:
        prometheus.refresh()
        now = prometheus.clock.now()
        pause = max(INTERVAL / 1000, MIN_PAUSE * prometheus.clock.speed)
        raised = prometheus.rules.evaluate(prometheus.tsdb, prometheus.now())
        alerts = _to_alertmanager(raised, now, max(VALID_FOR, timedelta(seconds=4 * pause)))
        for alertmanager in alertmanagers:
            alertmanager.receive(alerts)
        await prometheus.clock.sleep(pause)


def _to_alertmanager(raised: Iterable[RuleAlert], now: datetime, valid_for: timedelta = VALID_FOR) -> list[Alert]:
    """Convert the rules' alerts. Alertmanager resolves a firing one after `valid_for` unless it is sent again."""
    return [
        Alert(
            labels=alert.labels,
            annotations=alert.annotations,
            starts_at=_to_datetime(alert.fired_at),
            ends_at=_to_datetime(alert.resolved_at) if alert.state == "resolved" else now + valid_for,
            updated_at=now,
            generator_url=EXTERNAL_URL + alert.generator_path,
        )
        for alert in raised
    ]


def _to_datetime(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)
