"""Build a running bot from its settings: the only module that constructs the integrations, the store and the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from bot.actions.catalogue import ACTIONS
from bot.clock import Clock, WallClock
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.integrations.alertmanager import Alertmanager
from bot.integrations.certificates import trust
from bot.integrations.github.github import GitHub
from bot.integrations.github.session import App
from bot.integrations.helm import Helm
from bot.integrations.http import Http
from bot.integrations.pagerduty import OnCallCache, PagerDuty
from bot.integrations.prometheus import Prometheus
from bot.integrations.slack import Slack
from bot.integrations.statuspage import Statuspage
from bot.integrations.tempo import Tempo
from bot.integrations.vault import SecretAges
from bot.messages.translations import translations_of
from bot.metrics import Metrics
from bot.redaction import Redaction
from bot.roles import refresh_roles
from bot.runbooks import Library
from bot.services.bot import Bot
from bot.settings import Settings, plain
from bot.slack_messages import keep_channel_id
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from bot.tasks import cancel_and_wait, yield_to_requests
from bot.team import load_team
from bot.workflows.calendar import calendar_loop
from bot.workflows.catalogue import WORKFLOWS
from bot.workflows.engine.engine import Engine
from bot.workflows.forecasts import forecast_loop

if TYPE_CHECKING:
    from bot.integrations.aws import Aws
    from bot.integrations.kubernetes.kubernetes import Kubernetes
    from bot.integrations.traces import Traces
    from bot.integrations.vault import Vault

log = logging.getLogger(__name__)

ROLES_TIMEOUT_SECONDS = 3.0


@asynccontextmanager
async def running_bot(settings: Settings, clock: Clock | None = None, *, spare: bool = False) -> AsyncIterator[Bot]:
    """Run the bot with these settings: migrate the database, start the engine, and stop both on exit.

    A `spare` one runs workflows only if no other process does.

    Raises BadInput for an invalid team file or runbook library, Unavailable without the database.
    """
    async with build_deps(settings, clock) as deps:
        library = Library.read(deps.team.runbooks, ACTIONS, deps.team)
        await asyncio.to_thread(upgrade, settings.database_url)
        engine = Engine(deps, WORKFLOWS, settings.database_url, [calendar_loop, forecast_loop], spare=spare)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ROLES_TIMEOUT_SECONDS):  # the folder's watcher asks again
                await refresh_roles(deps)
        identity_task = asyncio.create_task(_fetch_identity(deps), name="fetch identity")
        await engine.start()
        try:
            yield Bot(deps, engine, library)
        finally:
            await cancel_and_wait([identity_task])
            await engine.stop()


@asynccontextmanager
async def build_deps(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Deps]:
    """Build the dependencies alone: no engine runs and the database is not migrated. Closes the clients on exit.

    Raises BadInput for an invalid team file.
    """
    clock = clock or WallClock()
    if settings.ca_bundle:
        trust(settings.ca_bundle)
    team = load_team(settings.team_file)
    redaction, metrics = Redaction(settings.secrets), Metrics()
    database = Database(settings.database_url, redaction.of)
    slack = Slack(
        settings.slack_bot_token.get_secret_value(),
        str(settings.slack_api_url),
        redact=redaction.of,
        count=metrics.slack_call,
    )
    pagerduty = _pagerduty(settings)
    kubernetes = _kubernetes(settings)
    tempo = Tempo(str(settings.tempo_url), headers=plain(settings.tempo_headers)) if settings.tempo_url else None
    statuspage = _statuspage(settings)
    alertmanager = _alertmanager(settings)
    vault = _vault(settings)
    ages = SecretAges(vault, team.secrets, clock) if vault else None
    deps = Deps(
        clock=clock,
        team=team,
        store=Store(database, owner=uuid.uuid4().hex, metrics=metrics),
        words_by_locale=translations_of(team, settings.locale),
        locale=settings.locale,
        incident_channel=settings.incident_channel,
        slack=slack,
        on_call=OnCallCache(pagerduty, clock),
        http=Http(str(settings.health_gateway_url) if settings.health_gateway_url else None),
        pagerduty=pagerduty,
        prometheus=_prometheus(settings),
        github=_github(settings),
        alertmanager=alertmanager,
        kubernetes=kubernetes,
        helm=Helm(settings.kubeconfig, settings.helm, folder=team.folder) if kubernetes else None,
        tempo=tempo,
        statuspage=statuspage,
        vault=vault,
        secret_ages=ages,
        aws=_aws(settings),
        traces=_traces(settings, redaction),
        grafana_url=str(settings.grafana_url) if settings.grafana_url else None,
        keep_runs=timedelta(days=settings.keep_runs),
        redaction=redaction,
        metrics=metrics,
    )
    async with contextlib.AsyncExitStack() as open_clients:
        clients: list[AbstractAsyncContextManager[object] | None] = [
            slack,
            deps.http,
            alertmanager,
            tempo,
            statuspage,
            kubernetes,
            ages,
        ]
        if deps.traces:
            deps.traces.instrument()
            open_clients.push_async_callback(deps.traces.aclose)
        for client in filter(None, clients):
            await open_clients.enter_async_context(client)
        try:
            yield deps
        finally:
            await database.close()


async def _fetch_identity(deps: Deps) -> None:
    """Fill the caches in the background, so that the first incident is handled as fast as later ones.

    Fetches the bot's identity, who is on call and the members of each team; compiles the message templates.
    """
    with contextlib.suppress(BotError):
        await deps.slack.identity()
    if deps.kubernetes:
        await asyncio.to_thread(deps.kubernetes.cluster.preload)
    with contextlib.suppress(BotError):
        await keep_channel_id(deps, deps.incident_channel)
    for team in deps.team.teams.values():
        with contextlib.suppress(BotError):
            if team.pagerduty and deps.pagerduty:
                await deps.on_call.get(team.pagerduty)
            if team.usergroup:
                await deps.slack.usergroup_members(team.usergroup)
    for person in deps.team.people:
        await deps.slack.person(person.slack, person.name, deps.locale)
    for name in deps.words.messages():
        await yield_to_requests()
        deps.words.render(name)  # compiles its template


def _pagerduty(settings: Settings) -> PagerDuty | None:
    token, key = settings.pagerduty_api_token, settings.pagerduty_routing_key
    if token is None and key is None:
        return None
    return PagerDuty(
        token.get_secret_value() if token else None,
        key.get_secret_value() if key else None,
        settings.pagerduty_from,
        str(settings.pagerduty_api_url),
        str(settings.pagerduty_events_url),
    )


def _prometheus(settings: Settings) -> Prometheus | None:
    if settings.prometheus_url is None:
        return None
    token = settings.prometheus_token
    return Prometheus(
        str(settings.prometheus_url),
        token.get_secret_value() if token else None,
        headers=plain(settings.prometheus_headers),
    )


def _alertmanager(settings: Settings) -> Alertmanager | None:
    if settings.alertmanager_url is None:
        return None
    return Alertmanager(str(settings.alertmanager_url), headers=plain(settings.alertmanager_headers))


def _statuspage(settings: Settings) -> Statuspage | None:
    key = settings.statuspage_api_key
    return Statuspage(str(settings.statuspage_api_url), key.get_secret_value()) if key else None


def _github(settings: Settings) -> GitHub | None:
    token, key = settings.github_token, settings.github_app_private_key
    if settings.github_repository is None or (token is None and key is None):
        return None
    return GitHub(
        token.get_secret_value() if token else None,
        settings.github_repository,
        str(settings.github_api_url).rstrip("/"),
        app=App(settings.github_app_id, key.get_secret_value()) if settings.github_app_id and key else None,
    )


def _kubernetes(settings: Settings) -> Kubernetes | None:
    if settings.kubeconfig is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None
    from bot.integrations.kubernetes.kubernetes import (
        Kubernetes,  # takes 1 s and 45 MB: only where a cluster is configured
    )

    return Kubernetes(settings.kubeconfig)


def _vault(settings: Settings) -> Vault | None:
    token, role = settings.vault_token, settings.vault_role
    if settings.vault_addr is None or (token is None and role is None):
        return None
    from bot.integrations.vault import Vault

    secret = token.get_secret_value() if token else None
    return Vault(str(settings.vault_addr), secret, role, namespace=settings.vault_namespace)


def _aws(settings: Settings) -> Aws | None:
    if settings.aws_region is None:
        return None
    from bot.integrations.aws import Aws, clients

    id, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    credentials = (id, secret.get_secret_value()) if id and secret else None
    url = str(settings.aws_endpoint_url) if settings.aws_endpoint_url else None
    return Aws(clients(settings.aws_region, url, credentials))


def _traces(settings: Settings, redaction: Redaction) -> Traces | None:
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from bot.integrations.traces import Traces

    return Traces(
        str(settings.otel_exporter_otlp_endpoint),
        headers=plain(settings.otel_exporter_otlp_headers),
        ca_bundle=str(settings.ca_bundle) if settings.ca_bundle else None,
        redact=redaction.text,
    )
