"""One loopback server for all services of the sandbox, each under the first part of its path."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.alertmanager.api import routes as alertmanager_routes
from sandbox.alertmanager.backend import Alertmanager
from sandbox.alertmanager.state import load_route as load_route
from sandbox.clock import Clock
from sandbox.company import Company, load_company
from sandbox.console.api import routes as console_routes
from sandbox.console.strip import Scenario, Strip
from sandbox.faults import Faults, FaultsMiddleware
from sandbox.github.api import routes as github_routes
from sandbox.github.backend import WEBHOOK_SECRET as GITHUB_WEBHOOK_SECRET
from sandbox.github.backend import GitHub
from sandbox.kubernetes.api import routes as kubernetes_routes
from sandbox.kubernetes.backend import Kubernetes
from sandbox.pagerduty.api import routes as pagerduty_routes
from sandbox.pagerduty.backend import WEBHOOK_SECRET as PAGERDUTY_WEBHOOK_SECRET
from sandbox.pagerduty.backend import PagerDuty
from sandbox.prometheus.api import routes as prometheus_routes
from sandbox.prometheus.backend import Prometheus, send_alerts
from sandbox.prometheus.rules import Rules
from sandbox.same_origin import SameOrigin
from sandbox.shipped import SHIPPED
from sandbox.slack.api import routes as slack_routes
from sandbox.slack.backend import Slack
from sandbox.slack.state import Credentials
from sandbox.statuspage import Statuspage
from sandbox.statuspage import routes as statuspage_routes
from sandbox.tempo import Tempo
from sandbox.tempo import routes as tempo_routes
from sandbox.vault import Vault
from sandbox.vault import routes as vault_routes
from sandbox.world.api import health_routes
from sandbox.world.api import routes as world_routes
from sandbox.world.metrics import METADATA
from sandbox.world.scenario import load_scenario
from sandbox.world.world import World

if TYPE_CHECKING:
    from sandbox.aws.backend import Aws

RULES = SHIPPED / "deploy" / "prometheus" / "tamv.rules.yaml"
DEFAULT_SCENARIO = "render-latency"


class Sandbox:
    """All services and the world behind them. A service is a module or a package: state, shapes, backend, api.

    `bot_url` is where the bot listens; it can be set later (`sandbox.slack.bot_url = …`).
    """

    def __init__(
        self,
        company: Company | None = None,
        *,
        bot_url: str | None = None,
        credentials: Credentials | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.company = company or load_company()
        self.clock = clock or Clock()
        self.faults = Faults()
        self.slack = Slack(self.company, credentials=credentials or Credentials(), bot_url=bot_url)
        self.pagerduty = PagerDuty(self.company, self.clock)
        self.github = GitHub(self.company, self.clock)
        self.alertmanager = Alertmanager(self.clock, load_route())
        self.alertmanagers = [self.alertmanager]
        self.vault = Vault(self.clock)
        self.statuspage = Statuspage(self.clock)
        self.app: ASGIApp = Starlette(
            routes=[
                *self.faults.routes(),
                Mount("/slack", routes=slack_routes(self.slack, self.faults)),
                Mount("/pagerduty", routes=pagerduty_routes(self.pagerduty)),
                Mount("/github", routes=github_routes(self.github)),
                Mount("/alertmanager", routes=alertmanager_routes(self.alertmanager)),
                Mount("/vault", routes=vault_routes(self.vault)),
                Mount("/statuspage", routes=statuspage_routes(self.statuspage)),
                Mount("/prometheus", app=Late(lambda: prometheus_routes(self.prometheus))),
                Mount("/kubernetes", app=Late(lambda: kubernetes_routes(self.kubernetes))),
                Mount("/world", app=Late(lambda: world_routes(self.world))),
                Mount("/aws", app=Late(self._aws_routes)),
                Mount("/tempo", app=Late(lambda: tempo_routes(Tempo(self.world)))),
                Mount("/health", app=Late(lambda: health_routes(self.world))),
                Mount("/console", app=Late(lambda: console_routes(self.slack, self._strip()))),
            ],
            middleware=[Middleware(FaultsMiddleware, faults=self.faults)],
            lifespan=self.lifespan,
        )

    @cached_property
    def world(self) -> World:
        """Made at its first use: its two hours of history take 0.3 s."""
        return World(self.clock)

    @cached_property
    def prometheus(self) -> Prometheus:
        return Prometheus(
            self.world.tsdb, self.clock, refresh=self.world.advance, rules=Rules.load(RULES), metadata=METADATA
        )

    @cached_property
    def kubernetes(self) -> Kubernetes:
        """Made at its first use; from then on it decides which pods the world's services have."""
        return Kubernetes(self.world, self.vault.read, self.github)

    @property
    def has_cluster(self) -> bool:
        """Return True if the cluster was used."""
        return "kubernetes" in vars(self)

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on 127.0.0.1 and yield the base URL; Slack then knows its own address for response_url."""
        async with serving(self.app, port) as base_url:
            self.slack.base_url = f"{base_url}/slack"
            yield base_url

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Run what happens beside the requests; for an app that serves the sandbox under its own routes."""
        if self.slack.bot_url:
            self.send_webhooks_to(self.slack.bot_url)
        tasks = [
            asyncio.create_task(self._watch(), name="alert rules"),
            asyncio.create_task(self._run_cluster(), name="cluster"),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for alertmanager in self.alertmanagers:
            await alertmanager.aclose()
        await self.slack.aclose()
        await self.pagerduty.aclose()
        await self.github.aclose()

    def send_webhooks_to(self, bot_url: str) -> None:
        """Subscribe the bot to PagerDuty, GitHub and Alertmanager. Call it once, inside the running event loop."""
        self.pagerduty.subscribe(f"{bot_url}/webhooks/pagerduty", PAGERDUTY_WEBHOOK_SECRET)
        self.github.add_hook(f"{bot_url}/webhooks/github", GITHUB_WEBHOOK_SECRET)
        self.alertmanager.url = f"{bot_url}/webhooks/alertmanager"

    async def _watch(self) -> None:
        """Evaluate the alert rules once there is a world; an unused world has no alerts."""
        while "world" not in vars(self):  # noqa: ASYNC110 - its first use may be in any thread
            await asyncio.sleep(0.2)
        await send_alerts(self.prometheus, self.alertmanagers)

    async def _run_cluster(self) -> None:
        """Run the controllers once there is a cluster."""
        while not self.has_cluster:  # noqa: ASYNC110 - its first use may be in any thread
            await asyncio.sleep(0.2)
        await self.kubernetes.run()

    @cached_property
    def aws(self) -> Aws:
        """Made at its first use: moto takes a second to import, and is only installed for tests."""
        from sandbox.aws.backend import Aws

        return Aws(self.clock)

    def _aws_routes(self) -> list[BaseRoute]:
        from sandbox.aws.backend import routes

        return routes(self.aws)

    def _strip(self) -> Strip:
        world = self.world
        scenario = Scenario(
            start=lambda: world.play(load_scenario(DEFAULT_SCENARIO)),
            recover=lambda: world.perform("fix"),
            running=lambda: world.scenario is not None and "fix" not in world.performed,
        )
        return Strip(self.clock, self.prometheus, scenario)


class Late:
    """An application whose routes are made at the first request, since they are costly to make."""

    def __init__(self, make: Callable[[], list[BaseRoute]]) -> None:
        self._make = make
        self._router: Router | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._router is None:
            self._router = Router(routes=self._make())
        await self._router(scope, receive, send)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve `app` on the running loop at 127.0.0.1, port 0 for a free one; yields `http://127.0.0.1:PORT`.

    The listening socket exists before this yields, so a request that comes at once waits instead of failing.
    OSError when the port is taken.
    """
    listener = listen(port)
    server = _Server(
        uvicorn.Config(
            SameOrigin(app),
            http=_Protocol,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            lifespan="on",
            date_header=False,  # the loop that keeps it true is replaced below
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]), name="sandbox server")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop.set()
        await task


def listen(port: int) -> socket.socket:
    """A listening TCP socket on 127.0.0.1.

    The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer waits 40 ms.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """Ends at once when `stop` is set; uvicorn checks every tenth of a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program around the server."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the responses marked `scope["state"]["endless"]`; uvicorn would wait, then log an error."""
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, _Protocol) and connection.is_endless():
                connection.transport.close()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the transport into `scope["state"]["transport"]`, where a fault can cut the connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}

    def is_endless(self) -> bool:
        return self.scope is not None and bool(self.scope.get("state", {}).get("endless"))
