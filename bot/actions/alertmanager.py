"""`alertmanager.*`: silence alerts for a limited time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.policy import Risk
from bot.domain.times import PositiveDuration, at_most
from bot.integrations.alertmanager import Matcher
from bot.names import AlertName, SilenceId

LONGEST_SILENCE = timedelta(days=7)  # what is to be quiet for longer is a change of the alert rule


@dataclass(frozen=True, slots=True)
class Silenced:
    """`id` is empty in a dry run."""

    id: str
    matchers: dict[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Expired:
    id: str


@action(
    "alertmanager.silence",
    risk=Risk.CHANGE,
    example="/ops alertmanager.silence alert=HighLatency service=xr-engine duration=1h reason='se está arreglando'",
)
async def silence(
    ctx: Context,
    alert: AlertName,
    duration: Annotated[PositiveDuration, at_most(LONGEST_SILENCE)] = timedelta(hours=1),
    service: str | None = None,
    reason: str = "",
) -> Silenced:
    """Silence an alert for a limited time, at most a week."""
    labels = {"alertname": alert}
    if service is not None:
        ctx.service(service)
        labels[ctx.team.alerts.service_label] = service
    now = ctx.clock.now()
    matchers = [Matcher(name, value) for name, value in labels.items()]
    why = reason or ctx.incident_id or ctx.key
    id = await ctx.alertmanager.silence(matchers, now, now + duration, why, "tamv-bot", ctx.key)
    return Silenced(id or "", labels, duration.total_seconds())


@undo(silence)
async def expire_silence(ctx: Context, done: Silenced) -> Expired:
    """End the silence."""
    if done.id:
        await ctx.alertmanager.expire(done.id)
    return Expired(done.id)


@action(
    "alertmanager.unsilence",
    risk=Risk.CHANGE,
    example="/ops alertmanager.unsilence 8f0c1d2e-3b4a-4c5d-9e6f-7a8b9c0d1e2f",
)
async def unsilence(ctx: Context, id: SilenceId) -> Expired:
    """End a silence by its id."""
    await ctx.alertmanager.expire(id)
    return Expired(id)
