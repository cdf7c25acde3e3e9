"""What the bot is made of, in one value that is handed to everything above the integrations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from bot.clock import Clock
from bot.integrations.alertmanager import Alertmanager
from bot.integrations.github.github import GitHub
from bot.integrations.helm import Helm
from bot.integrations.http import Http
from bot.integrations.pagerduty import OnCallCache, PagerDuty
from bot.integrations.prometheus import Prometheus
from bot.integrations.slack import Slack
from bot.integrations.tempo import Tempo
from bot.integrations.vault import SecretAges
from bot.message_refresher import MessageRefresher
from bot.messages.translations import Translations
from bot.metrics import Metrics
from bot.redaction import Redaction
from bot.store.store import Store
from bot.team import TeamFile

if TYPE_CHECKING:  # their clients take time and memory: they are imported where they are configured
    from bot.integrations.aws import Aws
    from bot.integrations.kubernetes.kubernetes import Kubernetes
    from bot.integrations.vault import Vault


@dataclass(frozen=True, repr=False)
class Deps:
    """Plain constructors made these in `bot.assembly`. An integration that is not configured is None."""

    clock: Clock
    team: TeamFile
    store: Store
    words_by_locale: Mapping[str, Translations]
    locale: str
    incident_channel: str
    slack: Slack
    on_call: OnCallCache
    http: Http = field(default_factory=Http)
    pagerduty: PagerDuty | None = None
    prometheus: Prometheus | None = None
    github: GitHub | None = None
    alertmanager: Alertmanager | None = None
    kubernetes: Kubernetes | None = None
    helm: Helm | None = None
    tempo: Tempo | None = None
    vault: Vault | None = None
    secret_ages: SecretAges | None = None
    aws: Aws | None = None
    grafana_url: str | None = None
    keep_runs: timedelta = timedelta(days=400)
    redaction: Redaction = field(default_factory=Redaction)
    metrics: Metrics = field(default_factory=Metrics)

    message_refresher: MessageRefresher = field(default_factory=MessageRefresher)
    _events: WeakValueDictionary[str, asyncio.Event] = field(default_factory=WeakValueDictionary)

    def message_lock(self, key: str) -> asyncio.Lock:
        """The lock of one message, held from reading its state to drawing it, so that the newer comes last."""
        return self.message_refresher.lock(key)

    def event(self, key: str) -> asyncio.Event:
        """Set when somebody who waits for news of `key` in this process shall look again."""
        return self._events.setdefault(key, asyncio.Event())

    @contextmanager
    def subscribed(self, key: str) -> Iterator[None]:
        """Within this no wake of `key` is lost: whoever looks clears the event first, and waits for it afterwards."""
        event = self.event(key)  # noqa: F841 - it lives as long as somebody has it
        yield

    def notify(self, key: str | None = None) -> None:
        """Let those look again who wait in this process for news of `key`, or for any news."""
        for event in list(self._events.values()) if key is None else [self.event(key)]:
            event.set()

    @property
    def words(self) -> Translations:
        """The team's language, in which channels are written."""
        return self.words_by_locale[self.locale]

    def words_for(self, locale: str) -> Translations:
        """A person's language, or the team's when the bot does not speak it."""
        return self.words_by_locale.get(locale[:2], self.words)
