"""Who is on call, remembered: it must be known most when PagerDuty does not answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bot.clock import Clock
from bot.domain.errors import NotConfigured, Unavailable

if TYPE_CHECKING:
    from bot.integrations.pagerduty import OnCall, PagerDuty

CACHE_TTL = timedelta(minutes=5)


class OnCallCache:
    """PagerDuty's answers by service name, fresh for five minutes and kept for when it is away."""

    def __init__(self, pagerduty: PagerDuty | None, clock: Clock) -> None:
        self._pagerduty = pagerduty
        self._clock = clock
        self._known: dict[str, tuple[datetime, list[OnCall]]] = {}

    async def get(self, service: str, *, remembered: bool = False) -> list[OnCall]:
        """Who is on call for a PagerDuty service, all levels; with `remembered`, from memory alone.

        An old answer is better than none when PagerDuty does not answer; without any, Unavailable.
        """
        return (await self.updated_at(service, remembered=remembered))[1]

    async def updated_at(self, service: str, *, remembered: bool = False) -> tuple[datetime, list[OnCall]]:
        """The same with the moment at which PagerDuty said so."""
        now = self._clock.now()
        cached = self._known.get(service)
        if remembered:
            return cached or (now, [])
        if cached and now - cached[0] < CACHE_TTL:
            return cached
        if self._pagerduty is None:
            raise NotConfigured("pagerduty_off")
        try:
            self._known[service] = (now, await self._pagerduty.on_call(service))
        except Unavailable:
            if cached is None:
                raise
        return self._known[service]
