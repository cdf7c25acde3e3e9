"""The context of an action."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bot.clock import Clock
from bot.deps import Deps
from bot.domain.errors import BadInput, BotError, NotConfigured
from bot.domain.nearest import nearest
from bot.domain.people import BOT, Person
from bot.integrations.alertmanager import Alertmanager
from bot.integrations.effects import in_dry_run
from bot.integrations.github.github import GitHub
from bot.integrations.helm import Helm
from bot.integrations.pagerduty import PagerDuty
from bot.integrations.prometheus import Prometheus
from bot.team import Service, TeamFile

if TYPE_CHECKING:
    from bot.integrations.aws import Aws
    from bot.integrations.kubernetes.kubernetes import Kubernetes
    from bot.integrations.vault import Vault


@dataclass(frozen=True, slots=True)
class Context:
    """The integrations, and the run and step that execute the action. `key` is the same for every attempt of a step.

    The action works in `environment`; `rules` are the environments whose rules hold for its target, where it is known.

    `by` is who requested the run. `began` is when the execution started, by the bot's clock, also after a restart.
    `planned` is the result of this step's dry run, as JSON: the state before any attempt; empty in the dry run itself.
    `report` shows people what a running action sees.
    """

    deps: Deps
    key: str
    environment: str
    incident_id: str | None = None
    by: Person = BOT
    planned: Mapping[str, Any] = field(default_factory=dict)
    began: datetime = field(kw_only=True)
    rules: frozenset[str] = frozenset()
    report: Callable[[Mapping[str, Any]], Awaitable[None]] | None = field(default=None, kw_only=True)

    async def tell(self, **sees: Any) -> None:
        """Show in the run's message what the action waits for; `sees` fills `run.sees`."""
        if self.report is not None:
            with contextlib.suppress(BotError):  # what people see must not stop what is done
                await self.report(sees)

    @property
    def dry_run(self) -> bool:
        """True in a dry run: effects are recorded, not made, and waiting is skipped."""
        return in_dry_run()

    @property
    def clock(self) -> Clock:
        return self.deps.clock

    @property
    def team(self) -> TeamFile:
        return self.deps.team

    @property
    def prometheus(self) -> Prometheus:
        if self.deps.prometheus is None:
            raise NotConfigured("prometheus_off")
        return self.deps.prometheus

    @property
    def alertmanager(self) -> Alertmanager:
        if self.deps.alertmanager is None:
            raise NotConfigured("alertmanager_off")
        return self.deps.alertmanager

    @property
    def kubernetes(self) -> Kubernetes:
        if self.deps.kubernetes is None:
            raise NotConfigured("kubernetes_off")
        return self.deps.kubernetes

    @property
    def helm(self) -> Helm:
        if self.deps.helm is None:
            raise NotConfigured("kubernetes_off")
        return self.deps.helm

    @property
    def pagerduty(self) -> PagerDuty:
        if self.deps.pagerduty is None:
            raise NotConfigured("pagerduty_off")
        return self.deps.pagerduty

    @property
    def github(self) -> GitHub:
        if self.deps.github is None:
            raise NotConfigured("github_off")
        return self.deps.github

    @property
    def aws(self) -> Aws:
        if self.deps.aws is None:
            raise NotConfigured("aws_off")
        return self.deps.aws

    @property
    def vault(self) -> Vault:
        if self.deps.vault is None:
            raise NotConfigured("vault_off")
        return self.deps.vault

    def service(self, name: str) -> Service:
        """Return a service of the team file. Raises BadInput with the nearest name."""
        services = self.team.services
        if name not in services:
            raise BadInput("unknown_service", service=name, nearest=nearest(name, services), known=sorted(services))
        return services[name]

    def release(self, service: str) -> str:
        """Return the name of a service's Helm release. Raises BadInput."""
        return self.service(service).release or service

    def namespace(self, service: str, given: str | None = None) -> str:
        """Return the service's namespace in this environment, or `given` if the team file has it. Raises BadInput."""
        namespaces = self.service(service).namespaces
        if given is not None:
            allowed = {namespace for s in self.team.services.values() for namespace in s.namespaces.values()}
            if given not in allowed:
                raise BadInput("namespace_not_allowed", namespace=given, known=sorted(allowed))
            return given
        if self.environment not in namespaces:
            raise BadInput("no_such_environment", environment=self.environment, known=sorted(namespaces))
        return namespaces[self.environment]
