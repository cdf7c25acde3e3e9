"""The sandbox and a bot on one port."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

from bot.app import running_bot
from bot.services.bot import Bot
from bot.settings import Settings, load_settings
from handlers.app import Server
from sandbox import aws
from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from sandbox.github.backend import WEBHOOK_SECRET as GITHUB_SECRET
from sandbox.github.state import TOKEN as GITHUB_TOKEN
from sandbox.pagerduty.backend import WEBHOOK_SECRET as PAGERDUTY_SECRET
from sandbox.pagerduty.state import API_TOKEN as PAGERDUTY_TOKEN
from sandbox.pagerduty.state import BOT as PAGERDUTY_BOT
from sandbox.server import Sandbox, serving
from sandbox.vault import BOT_TOKEN as VAULT_TOKEN


@dataclass(frozen=True)
class DemoEnvironment:
    """A sandbox and a bot that serve on one address and are connected to each other."""

    url: str
    sandbox: Sandbox
    bot: Bot


@asynccontextmanager
async def demo_environment(
    sandbox: Sandbox,
    database: str,
    *,
    locale: str = "es",
    port: int = 0,
    cluster: Path | None = None,
    **settings: object,
) -> AsyncIterator[DemoEnvironment]:
    """Run a bot with `database` and this sandbox on one port of the loopback interface; `settings` override the
    sandbox's.
    """
    app = Starlette(routes=[Mount("/", app=sandbox.app)], lifespan=sandbox.lifespan)
    async with serving(app, port) as url:
        sandbox.slack.base_url = f"{url}/slack"
        sandbox.slack.bot_url = url
        sandbox.slack.subscriptions = {"app_home_opened", "member_joined_channel", "reaction_added"}  # as app.yaml says
        if cluster:
            kubeconfig = cluster / "kubeconfig"
            kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
            settings["kubeconfig"] = str(kubeconfig)
        bot_settings = sandbox_settings(url, sandbox, database, locale, **settings)
        async with running_bot(bot_settings, sandbox.clock) as bot:
            server = Server(bot, bot_settings)
            app.routes[:0] = [*server.routes(), Route("/", _to_console)]
            async with server.recovering_deliveries():
                sandbox.send_webhooks_to(url)
                yield DemoEnvironment(url, sandbox, bot)


class SandboxSettings(Settings):
    """Settings of which the environment says only what concerns this process and the team's folder.

    A demo on a machine that runs the bot for real asks and tells nothing real.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


FROM_ENVIRONMENT = ("team_dir", "bot_config", "helm", "log_format", "log_level")


def sandbox_settings(url: str, sandbox: Sandbox, database: str, locale: str = "es", **settings: object) -> Settings:
    """Return the settings that connect every client to the sandbox; the bot cannot tell the difference otherwise."""
    credentials = sandbox.slack.credentials
    ours: dict[str, object] = {
        "_secrets_dir": None,
        **{name: os.environ[name.upper()] for name in FROM_ENVIRONMENT if os.environ.get(name.upper())},
        "slack_bot_token": credentials.bot_token,
        "slack_signing_secret": credentials.signing_secret,
        "slack_api_url": f"{url}/slack/api/",
        "database_url": database,
        "locale": locale,
        "prometheus_url": f"{url}/prometheus",
        "alertmanager_url": f"{url}/alertmanager",
        "alertmanager_webhook_token": WEBHOOK_TOKEN,
        "aws_region": aws.REGION,
        "aws_endpoint_url": f"{url}/aws/",
        "aws_access_key_id": aws.KEY_ID,
        "aws_secret_access_key": aws.SECRET_KEY,
        "vault_addr": f"{url}/vault",
        "vault_token": VAULT_TOKEN,
        "tempo_url": f"{url}/tempo",
        "statuspage_api_url": f"{url}/statuspage/v1",
        "health_gateway_url": f"{url}/health",
        "pagerduty_api_token": PAGERDUTY_TOKEN,
        "pagerduty_routing_key": sandbox.pagerduty.routing_key(sandbox.company.pagerduty.services[0].name),
        "pagerduty_from": PAGERDUTY_BOT.email,
        "pagerduty_api_url": f"{url}/pagerduty/api",
        "pagerduty_events_url": f"{url}/pagerduty/events",
        "pagerduty_webhook_secrets": [PAGERDUTY_SECRET],
        "github_token": GITHUB_TOKEN,
        "github_repository": sandbox.company.github.repository,
        "github_api_url": f"{url}/github/api",
        "github_webhook_secret": GITHUB_SECRET,
    }
    return load_settings(SandboxSettings, **ours | settings)


async def _to_console(request: object) -> RedirectResponse:
    return RedirectResponse("/console/")
