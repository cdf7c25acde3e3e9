"""From Prometheus' rules to Alertmanager: what Prometheus' notifier does over HTTP."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sandbox.alertmanager.alerts import Alert
from sandbox.alertmanager.backend import Alertmanager
from sandbox.prometheus.backend import Prometheus
from sandbox.prometheus.rules import INTERVAL
from sandbox.prometheus.rules import Alert as Raised

EXTERNAL_URL = "https://prometheus.tamv.world"
VALID_FOR = timedelta(minutes=4)  # after the last evaluation; Prometheus' four resend delays
SHORTEST = 0.5  # real seconds between two evaluations, however fast the world's clock is


async def feed(prometheus: Prometheus, alertmanager: Alertmanager) -> None:
    """Evaluate the rules on the world's clock and hand their alerts on, until cancelled."""
    while True:
        prometheus.refresh()
        now = prometheus.clock.now()
        pause = max(INTERVAL / 1000, SHORTEST * prometheus.clock.speed)
        raised = prometheus.rules.evaluate(prometheus.tsdb, prometheus.now())
        alertmanager.receive(alerts(raised, now, max(VALID_FOR, timedelta(seconds=4 * pause))))
        await prometheus.clock.sleep(pause)


def alerts(raised: Iterable[Raised], now: datetime, valid_for: timedelta = VALID_FOR) -> list[Alert]:
    """The rules' alerts as Alertmanager takes them; one that fires is valid for so long if nothing more is heard."""
    return [
        Alert(
            labels=each.labels,
            annotations=each.annotations,
            starts_at=_moment(each.fired_at),
            ends_at=_moment(each.resolved_at) if each.state == "resolved" else now + valid_for,
            updated_at=now,
            generator_url=EXTERNAL_URL + each.generator_path,
        )
        for each in raised
    ]


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)
