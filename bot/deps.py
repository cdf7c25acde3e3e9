"""The bot's dependencies, in one value that every layer above the integrations receives."""

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
from bot.integrations.statuspage import Statuspage
from bot.integrations.tempo import Tempo
from bot.integrations.vault import SecretAges
from bot.message_refresher import MessageRefresher
from bot.messages.translations import Translations
from bot.metrics import Metrics
from bot.redaction import Redaction
from bot.store.store import Store
from bot.team import TeamFile
from bot.turns import Turns
from bot.waiting import WaitingMessages

if TYPE_CHECKING:  # their clients are slow to import: only where they are configured
    from bot.integrations.aws import Aws
    from bot.integrations.kubernetes.kubernetes import Kubernetes
    from bot.integrations.traces import Traces
    from bot.integrations.vault import Vault


@dataclass(eq=False, repr=False)
class Deps:
    """Everything that workflows and services use. Built by `bot.app`; an integration that is not configured is None.

    Only `use_team` changes it.
    """

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
    statuspage: Statuspage | None = None
    vault: Vault | None = None
    secret_ages: SecretAges | None = None
    aws: Aws | None = None
    traces: Traces | None = None
    grafana_url: str | None = None
    keep_runs: timedelta = timedelta(days=400)
    redaction: Redaction = field(default_factory=Redaction)
    metrics: Metrics = field(default_factory=Metrics)

    turns: Turns = field(default_factory=Turns)
    waiting: WaitingMessages = field(default_factory=WaitingMessages)
    message_refresher: MessageRefresher = field(default_factory=MessageRefresher)
    _events: WeakValueDictionary[str, asyncio.Event] = field(default_factory=WeakValueDictionary)

    def use_team(self, team: TeamFile) -> None:
        """Replace the team, whose folder was changed."""
        self.team = team
        if self.secret_ages:
            self.secret_ages.secrets = team.secrets

    def message_lock(self, key: str) -> asyncio.Lock:
        """Return the lock of one message.

        Hold it from reading its state until sending it: the newest state is sent last.
        """
        return self.message_refresher.lock(key)

    def event(self, key: str) -> asyncio.Event:
        """Return the event that is set when waiters on `key` in this process should check again."""
        return self._events.setdefault(key, asyncio.Event())

    @contextmanager
    def subscribed(self, key: str) -> Iterator[None]:
        """Keep the event of `key` alive, so that no notification is lost: clear it, check, then wait for it."""
        event = self.event(key)  # noqa: F841 - held weakly by `_events`: this reference keeps it alive
        yield

    def notify(self, key: str | None = None) -> None:
        """Wake the waiters on `key` in this process, or all waiters without a `key`."""
        for event in list(self._events.values()) if key is None else [self.event(key)]:
            event.set()

    @property
    def words(self) -> Translations:
        """The texts in the team's language, in which channels are written."""
        return self.words_by_locale[self.locale]

    def words_for(self, locale: str) -> Translations:
        """Return the texts in a person's language, or in the team's when there is no translation."""
        return self.words_by_locale.get(locale[:2], self.words)
