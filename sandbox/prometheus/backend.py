"""The state of the sandbox's Prometheus: samples, rules, what it knows of its metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sandbox.clock import Clock
from sandbox.prometheus.rules import Rules
from sandbox.prometheus.tsdb import Tsdb


@dataclass(frozen=True)
class Metadata:
    """What a metric is: `type` is counter, gauge or histogram."""

    type: str
    help: str


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus over `tsdb`, on the world's clock.

    `refresh` is called before each answer, so that the samples reach up to now. With a `token`, a request must
    carry it as its bearer token.
    """

    tsdb: Tsdb
    clock: Clock
    refresh: Callable[[], None] = lambda: None
    rules: Rules = field(default_factory=lambda: Rules([]))
    metadata: Mapping[str, Metadata] = field(default_factory=dict)
    token: str | None = None

    def now(self) -> int:
        """The world's time in ms."""
        return int(self.clock.now().timestamp() * 1000)
