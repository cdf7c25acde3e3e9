"""`http.*`: check the health endpoints of the team file."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, dataclass
from datetime import timedelta

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import BadInput, Unavailable, WrongState
from bot.domain.policy import Risk
from bot.domain.times import Duration
from bot.team import HealthCheck

POLL_SECONDS = 5.0  # seconds of the bot's clock


@dataclass(frozen=True, slots=True)
class Health:
    """One service's response. `status` is None without one; `why` is a keyword for the failure, or empty."""

    service: str
    status: int | None
    milliseconds: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """`healthy` if all services are."""

    healthy: bool
    rows: list[Health]


@action("http.check", risk=Risk.READ, example="/ops http.check xr-engine within=2m")
async def check(
    ctx: Context, service: str | None = None, within: Duration = timedelta(0), required: bool = True
) -> Checked:
    """Check the health endpoints of a service, or of all; with `within`, wait until they are healthy."""
    endpoints = _endpoints(ctx, service)
    until = ctx.began + within
    while True:
        rows = await asyncio.gather(*(_ask(ctx, name, endpoint) for name, endpoint in endpoints.items()))
        unhealthy = [row for row in rows if row.why]
        if not unhealthy or ctx.dry_run:
            return Checked(not unhealthy, list(rows))
        if ctx.clock.now() >= until:
            break
        await ctx.clock.sleep(POLL_SECONDS)
    if required:
        raise WrongState("unhealthy", services=[asdict(row) for row in unhealthy])
    return Checked(False, list(rows))


def _endpoints(ctx: Context, service: str | None) -> dict[str, HealthCheck]:
    services = {service: ctx.service(service)} if service else ctx.team.services
    endpoints = {name: s.health[ctx.environment] for name, s in services.items() if ctx.environment in s.health}
    if not endpoints:
        with_health = sorted(name for name, s in ctx.team.services.items() if ctx.environment in s.health)
        raise BadInput("no_health_endpoint", service=service, environment=ctx.environment, known=with_health)
    return endpoints


async def _ask(ctx: Context, service: str, endpoint: HealthCheck) -> Health:
    deadline = endpoint.within.total_seconds()
    try:
        response = await ctx.deps.http.get(str(endpoint.url), deadline)
    except Unavailable as problem:
        return Health(service, None, None, "slow" if problem.key == "timed_out" else "silent")
    milliseconds = round(response.seconds * 1000)
    if response.status != endpoint.status:
        return Health(service, response.status, milliseconds, "status")
    if endpoint.body and not re.search(endpoint.body, response.body):
        return Health(service, response.status, milliseconds, "body")
    return Health(service, response.status, milliseconds, "")
