"""`kubernetes.shut_down`: services to no replicas, all at once, and back to what they had."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from bot.actions.context import Context
from bot.actions.kubernetes import Scaled, restore_replicas, scale
from bot.actions.registry import action, undo
from bot.domain.policy import Risk


@dataclass(frozen=True, slots=True)
class ShutDown:
    """What was shut down, each with the replicas that it had."""

    services: list[Scaled]


@action(
    "kubernetes.shut_down",
    risk=Risk.DESTRUCTIVE,
    target="shutdown/{environment}",
    example="/ops kubernetes.shut_down",
)
async def shut_down(ctx: Context, services: list[str] | None = None) -> ShutDown:
    """Shut services down, all of them when none is named; each one even where another one refuses.

    es: Apaga servicios, todos si no se nombra ninguno; cada uno aunque otro se resista.
    """
    running = [
        name
        for name, service in ctx.team.services.items()
        if service.deployment and ctx.environment in service.namespaces
    ]
    before = {entry["deployment"]: entry for entry in ctx.planned.get("services", ())}
    scalings = [scale(replace(ctx, planned=before.get(name, {})), name, 0) for name in services or running]
    if ctx.dry_run:
        return ShutDown(
            [await coroutine_type for coroutine_type in scalings]
        )  # one by one, so that they are shown in order
    return ShutDown(await _all(scalings))


@undo(shut_down)
async def restore_services(ctx: Context, done: ShutDown) -> ShutDown:
    """Give every service the replicas that it had, unless somebody has changed them since."""
    return ShutDown(await _all([restore_replicas(ctx, scaled) for scaled in done.services]))


async def _all(scalings: Sequence[Awaitable[Scaled]]) -> list[Scaled]:
    """Try every one before the first failure is raised."""
    outcomes = await asyncio.gather(*scalings, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [scaled for scaled in outcomes if isinstance(scaled, Scaled)]
