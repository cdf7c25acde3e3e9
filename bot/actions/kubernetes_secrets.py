"""`kubernetes.refresh_external_secret`: what stands in Vault is read again, and waited for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import Unavailable
from bot.domain.policy import Risk
from bot.team import Duration

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`before` and `after` are the states that were synced; `at` is when."""

    secret: str
    namespace: str
    before: str
    after: str
    at: str


@action(
    "kubernetes.refresh_external_secret",
    risk=Risk.CHANGE,
    target="secret/{environment}/{namespace}/{secret}",
    example="/ops kubernetes.refresh_external_secret tamv-core-secrets service=tamv-core",
)
async def refresh_external_secret(
    ctx: Context,
    secret: Name,
    service: Name | None = None,
    wait: Duration = timedelta(minutes=2),
    namespace: str | None = None,
) -> Refreshed:
    """Let External Secrets read a secret from Vault again, and wait until it says that it has.

    es: External Secrets lee otra vez un secreto de Vault; espera hasta que diga que lo ha hecho.
    """
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    secrets = ctx.kubernetes.external_secrets
    now = await secrets.sync_status(secret, ns)
    before = str(ctx.planned.get("before") or now.version)
    await secrets.refresh(secret, ns, ctx.key.replace("/", "."))
    if ctx.dry_run:
        return Refreshed(secret, ns, before, before, now.at)
    try:
        async with asyncio.timeout(wait.total_seconds()):
            after = await secrets.wait_until_refreshed(secret, ns, before)
    except TimeoutError as slow:
        what = f"external secret {ns}/{secret}"
        raise Unavailable("timed_out", service="Kubernetes", what=what, seconds=wait.total_seconds()) from slow
    return Refreshed(secret, ns, before, after.version, after.at)
