"""Reports: written on request, and rendered for the terminal."""

from __future__ import annotations

import hashlib

from bot.deps import Deps
from bot.messages.report import RenderedReport
from bot.workflows.reports.report import compose


class Reports:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def enqueue(self, incident_id: str, *, idempotency_key: str) -> None:
        """Enqueue writing the report and showing it in the incident's channel; once per idempotency key."""
        incident = await self._deps.store.incidents.get(incident_id)
        key = hashlib.sha256(idempotency_key.encode()).hexdigest()[:16]
        await self._deps.store.outbox.enqueue_once(f"{incident.id}/report/{key}", "write_report", [incident.id])

    async def render(self, incident_id: str) -> RenderedReport:
        """Return the current report without saving or sending it. Raises NotFound."""
        _, written = await compose(self._deps, incident_id.strip().upper())
        return written
