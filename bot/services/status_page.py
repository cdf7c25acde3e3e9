"""The public status page, read from the database at most every few seconds however many people look at it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.domain.status_page import StatusPage, status_page

FRESH = timedelta(seconds=10)  # the age of a page that is shown again
TIMEOUT_SECONDS = 2.0
RECENT = 200  # incidents looked at besides the open ones


class StatusPages:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._last: tuple[StatusPage, datetime] | None = None
        self._reading = asyncio.Lock()

    async def current(self) -> StatusPage:
        """Return the page as of the last seconds. Raises Unavailable when the incidents cannot be read."""
        async with self._reading:
            now = self._deps.clock.now()
            if self._last is None or now - self._last[1] > FRESH:
                self._last = None
                self._last = await self._read(), now
            return self._last[0]

    async def _read(self) -> StatusPage:
        deps, settings = self._deps, self._deps.team.status_page
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                incidents = {one.id: one for one in await deps.store.incidents.recent(RECENT)}
                incidents |= {one.id: one for one in await deps.store.incidents.list_open()}
        except TimeoutError:
            raise Unavailable("database_unavailable", why="TimeoutError") from None
        return status_page(
            incidents.values(),
            deps.clock.now(),
            components=settings.components,
            severities=settings.severities,
            history=timedelta(days=settings.days),
        )
